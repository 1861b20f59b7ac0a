"""Units over a cluster: given to workers, given again when one is lost, and stopped in order."""

import os
import pickle
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import thorax
from thorax.atomic_io import is_remote
from thorax.cluster.board import Board
from thorax.cluster.connection import connected
from thorax.cluster.settings import GIB, Cluster, Lost, Post
from thorax.cluster.worker import Done, Order, OverMemory, Raised, Stopped, do_unit
from thorax.errors import ServiceError

__all__ = ["run_units"]

_POLL: Final = 0.2
"""Seconds between two looks at what workers say."""

_NODES: Final = 2.0
"""Seconds between two looks at the nodes."""

_CRASHES: Final = 3
"""Workers that a unit may end."""

_LOSSES: Final = 20
"""Attempts at a unit altogether; its node may be lost through no fault of its own."""

_ALONE: Final = 60.0
"""Seconds to wait for a node when all that could do a unit are lost."""

_PATIENCE: Final = 120.0
"""Seconds for workers to end their units in order: training writes a checkpoint."""

_HELD: Final = 8
"""Units in progress or finished, for each that runs at once, when results are wanted in order."""

_Unit = TypeVar("_Unit")
_Result = TypeVar("_Result")


@dataclass(slots=True, eq=False)
class _Attempt(Generic[_Unit]):
    unit: _Unit
    place: int
    number: int
    crashes: int = 0
    losses: int = 0
    over: OverMemory | None = None


def run_units(  # noqa: PLR0913  (what is done, and how)
    cluster: Cluster,
    work: Callable[[_Unit, Post], _Result],
    units: Iterable[_Unit],
    *,
    sees: Sequence[Path] = (),
    heard: Callable[[_Unit, Any], Any] | None = None,
    ahead: int = 1,
    ordered: bool = False,
) -> Generator[tuple[_Unit, _Result | Lost], None, None]:
    """Do units over a cluster, and yield each with its result; close the generator to stop.

    A unit is taken from `units` when there is room for it. Whatever ends this call early stops the workers
    as Ctrl-C would stop the same work here, and waits for them.

    Args:
        cluster: The cluster.
        work: A function of a module, or a partial of one, which does a unit and may speak meanwhile. Doing a
            unit again must give the same files.
        units: The units, which can be pickled.
        sees: Files and folders that every node must find under the same path; addresses s3:// are not
            looked for.
        heard: Receives what a unit says; what it returns is the answer, if the unit asked.
        ahead: Units that wait at each worker, beside the one that it does.
        ordered: Whether results come in the order of the units.

    Raises:
        MissingExtra: Ray is not installed.
        ServiceError: There is no such cluster, no node has room for a unit, or a node has another version of
            Thorax.
        DataError: A node does not see a path.
        Exception: What `work` raised.
    """
    with connected(cluster) as ray:
        run = _Run(
            ray, cluster, work, sees=tuple(str(path) for path in sees if not is_remote(path)), heard=heard
        )
        try:
            yield from run.results(iter(units), ahead=ahead, ordered=ordered)
        finally:
            run.stop()


