"""One worker process for whatever decodes files, and what becomes of the files that it got."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import thorax
from thorax.errors import DataError
from thorax.imaging.board import BoardReader
from thorax.imaging.limits import WALL
from thorax.radiograph import MAX_PIXELS

__all__ = [
    "DecodeProcess",
    "Died",
    "Done",
    "EndedFromOutside",
    "Lost",
    "Work",
    "above_standard",
    "environment_of_workers",
]

_MODULE: Final = "thorax.imaging.decode_worker"

_ENDING: Final = 0.5
"""Seconds in which a process ends by itself once its socket is closed."""

_IDLE: Final = 300.0
"""Seconds within which a process that has work must begin with it; starting takes some on a cold disk."""

_MAX_ANSWER: Final = 8 * MAX_PIXELS
"""Most bytes of an answer: 16-bit color with transparency."""

_BLAMED: Final = {
    signal.SIGXCPU,
    signal.SIGALRM,
    signal.SIGABRT,
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGILL,
    signal.SIGFPE,
}
"""Signals by which a decoder ends because of the file. Others come from outside."""

_ENVIRONMENT: Final = {
    # One thread per process; OpenBLAS would start one per core in each.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    # By default, glibc returns memory to the system after each image and faults it in again: 1,500 pages for
    # one of NIH's, 3 ms of system time on 9 ms of decoding. Up to these limits the next image reuses it.
    # Other C libraries ignore the names; a user's own settings take precedence.
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
}

_Context = TypeVar("_Context")
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Work(Generic[_Context, _Item]):
    """What a worker receives at once.

    Attributes:
        context: What the items have in common; sent with them.
        items: What is done one after the other.
    """

    context: _Context
    items: tuple[_Item, ...]


@dataclass(frozen=True, slots=True)
class Done(Generic[_Item]):
    """The answer for an item.

    Attributes:
        item: The item.
        answer: What the task said.
        content: The bytes with it.
    """

    item: _Item
    answer: Any
    content: bytearray


@dataclass(frozen=True, slots=True)
class Lost(Generic[_Item]):
    """An item that could not be decoded within its limits, or whose decoder crashed.

    Attributes:
        item: The item.
        reason: What happened and what to do, without the name of the file.
    """

    item: _Item
    reason: str


class EndedFromOutside(DataError):  # noqa: N818  (an event)
    """A worker process was ended, and not by a file.

    Attributes:
        how: By what signal, or with what status.
    """

    def __init__(self, how: str, items: tuple[Any, ...]) -> None:
        super().__init__(
            f"a worker process ended {how} while it was reading {_shown(items)}; check that there is enough "
            "memory, then run the same command again: it resumes where it stopped"
        )
        self.how = how


class Died(Exception, Generic[_Context, _Item]):  # noqa: N818  (an event)
    """A worker died of an item.

    Attributes:
        suspect: The item.
        rest: Everything else that the worker had.
        reason: How it died.
    """

    def __init__(
        self, suspect: Work[_Context, _Item], rest: list[Work[_Context, _Item]], reason: str
    ) -> None:
        super().__init__(reason)
        self.suspect = suspect
        self.rest = rest
        self.reason = reason


class DecodeProcess(Generic[_Context, _Item]):
    """One process and its pending works."""

    def __init__(self, task: str, modules: Sequence[str]) -> None:
        try:
            self.process, self.connection, self.board = _started(task, modules)
        except OSError as error:
            raise DataError(
                f"a process that decodes images cannot be started ({error.strerror or error}); end other "
                "processes, or raise the limits on processes and open files"
            ) from error
        self.pending: deque[Work[_Context, _Item]] = deque()
        self._state: tuple[int, int | None] = (0, None)
        self._since = time.monotonic()
        self._late = False

    def give(self, work: Work[_Context, _Item]) -> None:
        """Send work."""
        if not self.pending:  # it may have waited for work for hours
            self._since = time.monotonic()
        self.pending.append(work)
        try:
            self.connection.send((work.context, work.items))
        except ConnectionError as error:
            # What ended the process is found out by `take`; before an item, it came from outside.
            self.board.look()
            if self.board.current is None:
                raise self._ended() from error

    def take(self) -> list[Done[_Item] | Lost[_Item]]:
        """Return the results of the oldest pending work.

        Raises:
            Died: An item ended the process.
            DataError: The task raised it.
            EndedFromOutside: Something else ended the process, or it does not answer as it should.
        """
        try:
            results = list(self._answered(self.pending[0].items))
        except (EOFError, OSError) as error:
            raise self._ended() from error
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            # A file may have taken over its decoder; or Thorax was replaced by another version meanwhile.
            self.process.kill()
            raise EndedFromOutside("after an answer that means nothing", self.pending[0].items) from error
        self.board.look()  # now and then, or the pipe fills up
        self.pending.popleft()
        self._since = time.monotonic()
        return results

    def _answered(self, items: tuple[_Item, ...]) -> Iterator[Done[_Item] | Lost[_Item]]:
        said = json.loads(self.connection.recv_bytes(_MAX_ANSWER))
        if "error" in said:
            raise DataError(said["error"])
        for item, answer in zip(items, said["answers"], strict=True):
            content = self._content(answer)
            yield (
                Lost(item, _reason_within(answer["lost"]))
                if "lost" in answer
                else Done(item, answer["answer"], content)
            )

    def _content(self, answer: dict[str, Any]) -> bytearray:
        # Not recv_bytes, which copies twice: 0.7 ms of 7 for a JPEG of one megapixel.
        content = bytearray(min(answer.get("bytes", 0), _MAX_ANSWER))
        rest = memoryview(content)
        while rest:
            count = os.readv(self.connection.fileno(), [rest])
            if count == 0:
                raise EOFError
            rest = rest[count:]
        return content

    def kill_if_late(self) -> None:
        """Kill the process if its current item has taken ten times its CPU time by the clock.

        Kill it also if it has not begun with its work for minutes.
        """
        self.board.look()
        state, now = (self.board.begun, self.board.current), time.monotonic()
        if state != self._state:
            self._state, self._since = state, now
        limit = _IDLE if self.board.current is None else WALL * self.board.seconds
        if now - self._since > limit:
            self._late = self.board.current is not None
            self.process.kill()

    def _ended(self) -> Exception:
        """Return what ended the process: an item, or something outside."""
        if self._late is False:
            try:  # a process whose socket has closed is about to end by itself
                self.process.wait(timeout=_ENDING)
            except subprocess.TimeoutExpired:
                self.process.kill()
        status = self.process.wait()
        self.board.look()
        number, seconds = self.board.current, self.board.seconds
        first, *later = self.pending
        self.pending.clear()
        if number is None or not (self._late or -status in _BLAMED):
            how = f"by signal {-status}" if status < 0 else f"with status {status}"
            return EndedFromOutside(how, first.items)
        others = first.items[:number] + first.items[number + 1 :]
        rest = [Work(first.context, others)] if others else []
        suspect = Work(first.context, (first.items[number],))
        reason = _reason(-status, seconds, late=self._late or -status == signal.SIGALRM)
        return Died(suspect, [*rest, *later], reason)

    def terminate(self) -> None:
        """Kill the process and release what it had."""
        self.process.kill()
        self.process.wait()
        self.release()

    def forget(self) -> None:
        """Release what the process had, and leave it alone: after a fork, it is the parent's."""
        self.process.returncode = 0  # or its destructor warns that it is still running
        self.release()

    def release(self) -> None:
        """Close the pipes."""
        self.connection.close()
        self.board.close()


