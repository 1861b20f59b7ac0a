"""What a Ray worker runs for a unit: its checks, a watch on its memory, and its reports."""

import os
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import thorax
from thorax.cluster.settings import GIB, Post
from thorax.errors import DataError, ServiceError
from thorax.telemetry import import_unreported

__all__ = ["Done", "Order", "OverMemory", "Raised", "Stopped", "do_unit", "memory_of", "refuse_unseen"]

_LOOK: Final = 0.25
"""Seconds between two looks at the memory, and at answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a worker gets for one attempt at a unit, in types of Python alone: the versions may differ.

    Attributes:
        attempt: The number of the attempt.
        version: The version of Thorax of the caller.
        folder: The working folder of the caller, for relative paths.
        sees: Paths that the worker must find.
        cores: Cores of the unit.
        memory: Bytes that it may take.
        unit: The unit, pickled.
    """

    attempt: int
    version: str
    folder: str
    sees: tuple[str, ...]
    cores: int
    memory: int
    unit: bytes


@dataclass(frozen=True, slots=True)
class Done:
    """What the function returned."""

    value: Any


@dataclass(frozen=True, slots=True)
class Raised:
    """What it raised."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Stopped:
    """It was stopped: by the caller, or with its node, and then another continues it."""


@dataclass(frozen=True, slots=True)
class OverMemory:
    """A worker took more memory than its unit may take, and ends.

    Attributes:
        taken: Bytes.
        allowed: Bytes.
    """

    taken: int
    allowed: int

    @property
    def reason(self) -> str:
        """What happened, as a reason."""
        return f"took {self.taken / GIB:.2f} GiB of the {self.allowed / GIB:.2f} GiB that a unit may take"


def do_unit(order: dict[str, Any], work: bytes, board: Any) -> Done | Raised | Stopped:
    """Do a unit, as a Ray task.

    Args:
        order: The fields of an `Order`.
        work: The function, pickled.
        board: The actor that takes messages.
    """
    try:
        _refuse_other_version(order["version"])
        given = Order(**order)
        post = _Post(board, given.attempt)
        os.environ["OMP_NUM_THREADS"] = str(given.cores)
        with suppress(OSError):  # if paths are absolute, it need not exist here
            os.chdir(given.folder)
        refuse_unseen(given.sees)
        with _watched(given.memory, post):
            return Done(_unpickled(work)(pickle.loads(given.unit), post))  # noqa: S301  (as below)
    except KeyboardInterrupt:
        return Stopped()
    except Exception as error:  # noqa: BLE001  (the caller raises it)
        return Raised(error)


@lru_cache(maxsize=1)
def _unpickled(work: bytes) -> Callable[[Any, Post], Any]:
    """Return the function, the same object for all units, so that it can keep what it has opened."""
    return pickle.loads(work)  # type: ignore[no-any-return]  # noqa: S301  (of the caller, who runs code here)


def _refuse_other_version(version: str) -> None:
    if version != thorax.__version__:
        raise ServiceError(
            f"node {socket.gethostname()} has Thorax {thorax.__version__}, and this machine has {version}; "
            "install the same version on every node"
        )


def refuse_unseen(paths: Sequence[str], *, least: int | None = None) -> None:
    """Refuse to work where files are missing that the caller sees.

    Args:
        paths: Files and folders.
        least: How many of them must be here; None: all.

    Raises:
        DataError: Fewer are; the message names this node, and the first that is not here.
    """
    unseen = [path for path in paths if not os.path.exists(path)]  # noqa: PTH110  (a path that is too long)
    if len(paths) - len(unseen) < (len(paths) if least is None else least):
        raise DataError(
            f"node {socket.gethostname()} does not see {os.path.abspath(unseen[0])}; every node needs the "  # noqa: PTH100  (as given)
            "same files under the same paths, on a file system that they share"
        )


class _Post(Post):
    """Sends what a unit says to the board.

    Args:
        board: The actor.
        attempt: The number of the attempt.
    """

    def __init__(self, board: Any, attempt: int) -> None:
        self._ray = import_unreported("ray")
        self._board, self._attempt = board, attempt

    def tell(self, message: Any) -> None:
        self._board.say.remote(self._attempt, message, asks=False)

    def ask(self, message: Any) -> Any:
        self._board.say.remote(self._attempt, message, asks=True)
        while (said := self._ray.get(self._board.answered.remote(self._attempt))) is None:
            time.sleep(_LOOK)
        return said[0]

    def last_word(self, message: Any) -> None:
        """Send a message, and wait until it has arrived, but not for long."""
        with suppress(Exception):
            self._ray.get(self._board.say.remote(self._attempt, message, asks=False), timeout=10)


@contextmanager
def _watched(allowed: int, post: _Post) -> Iterator[None]:
    """End this process if it and its children take more memory than they may."""
    finished = threading.Event()

    def watch() -> None:
        while not finished.wait(_LOOK):
            taken = memory_of(os.getpid())
            if taken > allowed:
                post.last_word(OverMemory(taken, allowed))
                os._exit(1)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        finished.set()
        watcher.join()


def memory_of(process: int, root: Path = Path("/proc")) -> int:
    """Return the memory in bytes that a process and its children have for themselves; 0 where it is unknown.

    What they share with others, such as memory-mapped stores and libraries, does not count.

    Args:
        process: Its number.
        root: Where proc is mounted.
    """
    taken = 0
    with suppress(OSError, ValueError):  # not Linux, or it has just ended
        _, resident, shared, *_ = map(int, (root / f"{process}/statm").read_text().split())
        taken = (resident - shared) * os.sysconf("SC_PAGE_SIZE")
        for thread in (root / f"{process}/task").iterdir():
            for child in (thread / "children").read_text().split():
                taken += memory_of(int(child), root)
    return taken