class _Run(Generic[_Unit, _Result]):
    """The attempts at the units of one call."""

    def __init__(
        self,
        ray: Any,
        cluster: Cluster,
        work: Callable[[_Unit, Post], _Result],
        *,
        sees: tuple[str, ...],
        heard: Callable[[_Unit, Any], Any] | None,
    ) -> None:
        self._ray, self._cluster, self._sees, self._heard = ray, cluster, sees, heard
        self._work = ray.put(pickle.dumps(work))  # once for all units, which may be many and small
        self._running: dict[Any, _Attempt[_Unit]] = {}
        self._again: deque[_Attempt[_Unit]] = deque()
        self._attempts = 0
        self._looked = float("-inf")
        self._alone_since: float | None = None
        self._slots = 0
        strategies = import_module("ray.util.scheduling_strategies")
        here = strategies.NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._board = ray.remote(Board).options(num_cpus=0, scheduling_strategy=here).remote()
        self._task = ray.remote(do_unit).options(
            num_cpus=cluster.cores,
            num_gpus=cluster.gpus,
            memory=cluster.memory,
            max_retries=0,  # what is lost is given again below, with its crashes counted
            scheduling_strategy="SPREAD",
        )

    def results(
        self, units: Iterator[_Unit], *, ahead: int, ordered: bool
    ) -> Iterator[tuple[_Unit, _Result | Lost]]:
        """Yield each unit with its result."""
        ready: dict[int, tuple[_Unit, _Result | Lost]] = {}
        taken = given = 0
        while True:
            slots = self._room()
            while len(self._running) < slots * (1 + ahead) and len(ready) < slots * _HELD:
                if self._again:
                    self._submit(self._again.popleft())
                    continue
                unit = next(units, None)
                if unit is None:
                    break
                self._submit(_Attempt(unit, taken, 0))
                taken += 1
            if not (self._running or self._again):
                return
            for attempt, result in self._finished():
                ready[attempt.place] = attempt.unit, result
            while ready and (not ordered or given in ready):
                yield ready.pop(given if ordered else next(iter(ready)))
                given += 1

    def _submit(self, attempt: _Attempt[_Unit]) -> None:
        self._attempts += 1
        attempt.number, attempt.over = self._attempts, None
        order = Order(
            attempt=attempt.number,
            version=thorax.__version__,
            folder=os.getcwd(),  # noqa: PTH109  (a text)
            sees=self._sees,
            cores=self._cluster.cores,
            memory=self._cluster.memory,
            unit=pickle.dumps(attempt.unit),
        )
        self._running[self._task.remote(asdict(order), self._work, self._board)] = attempt

    def _finished(self) -> Iterator[tuple[_Attempt[_Unit], _Result | Lost]]:
        """Wait a while; yield the units that are done or given up."""
        if not self._running:
            time.sleep(_POLL)
        done, _ = self._ray.wait(list(self._running), timeout=_POLL) if self._running else ([], [])
        self._listen()
        for reference in done:
            attempt = self._running.pop(reference)
            try:
                answer = self._ray.get(reference)
            except self._ray.exceptions.RayTaskError as error:
                raise ServiceError(_broken(error)) from error
            except self._ray.exceptions.RayError as error:
                yield from self._lost(attempt, error)
                continue
            if isinstance(answer, Raised):
                raise answer.error
            if isinstance(answer, Stopped):
                yield from self._lost(attempt, None)
                continue
            assert isinstance(answer, Done)
            yield attempt, answer.value

    def _lost(
        self, attempt: _Attempt[_Unit], error: Exception | None
    ) -> Iterator[tuple[_Attempt[_Unit], Lost]]:
        """Give a unit again whose worker or node was lost, or give it up."""
        attempt.losses += 1
        by_itself = self._ray.exceptions.WorkerCrashedError, self._ray.exceptions.OutOfMemoryError
        attempt.crashes += isinstance(error, by_itself)
        if attempt.crashes < _CRASHES and attempt.losses < _LOSSES:
            self._again.append(attempt)
            return
        how = attempt.over.reason if attempt.over else "was killed, or a library in it crashed"
        if isinstance(error, self._ray.exceptions.OutOfMemoryError):
            how = "was ended by Ray, because its node had no memory left"
        yield attempt, Lost(f"the worker {how}, {attempt.losses} times")

    def _listen(self) -> None:
        attempts = {attempt.number: attempt for attempt in self._running.values()}
        for number, message, asks in self._ray.get(self._board.take.remote()):
            attempt = attempts.get(number)
            if attempt is None:  # it was lost meanwhile
                continue
            if isinstance(message, OverMemory):
                attempt.over = message
                continue
            reply = self._heard(attempt.unit, message) if self._heard is not None else None
            if asks:
                self._board.answer.remote(number, reply)

    def _room(self) -> int:
        """Return how many units can be done at once.

        Raises:
            ServiceError: None could, for a minute.
        """
        now = time.monotonic()
        if now - self._looked < _NODES:
            return self._slots
        self._looked = now
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        self._slots = sum(self._units_at_once(node) for node in nodes)
        if self._slots:
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = now if self._attempts else float("-inf")
        if self._alone_since is not None and now - self._alone_since > _ALONE:
            most: dict[str, float] = max(nodes, key=lambda node: node.get("CPU", 0), default={})
            raise ServiceError(
                f"no node of the cluster has {self._cluster.needs} (the largest of {len(nodes)}: "
                f"{most.get('CPU', 0):g} cores, {most.get('GPU', 0):g} GPUs and "
                f"{most.get('memory', 0) / GIB:.1f} GiB); lower `cores` or `memory`, or start larger nodes"
            )
        return self._slots

    def _units_at_once(self, node: dict[str, float]) -> int:
        fitting = [node.get("CPU", 0) // self._cluster.cores, node.get("memory", 0) // self._cluster.memory]
        if self._cluster.gpus:
            fitting.append(node.get("GPU", 0) // self._cluster.gpus)
        return int(min(fitting))

    def stop(self) -> None:
        """Let the workers stop what they do, and wait for them."""
        if not self._running:
            return
        self._board.close.remote()
        for reference in self._running:
            self._ray.cancel(reference)
        self._ray.wait(list(self._running), num_returns=len(self._running), timeout=_PATIENCE)


def _broken(error: Exception) -> str:
    """Say why a task could not be run at all."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if any("No module named" in line and "thorax" in line for line in lines):
        return "a node of the cluster has no Thorax; install the same version on every node, with its extras"
    return f"a worker failed ({lines[-1] if lines else type(error).__name__}); see Ray's logs on its node"
