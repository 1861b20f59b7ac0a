"""Takes objects out of a node's queue, and puts their results in."""

import errno
import shutil
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from thorax.atomic_io import write_bytes
from thorax.errors import ThoraxError
from thorax.hardware import num_threads
from thorax.pacs.maker import ResultMaker
from thorax.pacs.node.computing import Computed, NotWanted, compute
from thorax.pacs.node.ledger import Ledger
from thorax.pacs.node.records import Stored, back_off
from thorax.pacs.node.rules import Rules

__all__ = ["Worker"]

_POLL: Final = 0.2

_FOR_EACH: Final = 2
"""Objects that are taken at once for each thread, so that none waits long for the slowest one."""

_MOST_ERRORS: Final = 5
_MOST_DEATHS: Final = 20
"""Times that an object may be begun: the process has ended before it was done, as often."""

_FULL: Final = {errno.ENOSPC, errno.EDQUOT}


class Worker:
    """A thread that predicts what the queue holds, with one thread for each core.

    Args:
        ledger: Has the queue, and gets what became of each object.
        maker: Predicts, and makes the results.
        rules: Which images are predicted.
        destinations: Names of the destinations that get the results.
        ready: Called when there are results to send.
    """

    def __init__(
        self,
        ledger: Ledger,
        maker: ResultMaker,
        rules: Rules,
        *,
        destinations: Sequence[str],
        ready: Callable[[], None],
    ) -> None:
        self._queue, self._log, self._counters = ledger.queue, ledger.log, ledger.counters
        self._maker = maker
        self._rules = rules
        self._destinations = destinations
        self._ready = ready
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether the thread works."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Look at the queue at once."""
        self._wake.set()

    def stop(self, seconds: float) -> None:
        """Finish the objects in progress and end; wait for so long."""
        self._stop.set()
        self._wake.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        threads = num_threads()
        with ThreadPoolExecutor(threads, thread_name_prefix="worker") as pool:
            while not self._stop.is_set():
                try:
                    objects = self._queue.begin(_FOR_EACH * threads)
                    list(pool.map(self._work, objects))
                except Exception as error:  # noqa: BLE001  (a full disk, or a database that is held)
                    self._log.write("worker failed", error=type(error).__name__)
                    self._stop.wait(1.0)
                    continue
                if not objects:
                    self._wake.wait(_POLL)
                    self._wake.clear()

    def _work(self, stored: Stored) -> None:
        """Predict one object, and store its results."""
        if stored.attempts > _MOST_DEATHS:
            reason = f"the process ended {_MOST_DEATHS} times before it was done"
            self._end(stored, NotWanted(reason, is_failure=True))
            return
        try:
            self._end(stored, compute(stored.path, self._maker, self._rules, timed=self._counters.step))
        except Exception as error:  # noqa: BLE001  (the others go on)
            self._postpone(stored, error)

    def _end(self, stored: Stored, result: Computed | NotWanted) -> None:
        reason = {}
        if isinstance(result, Computed):
            self._keep(stored, result)
            kind = result.kind
        else:
            kind = "failed" if result.is_failure else "skipped"
            if result.is_failure:
                self._queue.failed(stored.number, result.reason)
            else:
                self._queue.skipped(stored.number, result.reason, result.outcome)
            reason["reason"] = result.reason
        self._counters.outcome(kind)
        self._log.write(kind, uid=stored.sop_uid, study=stored.study_uid, **reason)

    def _keep(self, stored: Stored, result: Computed) -> None:
        """Store results so that they survive whatever ends this process, then note that they must be sent."""
        began = time.monotonic()
        folder = self._queue.results_of(stored.number)
        shutil.rmtree(folder, ignore_errors=True)  # of an attempt that did not end
        folder.mkdir(mode=0o700)
        for position, content in enumerate(result.files):
            write_bytes(folder / f"{position}.dcm", content)
        size = sum(map(len, result.files))
        self._queue.predicted(stored.number, result.outcome, self._destinations, result_bytes=size)
        self._counters.step("keep", time.monotonic() - began)
        self._ready()

    def _postpone(self, stored: Stored, error: Exception) -> None:
        """Try an object again later; one that fails again and again becomes a dead letter."""
        # Messages of ours quote no values of a file; those of others may.
        said = str(error) if isinstance(error, ThoraxError) else f"{type(error).__name__} at {_place(error)}"
        is_full = isinstance(error, OSError) and error.errno in _FULL
        if stored.attempts >= _MOST_ERRORS and not is_full:
            self._end(stored, NotWanted(said, is_failure=True))
            return
        self._queue.postpone(stored.number, back_off(stored.attempts), said)
        self._counters.outcome("postponed")
        self._log.write("postponed", uid=stored.sop_uid, study=stored.study_uid, reason=said)


def _place(error: Exception) -> str:
    """Return file and line of an error, the same for every image."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(last.filename).name}:{last.lineno}"
