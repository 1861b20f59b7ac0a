"""Worker processes for whatever decodes files: a file that kills or stops one costs the file alone."""

from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import wait
from typing import Final, Generic, TypeVar

from thorax.imaging.decode_process import DecodeProcess, Died, Done, EndedFromOutside, Lost, Work

__all__ = ["DecodePool", "Done", "EndedFromOutside", "Lost", "Work"]

_AHEAD: Final = 2
"""The current work and the next one. Not more, so that the last files are distributed evenly."""

_POLL: Final = 0.5
"""Seconds between two looks for workers that do not end."""

_Context = TypeVar("_Context")
_Item = TypeVar("_Item")


class DecodePool(Generic[_Context, _Item]):
    """Worker processes that do one task; the caller must close the pool.

    Args:
        task: "module:function" of a `decode_worker.Task`.
        count: Number of processes; they are ready 0.3 s later.
        again: Whether an item that was lost is tried once more while nothing else runs, since a busy machine
            may be the cause.
        modules: What the processes import before the first item.
    """

    def __init__(self, task: str, count: int, *, again: bool = False, modules: Sequence[str] = ()) -> None:
        self._task = task
        self._modules = modules
        self._again = again
        self._workers: list[DecodeProcess[_Context, _Item]] = []
        try:
            for _ in range(count):
                self._workers.append(DecodeProcess(task, modules))
        except BaseException:
            self.close()
            raise

    @property
    def lives(self) -> bool:
        """Whether every process lives."""
        return all(worker.process.poll() is None for worker in self._workers)

    def close(self) -> None:
        """Kill the processes, whatever they are doing."""
        for worker in self._workers:
            worker.terminate()

    def forget(self) -> None:
        """Leave the processes alone and close the connections to them: they belong to a parent."""
        for worker in self._workers:
            worker.forget()

    def results(self, works: Iterator[Work[_Context, _Item]]) -> Iterator[Done[_Item] | Lost[_Item]]:
        """Yield the result of every item, in order of completion.

        Args:
            works: Consumed only as workers become free.

        Raises:
            DataError: The task raised it, or a process cannot be started.
            EndedFromOutside: A process was ended, and not by a file.
        """
        waiting: deque[Work[_Context, _Item]] = deque()
        suspects: deque[Work[_Context, _Item]] = deque()
        while True:
            if not suspects:
                self._feed(waiting, works)
            elif not self._busy():
                self._workers[0].give(suspects.popleft())
                yield from self._alone()
                continue
            if not self._busy():
                return
            for worker in self._ready():
                try:
                    yield from worker.take()
                except Died as death:
                    self._replace(worker)
                    waiting.extend(death.rest)
                    if self._again:
                        suspects.append(death.suspect)
                    else:
                        yield Lost(death.suspect.items[0], death.reason)

    def _alone(self) -> Iterator[Done[_Item] | Lost[_Item]]:
        """Yield the result of the one item that the first worker has."""
        worker = self._workers[0]
        while worker.pending:
            for ready in self._ready():
                try:
                    yield from ready.take()
                except Died as death:
                    self._replace(worker)
                    yield Lost(death.suspect.items[0], death.reason)
                    return

    def _busy(self) -> bool:
        return any(worker.pending for worker in self._workers)

    def _ready(self) -> "list[DecodeProcess[_Context, _Item]]":
        """Wait a while for answers; kill the workers that have taken too long."""
        busy = [worker for worker in self._workers if worker.pending]
        readable = wait([worker.connection for worker in busy], timeout=_POLL)
        ready = [worker for worker in busy if worker.connection in readable]
        for worker in busy:
            if worker not in ready:
                worker.kill_if_late()
        return ready

    def _feed(self, waiting: deque[Work[_Context, _Item]], works: Iterator[Work[_Context, _Item]]) -> None:
        """Keep one work queued for each worker, so that it never waits for its parent."""
        for worker in self._workers:
            while len(worker.pending) < _AHEAD:
                work = waiting.popleft() if waiting else next(works, None)
                if work is None:
                    return
                worker.give(work)

    def _replace(self, worker: "DecodeProcess[_Context, _Item]") -> None:
        worker.terminate()
        self._workers[self._workers.index(worker)] = DecodeProcess(self._task, self._modules)
