"""Takes objects out of a node's queue, and puts their results in."""

import shutil
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from thorax.atomic_io import write_bytes
from thorax.pacs.node.ledger import Ledger
from thorax.pacs.node.makers import Makers
from thorax.pacs.node.outcomes import Computed, Failed, NotWanted
from thorax.pacs.node.records import Stored, back_off

__all__ = ["Worker"]

_POLL: Final = 0.2

_FOR_EACH: Final = 4
"""Objects that are taken at once for each process, so that none waits long for the slowest one."""

_MOST_ERRORS: Final = 5
_MOST_DEATHS: Final = 20
"""Times that an object may be begun: the process has ended before it was done, as often."""


class Worker:
    """A thread that has the processes predict what the queue holds.

    Args:
        ledger: Has the queue, and gets what became of each object.
        makers: The processes that predict, and make the results.
        destinations: Names of the destinations that get the results.
        ready: Called when there are results to send.
    """

    def __init__(
        self,
        ledger: Ledger,
        makers: Makers,
        *,
        destinations: Sequence[str],
        ready: Callable[[], None],
    ) -> None:
        self._queue, self._log, self._counters = ledger.queue, ledger.log, ledger.counters
        self._makers = makers
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
        # Twice as many threads, so that results are stored while the processes make others.
        with ThreadPoolExecutor(2 * self._makers.count, thread_name_prefix="worker") as pool:
            while not self._stop.is_set():
                try:
                    objects = self._queue.begin(_FOR_EACH * self._makers.count)
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
            outcome = self._makers.make(stored.path)
            if not isinstance(outcome, Failed):
                self._end(stored, outcome)
                return
        except Exception as error:  # noqa: BLE001  (the others go on)
            outcome = Failed.of(error)
        self._postpone(stored, outcome)

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
        for step, seconds in result.seconds.items():
            self._counters.step(step, seconds)
        folder = self._queue.results_of(stored.number)
        shutil.rmtree(folder, ignore_errors=True)  # of an attempt that did not end
        folder.mkdir(mode=0o700)
        for position, content in enumerate(result.files):
            write_bytes(folder / f"{position}.dcm", content)
        size = sum(map(len, result.files))
        self._queue.predicted(stored.number, result.outcome, self._destinations, result_bytes=size)
        self._counters.step("keep", time.monotonic() - began)
        self._ready()

    def _postpone(self, stored: Stored, failed: Failed) -> None:
        """Try an object again later; one that fails again and again becomes a dead letter."""
        if stored.attempts >= _MOST_ERRORS and not failed.is_full:
            self._end(stored, NotWanted(failed.reason, is_failure=True))
            return
        self._queue.postpone(stored.number, back_off(stored.attempts), failed.reason)
        self._counters.outcome("postponed")
        self._log.write("postponed", uid=stored.sop_uid, study=stored.study_uid, reason=failed.reason)
