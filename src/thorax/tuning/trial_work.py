"""The work of one trial: its training, which reports each epoch and can be pruned; here or over a cluster."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from thorax.atomic_io import wait_until_free
from thorax.cluster import LINGERING, Cluster, Lost, Post, run_units
from thorax.errors import ThoraxError
from thorax.progress import Progress
from thorax.recipe.schema import Recipe
from thorax.store import Store, open_store
from thorax.training import TrainingInterrupted
from thorax.training import train as train_run

__all__ = [
    "Heard",
    "Pruned",
    "TrialEnd",
    "TrialEngine",
    "TrialUnit",
    "do_trial",
    "train_trial",
    "trials_here",
    "trials_over",
]

_MAX_REASON: Final = 500
"""Characters of the reason why a trial failed."""


class Pruned(Exception):  # noqa: N818  (named after the event)
    """The trial's curve is worse than those of earlier trials, so that it ends."""


@dataclass(frozen=True, slots=True)
class TrialUnit:
    """One trial to train.

    Attributes:
        number: Its number.
        recipe: The recipe with its settings.
        store: The folder or address of the store.
        folder: The folder of its run.
        device: "auto", "cpu", "cuda" or "cuda:N".
    """

    number: int
    recipe: Recipe
    store: Path
    folder: Path
    device: str


@dataclass(frozen=True, slots=True)
class TrialEnd:
    """How a trial ended.

    Attributes:
        value: The metric on validation; None if it was pruned or failed.
        reason: Why it did not finish; "" if it did.
        pruned: Whether it was pruned.
    """

    value: float | None
    reason: str = ""
    pruned: bool = False


Heard = Callable[[TrialUnit, Progress | Mapping[str, Any]], str | None]
"""Receives the progress and the log's events of a trial; returns why it should end, or None."""

TrialEngine = Callable[[Iterator[TrialUnit], Heard], Generator[tuple[TrialUnit, TrialEnd], None, None]]
"""Trains trials, which it takes as it has room for them, and yields each with its end."""


def trials_here(store: Store) -> TrialEngine:
    """Return the engine that trains one trial after the other in this process."""

    def work(units: Iterator[TrialUnit], heard: Heard) -> Generator[tuple[TrialUnit, TrialEnd], None, None]:
        for unit in units:

            def hear(message: Progress | Mapping[str, Any], unit: TrialUnit = unit) -> str | None:
                return heard(unit, message)

            yield unit, train_trial(unit, store, ask=hear, tell=hear)

    return work


def trials_over(cluster: Cluster, sees: Sequence[Path]) -> TrialEngine:
    """Return the engine that trains each trial on some node of a cluster.

    Args:
        cluster: The cluster.
        sees: What every node must see.
    """

    def work(units: Iterator[TrialUnit], heard: Heard) -> Generator[tuple[TrialUnit, TrialEnd], None, None]:
        # None waits at a worker: its settings are drawn when all that is known by then is known.
        with closing(run_units(cluster, do_trial, units, sees=sees, heard=heard, ahead=0)) as results:
            for unit, result in results:
                yield unit, TrialEnd(None, result.reason) if isinstance(result, Lost) else result

    return work


def do_trial(unit: TrialUnit, post: Post) -> TrialEnd:
    """Train a trial, or continue its training, as a unit of a cluster."""
    wait_until_free(unit.folder, seconds=LINGERING)
    try:
        return train_trial(unit, open_store(unit.store), ask=post.ask, tell=post.tell)
    except TrainingInterrupted:
        raise KeyboardInterrupt from None


def train_trial(
    unit: TrialUnit,
    store: Store,
    *,
    ask: Callable[[Mapping[str, Any]], str | None],
    tell: Callable[[Progress], object],
) -> TrialEnd:
    """Train a trial, or continue its training; what goes wrong in it is its own failure.

    Args:
        unit: The trial.
        store: The store.
        ask: Receives each event of the log, and returns why the trial should end, or None.
        tell: Receives the progress.

    Raises:
        TrainingInterrupted: Ctrl-C or SIGTERM stopped it; it can be resumed.
    """

    def progress(now: Progress) -> None:
        tell(now)

    def watch(event: Mapping[str, Any]) -> None:
        if why := ask(event):
            raise Pruned(why)

    try:
        summary = train_run(
            unit.recipe,
            store,
            unit.folder,
            resume=True,
            device=unit.device,
            report=False,
            progress=progress,
            watch=watch,
        )
    except Pruned as pruned:
        return TrialEnd(None, str(pruned), pruned=True)
    except TrainingInterrupted:
        raise
    except (ThoraxError, RuntimeError, MemoryError) as error:
        # Such as a loss that is not finite, settings that do not go together, or a batch that does not fit
        # into the memory of the GPU: the trial's own failure, which others need not share.
        text = f"{type(error).__name__}: {str(error).strip() or 'no message'}"
        return TrialEnd(None, text[:_MAX_REASON])
    value = summary.macro_auc if unit.recipe.selection.metric == "macro-auc" else summary.loss
    return TrialEnd(value, "" if value is not None else "no finding has an AUC on validation")
