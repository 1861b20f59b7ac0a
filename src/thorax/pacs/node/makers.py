"""The processes in which a node makes results: beside its threads, which receive and send meanwhile."""

import subprocess
import sys
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path
from queue import LifoQueue
from types import TracebackType
from typing import Any, Final, Self

from thorax.bundle import Bundle
from thorax.errors import ServiceError, ThoraxError
from thorax.hardware import num_threads
from thorax.imaging.decode_process import above_standard, environment_of_workers
from thorax.pacs.node.outcomes import Failed, Outcome
from thorax.pacs.node.rules import Rules

__all__ = ["Makers"]

_MODULE: Final = "thorax.pacs.node.maker_process"

_MOST: Final = 8
"""Processes at most, whatever the number of cores: each has the model in memory."""

_ENDING: Final = 10.0
"""Seconds for a process to end by itself."""


class Makers:
    """Processes that make results of one image each, one for each core; threads share them.

    One is there from the start, and the others once there is work for them.

    Args:
        bundle: The model.
        rules: Which images are predicted.
        device: The device of model and maps.

    Attributes:
        count: The most of them.
        note: Why there are no maps; see `ResultMaker`.

    Raises:
        ThoraxError: The model cannot be opened.
        ServiceError: The processes cannot be started.
    """

    def __init__(self, bundle: Bundle, rules: Rules, *, device: str) -> None:
        self._order = (replace(bundle, patients={}), rules, device)  # which may be large, and are not needed
        self.count = min(num_threads(), _MOST)
        self._free: LifoQueue[_Process | None] = LifoQueue()  # those that are there are used first
        for _ in range(self.count - 1):
            self._free.put(None)
        try:
            first = self._started()
            self.note = first.note()
        except (EOFError, OSError) as error:
            raise ServiceError(
                f"a process that makes results cannot be started ({error or 'it has ended'}); see whether "
                "there is enough memory, and whether the extra pacs is installed whole"
            ) from error
        self._free.put(first)

    def __enter__(self) -> Self:
        """Return this."""
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """End the processes that do nothing; the others end with this process."""
        while not self._free.empty():
            process = self._free.get()
            if process is not None:
                process.end()

    def make(self, path: Path) -> Outcome:
        """Return what becomes of an image, from the next process that is free.

        A process that dies of it, or is killed, costs this attempt, and another one takes its place.

        Args:
            path: Its DICOM file.

        Raises:
            ThoraxError: The model can be opened no longer.
            OSError: No process can be started.
        """
        process = self._free.get()
        try:
            process = process or self._started()
            return process.make(path)
        except (EOFError, ConnectionError):
            how = process.end() if process else "could not be started"
            process = None
            return Failed(f"the process that made its results {how}; there may be too little memory")
        finally:
            self._free.put(process)

    def _started(self) -> "_Process":
        return _Process(self._order, threads=max(1, num_threads() // self.count))


class _Process:
    """One process."""

    def __init__(self, order: tuple[Bundle, Rules, str], *, threads: int) -> None:
        self._connection, theirs = Pipe()
        with theirs, above_standard(theirs.fileno()) as socket:
            self._process = subprocess.Popen(  # noqa: S603  (this interpreter, our own module)
                [sys.executable, "-P", "-m", _MODULE, str(socket)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # where a library may quote an image
                pass_fds=[socket],
                process_group=0,  # Ctrl-C is for the node, which ends this one in order
                env=environment_of_workers() | {"OMP_NUM_THREADS": str(threads)},
            )
        self._note: str | None = None
        self._connection.send(order)

    def note(self) -> str:
        """Wait until the model is open, and return why there are no maps.

        Raises:
            ThoraxError: The model cannot be opened.
            EOFError: The process has ended.
        """
        if self._note is None:
            said: Any = self._connection.recv()
            if isinstance(said, ThoraxError):
                raise said
            self._note = str(said)
        return self._note

    def make(self, path: Path) -> Outcome:
        """Return what becomes of an image."""
        self.note()
        self._connection.send(path)
        outcome: Outcome = self._connection.recv()
        return outcome

    def end(self) -> str:
        """End the process, when its image is done; return how it has ended."""
        self._connection.close()
        try:
            code = self._process.wait(_ENDING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        return f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
