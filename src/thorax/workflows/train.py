"""`train` and `train_seeds`: train a recipe on a store, once or with several seeds."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING

from thorax.atomic_io import StrPath
from thorax.errors import RecipeError
from thorax.progress import ProgressCallback, throttled
from thorax.recipe.load import Settings, load_recipe
from thorax.recipe.schema import Recipe
from thorax.store import Store, open_store
from thorax.store.manifest import MANIFEST
from thorax.tracking.contents import RunContents
from thorax.tracking.follow import Follower, follow
from thorax.tracking.service import Target, parse_target

if TYPE_CHECKING:
    from thorax.training import RunSummary
    from thorax.training.logbook import EventCallback

__all__ = ["SeedsSummary", "train", "train_seeds"]


@dataclass(frozen=True, slots=True)
class SeedsSummary:
    """The results of runs that differ only in their seed.

    Attributes:
        runs: One per seed, in the order of the seeds.
    """

    runs: "tuple[RunSummary, ...]"

    @property
    def macro_auc(self) -> tuple[float, float] | None:
        """Mean and standard deviation, over the seeds, of the macro AUC on validation.

        None if a run has no such AUC, or if there is only one seed.
        """
        scores = [run.macro_auc for run in self.runs if run.macro_auc is not None]
        if len(scores) < max(len(self.runs), 2):
            return None
        return mean(scores), stdev(scores)


def train(
    recipe: StrPath,
    store: StrPath,
    out: StrPath,
    *,
    settings: Settings = (),
    resume: bool = False,
    device: str = "auto",
    record_test_curve: bool = False,
    track: str | None = None,
    progress: ProgressCallback | None = None,
    watch: "EventCallback | None" = None,
) -> "RunSummary":
    """Train a recipe on the training part of its split; only validation selects the checkpoint.

    Args:
        recipe: Name of a shipped recipe, or a TOML file.
        store: A store prepared as the recipe requires.
        out: The run's folder: a new or empty one, unless `resume`.
        settings: Settings of the recipe to change, such as ["optim.lr=3e-4"] or {"optim.lr": 3e-4}.
        resume: Resume the run in `out` if it was interrupted; a finished one is left unchanged.
        device: "auto", "cpu", "cuda" or "cuda:N".
        record_test_curve: Also evaluate each epoch on the test part; this is only logged and never affects
            selection.
        track: Where to track the run: "mlflow:URI", or "mlflow", whose address is then MLFLOW_TRACKING_URI. A
            service that fails is a warning; the run continues.
        progress: Receives the number of finished images of each epoch, the loss and the time left.
        watch: Receives each event of the run's log, among them one per epoch.

    Raises:
        RecipeError: The recipe does not fit the data, the backbone or the device.
        DataError: The store is not what the recipe requires, or `out` holds something else.
        NonFiniteLoss: The loss became infinite or not a number.
        TrainingInterrupted: Ctrl-C or SIGTERM stopped the run; it can be resumed.

    Example:
        settings = {"data.split": "folder-official", "training.epochs": 5}
        run = thorax.train("small-cpu", store, "run", settings=settings)
    """
    target = parse_target(track) if track else None
    loaded, images = _opened(recipe, store, settings)
    return _run(
        loaded,
        images,
        Path(out),
        resume=resume,
        device=device,
        record_test_curve=record_test_curve,
        target=target,
        progress=progress,
        watch=watch,
    )


def train_seeds(
    recipe: StrPath,
    store: StrPath,
    out: StrPath,
    *,
    seeds: int,
    settings: Settings = (),
    resume: bool = False,
    device: str = "auto",
    record_test_curve: bool = False,
    track: str | None = None,
    progress: ProgressCallback | None = None,
    watch: "EventCallback | None" = None,
    finished: "Callable[[RunSummary], None] | None" = None,
) -> SeedsSummary:
    """Train a recipe several times, with seeds that follow the recipe's own.

    Args:
        recipe: Name of a shipped recipe, or a TOML file.
        store: A store prepared as the recipe requires.
        out: A folder; the run with seed N is in its subfolder `seed-N`.
        seeds: Number of runs, at least 1.
        settings: Settings of the recipe to change.
        resume: Resume the runs in `out` that were interrupted; finished ones are left unchanged.
        device: "auto", "cpu", "cuda" or "cuda:N".
        record_test_curve: Also evaluate each epoch on the test part, for the log only.
        track: Where to track the runs, as in `train`.
        progress: Receives the number of finished images of each epoch, the loss and the time left.
        watch: Receives each event of the runs' logs, among them one per epoch.
        finished: Receives each run's summary when it ends.

    Raises:
        See `train`.
    """
    target = parse_target(track) if track else None
    loaded, images = _opened(recipe, store, settings)
    first = loaded.training.seed
    runs = []
    for seed in range(first, first + seeds):
        training = loaded.training.model_copy(update={"seed": seed})
        run = _run(
            loaded.model_copy(update={"training": training}),
            images,
            Path(out) / f"seed-{seed}",
            resume=resume,
            device=device,
            record_test_curve=record_test_curve,
            target=target,
            progress=progress,
            watch=watch,
        )
        runs.append(run)
        if finished is not None:
            finished(run)
    return SeedsSummary(tuple(runs))


def _opened(recipe: StrPath, store: StrPath, settings: Settings) -> tuple[Recipe, Store]:
    if isinstance(recipe, Store) or (Path(recipe) / MANIFEST).is_file():
        raise RecipeError(
            f"the recipe is the store {os.fspath(recipe)}; give the recipe first and the store second"
        )
    loaded, images = load_recipe(os.fspath(recipe), settings), open_store(store)
    images.verify()
    return loaded, images


def _run(
    recipe: Recipe,
    store: Store,
    out: Path,
    *,
    resume: bool,
    device: str,
    record_test_curve: bool,
    target: Target | None,
    progress: ProgressCallback | None,
    watch: "EventCallback | None",
) -> "RunSummary":
    # Only now: torch takes two seconds to import, and an invalid setting is reported at once.
    from thorax.training import TrainingInterrupted
    from thorax.training import train as train_run

    out.parent.mkdir(parents=True, exist_ok=True)
    follower = Follower(target, RunContents(out, recipe.name, recipe)) if target else None
    with follow(follower, stopped_by=(TrainingInterrupted,)):
        return train_run(
            recipe,
            store,
            out,
            resume=resume,
            device=device,
            record_test_curve=record_test_curve,
            progress=None if progress is None else throttled(progress),
            watch=follower.watching(watch) if follower else watch,
        )
