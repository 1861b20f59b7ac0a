"""Where the cells of a study are worked on: here, in one process for each device, or over a cluster.

An engine takes cells and a step, and yields each outcome when it is known, in any order. The cells share
nothing: each writes into folders of its own, and doing one again continues it.
"""

import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any, Final

from thorax.atomic_io import wait_until_free
from thorax.cluster import LINGERING, Cluster, Lost, Post, run_units
from thorax.evaluation.looks import note_in_state
from thorax.hardware import cores
from thorax.progress import Progress, ProgressCallback
from thorax.studies.cells import Cell
from thorax.studies.work import CellOutcome, Step, do_step, of_cell

__all__ = ["INTERRUPTED", "Engine", "do_cell", "here", "over_cluster", "over_devices"]

Engine = Callable[[Sequence[Cell], Step, ProgressCallback | None], Iterator[CellOutcome]]
"""Works on cells, and yields the outcome of each; `progress` receives what the cells report, by name."""

INTERRUPTED: Final = "interrupted"
"""What a worker says when its cell was stopped and can be resumed."""

_MODULE: Final = "thorax.studies.worker"

_PATIENCE: Final = 120.0
"""Seconds for a worker to write its checkpoint after it was asked to end."""


def here(device: str) -> Engine:
    """Return the engine that works in this process, one cell after the other.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:N".
    """

    def work(cells: Sequence[Cell], step: Step, progress: ProgressCallback | None) -> Iterator[CellOutcome]:
        for cell in cells:
            yield do_step(cell, step, device=device, progress=of_cell(cell, progress))

    return work


def over_devices(devices: Sequence[str]) -> Engine:
    """Return the engine with one worker process for each device; each takes the next cell when it is free.

    A worker that dies costs its cell, with the reason, and another takes its place. When this process ends,
    however it does, its workers write their checkpoints and end too.

    Args:
        devices: Such as ["cuda:0", "cuda:1"]; a device that is listed twice has two workers.
    """

    def work(cells: Sequence[Cell], step: Step, progress: ProgressCallback | None) -> Iterator[CellOutcome]:
        with ExitStack() as workers:
            yield from _Crew(devices, cells, step, workers).outcomes(progress)

    return work


def over_cluster(cluster: Cluster, *, device: str) -> Engine:
    """Return the engine that works on the nodes of a Ray cluster, which see the study and its stores.

    Args:
        cluster: The cluster.
        device: "auto", "cpu", "cuda" or "cuda:N", on each node.
    """

    def work(cells: Sequence[Cell], step: Step, progress: ProgressCallback | None) -> Iterator[CellOutcome]:
        if not cells:
            return
        sees = [cells[0].study, *{cell.store for cell in cells}]
        units = run_units(
            cluster,
            partial(do_cell, step, device),
            cells,
            sees=sees,
            heard=lambda _cell, message: progress(message) if progress is not None else None,
            ahead=0,
        )
        with closing(units) as results:
            for cell, result in results:
                if isinstance(result, Lost):
                    yield CellOutcome(cell, step, result.reason)
                    continue
                if step == "evaluate" and not result.reason:
                    note_in_state(cell.run)
                yield result

    return work


def do_cell(step: Step, device: str, cell: Cell, post: Post) -> CellOutcome:
    """Do a step of a cell as a unit of a cluster."""
    from thorax.training import TrainingInterrupted  # noqa: PLC0415  (torch takes seconds to import)

    wait_until_free(cell.run, seconds=LINGERING)
    try:
        return do_step(cell, step, device=device, progress=of_cell(cell, post.tell))
    except TrainingInterrupted:
        raise KeyboardInterrupt from None


class _Crew:
    """The workers of one step.

    Args:
        devices: The device of each.
        cells: What is to be done.
        step: The step.
        workers: Ends them.
    """

    def __init__(self, devices: Sequence[str], cells: Sequence[Cell], step: Step, workers: ExitStack) -> None:
        self._waiting, self._step, self._workers = deque(cells), step, workers
        self._threads = max(cores() // len(devices), 1)
        self._busy: dict[Connection, _Worker] = {}
        for device in devices[: len(cells)]:
            self._next_cell(self._start(device))

    def outcomes(self, progress: ProgressCallback | None) -> Iterator[CellOutcome]:
        """Yield the outcomes as they come.

        Raises:
            KeyboardInterrupt: A worker was stopped.
        """
        while self._busy:
            for ready in wait(list(self._busy)):
                assert isinstance(ready, Connection)
                reply = self._busy[ready].reply()
                if isinstance(reply, CellOutcome):
                    self._next_cell(self._busy.pop(ready))
                    yield reply
                elif reply == INTERRUPTED:
                    raise KeyboardInterrupt
                elif progress is not None:
                    assert isinstance(reply, Progress)
                    progress(reply)

    def _start(self, device: str) -> "_Worker":
        worker = _Worker.start(device, threads=self._threads)
        self._workers.callback(worker.end)
        return worker

    def _next_cell(self, worker: "_Worker") -> None:
        """Give a worker its next cell, if there is one; another takes the place of one that has died."""
        if not self._waiting:
            worker.end()
            return
        if worker.process.poll() is not None:
            worker = self._start(worker.device)
        worker.give(self._waiting.popleft(), self._step)
        self._busy[worker.replies] = worker


@dataclass(slots=True, eq=False)
class _Worker:
    """A process that works on one cell at a time."""

    device: str
    process: "subprocess.Popen[bytes]"
    orders: Connection
    replies: Connection
    doing: tuple[Cell, Step] | None = None

    @classmethod
    def start(cls, device: str, *, threads: int) -> "_Worker":
        theirs, orders = Pipe(duplex=False)
        replies, answers = Pipe(duplex=False)
        with theirs, answers:
            process = subprocess.Popen(  # noqa: S603  (this Python, and a module of ours)
                [sys.executable, "-m", _MODULE, str(theirs.fileno()), str(answers.fileno()), device],
                pass_fds=(theirs.fileno(), answers.fileno()),
                # Workers on the CPU share its cores.
                env={"OMP_NUM_THREADS": str(threads)} | os.environ,
                # So that Ctrl-C reaches this process alone, which ends its workers in order.
                start_new_session=True,
                stdin=subprocess.DEVNULL,
            )
        return cls(device, process, orders, replies)

    def give(self, cell: Cell, step: Step) -> None:
        """Let the worker work on a cell; if it has died, its reply says so."""
        self.doing = (cell, step)
        with suppress(OSError):
            self.orders.send(self.doing)

    def reply(self) -> CellOutcome | Progress | str:
        """Return what the worker says; if it has died, that its cell failed."""
        assert self.doing is not None
        try:
            answer: Any = self.replies.recv()
        except (EOFError, OSError):
            return CellOutcome(*self.doing, reason=_death(self.process.wait()))
        if not isinstance(answer, Progress):
            self.doing = None
        assert isinstance(answer, CellOutcome | Progress | str)
        return answer

    def end(self) -> None:
        """End the worker: one that trains a cell writes its checkpoint first."""
        self.orders.close()
        last = time.monotonic() + _PATIENCE
        while self.process.poll() is None and time.monotonic() < last:
            with suppress(EOFError, OSError):
                while self.replies.poll(0.05):  # what it says must not fill the pipe
                    self.replies.recv()
            time.sleep(0.05)
        self.process.kill()
        self.process.wait()
        self.replies.close()


def _death(code: int) -> str:
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    return f"the worker process {how}; there may be too little memory"
