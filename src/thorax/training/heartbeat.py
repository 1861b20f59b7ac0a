"""Whether the other processes of a run are alive.

A process that ends closes its connections, and the others notice at once. One that is frozen, or whose
machine has lost power, does not: hence the heartbeat. What started the processes has no connection with
them: hence `end_with`.
"""

import logging
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

__all__ = ["Heartbeat", "Notes", "end_with"]

_SECONDS: Final = 2.0
"""Between two beats."""

_OFTEN: Final = 0.5
"""Seconds between two looks at the process that started this one."""

_SILENCE: Final = 18.0
"""Seconds without a beat after which a process counts as lost."""

_GRACE: Final = 4.0
"""Seconds in which the training itself can notice the loss and say so."""

_logger = logging.getLogger("thorax")


def end_with(starter: int) -> None:
    """Stop this process, as SIGTERM does, once the process that started it has died.

    Otherwise the run would continue unseen, and could not be resumed until its end.

    Args:
        starter: The process id of the one that started this one.
    """

    def watch() -> None:
        while os.getppid() == starter:
            time.sleep(_OFTEN)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="thorax-starter", daemon=True).start()


class Notes(Protocol):
    """Where processes leave each other notes, such as a store of torch.distributed."""

    def set(self, key: str, value: str, /) -> None:
        """Write a note."""

    def check(self, keys: list[str], /) -> bool:
        """Return whether these notes exist."""

    def get(self, key: str, /) -> bytes:
        """Return a note."""

    def add(self, key: str, number: int, /) -> int:
        """Add a number to that of a note, which is 0 at first, and return the sum."""


class Heartbeat:
    """Beats for this process in a thread, and watches the others.

    Args:
        notes: Where the beats are.
        rank: Number of this process.
        size: Number of processes.

    Attributes:
        named: The process that is silent; None if there is none.
    """

    def __init__(self, notes: Notes, *, rank: int, size: int) -> None:
        self._notes, self._rank, self._size = notes, rank, size
        self._ended = threading.Event()
        self.named: int | None = None
        self._thread = threading.Thread(target=self._work, name="thorax-heartbeat", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()

    def claims(self) -> bool:
        """Return whether this process is the first that reports a failure."""
        try:
            return self._notes.add("failed", 1) == 1
        except RuntimeError:  # the process with the notes has ended
            return True

    def describe_loss(self) -> str:
        """Return what is known of a process that was lost."""
        if self.named is None:
            lost = f"another of the {self._size} processes has ended or cannot be reached"
        else:
            lost = f"process {self.named} (from 0) of {self._size} has not answered for {_SILENCE:.0f} s"
        return f"{lost}, so all of them stop; resume the run, which continues from its last checkpoint"

    def _work(self) -> None:
        others = [rank for rank in range(self._size) if rank != self._rank]
        heard = dict.fromkeys(others, (b"", time.monotonic()))
        beat = 0
        self._note(f"pid-{self._rank}", str(os.getpid()))
        while not self._ended.wait(_SECONDS):
            beat += 1
            self._note(f"beat-{self._rank}", str(beat))
            with suppress(RuntimeError):
                for rank in others:
                    if not self._notes.check([f"beat-{rank}"]):
                        continue
                    latest = self._notes.get(f"beat-{rank}")
                    if latest != heard[rank][0]:
                        heard[rank] = latest, time.monotonic()
            silent = [rank for rank, (_, when) in heard.items() if time.monotonic() - when > _SILENCE]
            if silent and not self._ended.is_set():
                self.named = silent[0]
                self._end()
                return

    def _end(self) -> None:
        """End this process, whose training waits for a process that does not answer."""
        self._ended.wait(_GRACE)
        if self.claims():
            _logger.critical("ProcessLost: %s", self.describe_loss())
        self._kill_silent()
        os._exit(1)

    def _kill_silent(self) -> None:
        """Kill the silent process if it is one of this machine, which its agent would wait for."""
        with suppress(RuntimeError, OSError, ValueError):
            pid = int(self._notes.get(f"pid-{self.named}"))
            # The same agent has started both: the number is not that of some other process.
            status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
            if int(status.rpartition(")")[2].split()[1]) == os.getppid():
                os.kill(pid, signal.SIGKILL)

    def _note(self, key: str, value: str) -> None:
        with suppress(RuntimeError):  # the process with the notes has ended, or is silent itself
            self._notes.set(key, value)
