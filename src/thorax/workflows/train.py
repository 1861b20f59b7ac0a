"""`train` and `train_seeds`: train a recipe on a store, once or with several seeds."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING

from thorax.atomic_io import StrPath
from thorax.errors import RecipeError, ThoraxError
from thorax.progress import ProgressCallback, throttled
from thorax.recipe.load import Settings, load_recipe
from thorax.recipe.schema import Recipe
from thorax.reporting.next_commands import resume_command
from thorax.store import Store, open_store
from thorax.store.manifest import MANIFEST
from thorax.tracking.contents import RunContents
from thorax.tracking.follow import Follower, follow
from thorax.tracking.service import Target, parse_target
from thorax.training.checks import refuse_mistakes, refuse_used_run
from thorax.workflows.resume import (
    first_seed,
    missing_recipe,
    own_recipe,
    records_test_curve,
    resumed_recipe,
)

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
    def folders(self) -> tuple[Path, ...]:
        """The folders of the runs."""
        return tuple(run.folder for run in self.runs)

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
    recipe: StrPath | None,
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
        recipe: Name of a shipped recipe, or a TOML file. None only with `resume`.
        store: A store prepared as the recipe requires.
        out: The run's folder: a new or empty one, unless `resume`.
        settings: Settings of the recipe to change, such as ["optim.lr=3e-4"] or {"optim.lr": 3e-4}.
        resume: Resume the run in `out` if it was interrupted, with the recipe in its `recipe.toml`; a
            finished run is left unchanged. `recipe` and `settings` need not be repeated; a setting or a file
            that says something else is refused.
        device: "auto", "cpu", "cuda" or "cuda:N".
        record_test_curve: Also evaluate each epoch on the test part; this is only logged and never affects
            selection. A resumed run does as it did before.
        track: Where to track the run: "mlflow:URI", or "mlflow", whose address is then MLFLOW_TRACKING_URI. A
            service that fails is a warning; the run continues.
        progress: Receives the number of finished images of each epoch, the loss and the time left.
        watch: Receives each event of the run's log, among them one per epoch, and before them one with what
            the run is; `thorax.progress.epoch_lines()` prints them.

    Raises:
        RecipeError: The recipe does not fit the data, the backbone or the device, or the run to resume has
            other settings.
        DataError: The store is not what the recipe requires, or `out` holds something else.
        NonFiniteLoss: The loss became infinite or not a number.
        TrainingInterrupted: Ctrl-C or SIGTERM stopped the run; it can be resumed.

    Example:
        settings = {"data.split": "folder-official", "training.epochs": 5}
        run = thorax.train("small-cpu", store, "run", settings=settings)
    """
    target = parse_target(track) if track else None
    folder = Path(out)
    loaded, images = _opened(recipe, store, settings, resumed=folder if resume else None)
    refuse_mistakes(loaded, images, folder, device=device)
    refuse_used_run(folder, resume=resume)
    images.verify()
    return _run(
        loaded,
        images,
        folder,
        resume=resume,
        device=device,
        record_test_curve=record_test_curve,
        target=target,
        again=resume_command(store, folder, device=device, track=track),
        progress=progress,
        watch=watch,
    )


def train_seeds(
    recipe: StrPath | None,
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
        recipe: Name of a shipped recipe, or a TOML file. None only with `resume`.
        store: A store prepared as the recipe requires.
        out: A folder; the run with seed N is in its subfolder `seed-N`.
        seeds: Number of runs, at least 1.
        settings: Settings of the recipe to change.
        resume: Resume the runs in `out` that were interrupted, as in `train`, and start those that are
            missing; finished ones are left unchanged.
        device: "auto", "cpu", "cuda" or "cuda:N".
        record_test_curve: Also evaluate each epoch on the test part, for the log only.
        track: Where to track the runs, as in `train`.
        progress: Receives the number of finished images of each epoch, the loss and the time left.
        watch: Receives each event of the runs' logs, as in `train`.
        finished: Receives each run's summary when it ends.

    Raises:
        See `train`.
    """
    target = parse_target(track) if track else None
    begun = first_seed(Path(out)) if resume else None
    loaded, images = _opened(recipe, store, settings, resumed=begun)
    # Runs that have not begun know nothing of it yet.
    record_test_curve = record_test_curve or (begun is not None and records_test_curve(begun))
    first = loaded.training.seed
    refuse_mistakes(loaded, images, Path(out), device=device)
    for seed in range(first, first + seeds):
        refuse_used_run(Path(out) / f"seed-{seed}", resume=resume)
    images.verify()
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
            again=resume_command(store, Path(out), seeds=seeds, device=device, track=track),
            progress=progress,
            watch=watch,
        )
        runs.append(run)
        if finished is not None:
            finished(run)
    return SeedsSummary(tuple(runs))


def _opened(
    recipe: StrPath | None, store: StrPath, settings: Settings, *, resumed: Path | None
) -> tuple[Recipe, Store]:
    """Open recipe and store; `resumed` is the folder of a run that may be resumed."""
    if recipe is not None and (isinstance(recipe, Store) or (Path(recipe) / MANIFEST).is_file()):
        raise RecipeError(
            f"the recipe is the store {os.fspath(recipe)}; give the recipe first and the store second"
        )
    name = None if recipe is None else os.fspath(recipe)
    own = None if resumed is None else own_recipe(resumed)
    if own is not None and resumed is not None:
        loaded = resumed_recipe(own, name, settings, folder=resumed)
    elif name is None:
        raise RecipeError(missing_recipe(resumed))
    else:
        loaded = load_recipe(name, settings)
    return loaded, open_store(store)


@contextmanager
def _continued_by(command: str, stopped: type[ThoraxError]) -> Iterator[None]:
    """Say how a stopped run is continued; the command is known only where all runs are."""
    try:
        yield
    except stopped as error:
        raise type(error)(f"{error}: {command}") from None


def _run(
    recipe: Recipe,
    store: Store,
    out: Path,
    *,
    resume: bool,
    device: str,
    record_test_curve: bool,
    target: Target | None,
    again: str,
    progress: ProgressCallback | None,
    watch: "EventCallback | None",
) -> "RunSummary":
    # Only now: torch takes two seconds to import, and an invalid setting is reported at once.
    from thorax.training import TrainingInterrupted
    from thorax.training import train as train_run

    out.parent.mkdir(parents=True, exist_ok=True)
    follower = Follower(target, RunContents(out, recipe.name, recipe)) if target else None
    with _continued_by(again, TrainingInterrupted), follow(follower, stopped_by=(TrainingInterrupted,)):
        return train_run(
            recipe,
            store,
            out,
            resume=resume,
            device=device,
            record_test_curve=record_test_curve or (resume and records_test_curve(out)),
            progress=None if progress is None else throttled(progress),
            watch=follower.watching(watch) if follower else watch,
        )