def _started(
    task: str, modules: Sequence[str]
) -> tuple[subprocess.Popen[bytes], "Connection[Any, Any]", BoardReader]:
    """Start a process; return it with this side of its socket and of its board."""
    connection, theirs = Pipe()
    said, to_say = os.pipe()
    board = BoardReader(said)
    try:
        with above_standard(theirs.fileno()) as socket, above_standard(to_say) as descriptor:
            process = subprocess.Popen(  # noqa: S603  (this interpreter, our own module)
                [sys.executable, "-P", "-m", _MODULE, str(socket), str(descriptor), task, *modules],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # Native decoders complain there in words of their own, which may quote the file.
                stderr=subprocess.DEVNULL,
                pass_fds=[socket, descriptor],
                # Ctrl-C at a terminal goes to the whole process group; only the parent may handle it.
                process_group=0,
                env=environment_of_workers(),
            )
    except OSError:
        board.close()
        raise
    finally:
        theirs.close()
        os.close(to_say)
    return process, connection, board


def environment_of_workers() -> dict[str, str]:
    """Return the environment of a worker process: it finds the modules that this process finds."""
    path = [*filter(None, sys.path), str(Path(thorax.__file__).parents[1])]
    return _ENVIRONMENT | os.environ | {"PYTHONPATH": os.pathsep.join(dict.fromkeys(path))}


@contextmanager
def above_standard(descriptor: int) -> Iterator[int]:
    """Return a copy of a descriptor that is not one of the standard streams, which may be closed here."""
    copy = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    try:
        yield copy
    finally:
        os.close(copy)


_REMEDY: Final = "the file is damaged, or made to do this; export it again from its source"


def _reason(ended_by: int, seconds: float, *, late: bool) -> str:
    """Return why an item was lost with its process."""
    if late:
        return f"decoding had not ended after {WALL * seconds:.0f} s; {_REMEDY}"
    if ended_by == signal.SIGXCPU:
        return f"decoding took more than the {seconds:.0f} s of CPU time that the image allows; {_REMEDY}"
    return f"the decoder crashed ({signal.Signals(ended_by).name}); {_REMEDY}"


def _reason_within(what: str) -> str:
    """Return why an item was lost although its process lives."""
    if what == "memory":
        return f"decoding needs more memory than an image of its size may use; {_REMEDY}"
    return f"reading it failed unexpectedly ({what}); report this with the file, if it may leave your site"


def _shown(items: tuple[Any, ...]) -> str:
    first, last = (getattr(item, "path", "an image") for item in (items[0], items[-1]))
    return f"{first}" if len(items) == 1 else f"{first} to {last}"
