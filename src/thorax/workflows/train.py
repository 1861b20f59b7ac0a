"""`train` and `train_seeds`: train a recipe on a store, once or with several seeds."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from thorax.atomic_io import StrPath, is_remote
from thorax.errors import RecipeError, ThoraxError
from thorax.progress import ProgressCallback, throttled
from thorax.recipe.load import Settings, load_recipe
from thorax.recipe.schema import Recipe
from thorax.reporting.next_commands import resume_command
from thorax.reporting.run_log import read_start
from thorax.store import Store, open_store
from thorax.store.manifest import MANIFEST
from thorax.tracking.contents import RunContents
from thorax.tracking.follow import Follower, follow
from thorax.tracking.service import Target, parse_target
from thorax.training.checks import refuse_mistakes, refuse_used_run
from thorax.training.launched import Launched, launched
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
    from thorax.training.ranks import Ranks

__all__ = ["SeedsSummary", "continued_by", "moved", "opened", "train", "train_seeds"]


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

    def folders_in(self, out: Path) -> tuple[Path, ...]:
        """Return the folders of the runs in the folder or place where they were wanted."""
        return tuple(out / run.folder.name for run in self.runs)

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
        out: The run's folder: a new or empty one, unless `resume`; also at s3://.
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
        ProcessLost: Another of the processes that torchrun started has ended; the run can be resumed.

    Example:
        settings = {"data.split": "folder-official", "training.epochs": 5}
        run = thorax.train("small-cpu", store, "run", settings=settings)
    """
    started = launched()
    if started is not None and not started.is_first:
        return _follow(store, launched=started, device=device)
    if is_remote(out):
        from thorax.workflows.run_at import run_at

        options: dict[str, Any] = {"settings": settings, "resume": resume, "device": device}
        options |= {"record_test_curve": record_test_curve, "track": track}
        with run_at(out, resume=resume) as here:
            run = train(recipe, store, here, **options, progress=progress, watch=watch)
        return moved(run, out)
    target = parse_target(track) if track else None
    folder = Path(out)
    resume = resume or _was_restarted(folder, started)
    loaded, images = opened(recipe, store, folder, settings=settings, resume=resume, device=device)
    images.verify()
    return _run(
        loaded,
        images,
        folder,
        launched=started,
        resume=resume,
        device=device,
        record_test_curve=record_test_curve,
        target=target,
        again=_again(started, store, folder, device=device, track=track),
        progress=progress,
        watch=watch,
    )


def moved(run: "RunSummary", out: StrPath) -> "RunSummary":
    """Return the summary of a run that is at another path than where it was trained."""
    return replace(run, folder=Path(out), bundle=Path(out) / run.bundle.name)


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
    folder, started = Path(out), launched()
    if started is not None and not started.is_first:
        runs = [_follow(store, launched=started, device=device) for _ in range(seeds)]
        return SeedsSummary(tuple(runs))
    resume = resume or _was_restarted(first_seed(folder), started)
    loaded, images = opened(
        recipe, store, folder, settings=settings, resume=resume, seeds=seeds, device=device
    )
    begun = first_seed(folder) if resume else None
    # Runs that have not begun know nothing of it yet.
    record_test_curve = record_test_curve or (begun is not None and records_test_curve(begun))
    first = loaded.training.seed
    images.verify()
    runs = []
    for seed in range(first, first + seeds):
        training = loaded.training.model_copy(update={"seed": seed})
        run = _run(
            loaded.model_copy(update={"training": training}),
            images,
            folder / f"seed-{seed}",
            launched=started,
            resume=resume,
            device=device,
            record_test_curve=record_test_curve,
            target=target,
            again=_again(started, store, folder, seeds=seeds, device=device, track=track),
            progress=progress,
            watch=watch,
        )
        runs.append(run)
        if finished is not None:
            finished(run)
    return SeedsSummary(tuple(runs))


def opened(
    recipe: StrPath | None,
    store: StrPath,
    out: Path,
    *,
    settings: Settings,
    resume: bool,
    device: str,
    seeds: int | None = None,
) -> tuple[Recipe, Store]:
    """Open recipe and store, and refuse what cannot be trained, before torch is imported.

    Args:
        recipe: As in `train`.
        store: The store.
        out: The folder of the run, or of the runs.
        settings: Settings of the recipe to change.
        resume: Whether runs may be resumed.
        device: The device.
        seeds: Number of runs, in subfolders; None for a single one, in `out` itself.

    Raises:
        RecipeError: The recipe or the device is wrong.
        DataError: The store is not what the recipe requires, or `out` holds something else.
    """
    begun = (out if seeds is None else first_seed(out)) if resume else None
    loaded, images = _loaded(recipe, store, settings, resumed=begun)
    refuse_mistakes(loaded, images, out, device=device)
    first = loaded.training.seed
    for folder in [out] if seeds is None else [out / f"seed-{first + n}" for n in range(seeds)]:
        refuse_used_run(folder, resume=resume)
    return loaded, images


def _loaded(
    recipe: StrPath | None, store: StrPath, settings: Settings, *, resumed: Path | None
) -> tuple[Recipe, Store]:
    """Open recipe and store; `resumed` is the folder of a run that may be resumed."""
    if recipe is not None and (isinstance(recipe, Store) or (Path(recipe) / MANIFEST).is_file()):
        raise RecipeError(
            f"{os.fspath(recipe)} is a store and not a recipe; give the recipe first and the store second"
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


def _was_restarted(folder: Path, launched: Launched | None) -> bool:
    """Return whether torchrun has started this process again, for a run that it had begun in the folder."""
    if launched is None or not launched.restarts:
        return False
    return read_start(folder).get("job") == launched.job


def _again(
    launched: Launched | None, store: StrPath, out: Path, *, device: str, track: str | None, seeds: int = 1
) -> str:
    """Return how a run is resumed with as many processes."""
    if launched is not None and not launched.by_thorax:
        return "start it again as before, with --resume"
    processes = launched.size if launched else 1
    return resume_command(store, out, seeds=seeds, device=device, track=track, processes=processes)


@contextmanager
def continued_by(command: str, *stopped: type[ThoraxError]) -> Iterator[None]:
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
    launched: Launched | None,
    resume: bool,
    device: str,
    record_test_curve: bool,
    target: Target | None,
    again: str,
    progress: ProgressCallback | None,
    watch: "EventCallback | None",
) -> "RunSummary":
    # Only now: torch takes two seconds to import, and an invalid setting is reported at once.
    from thorax.training import ProcessLost, TrainingInterrupted
    from thorax.training import train as train_run

    out.parent.mkdir(parents=True, exist_ok=True)
    record_test_curve = record_test_curve or (resume and records_test_curve(out))
    follower = Follower(target, RunContents(out, recipe.name, recipe)) if target else None
    with (
        _joined(launched, device) as ranks,
        continued_by(again, TrainingInterrupted, ProcessLost),
        follow(follower, stopped_by=(TrainingInterrupted,)),
    ):
        ranks.from_first(lambda: [recipe.model_dump(mode="json"), os.fspath(out), record_test_curve])
        return train_run(
            recipe,
            store,
            out,
            ranks=ranks,
            launched=launched,
            resume=resume,
            device=device,
            record_test_curve=record_test_curve,
            progress=None if progress is None else throttled(progress),
            watch=follower.watching(watch) if follower else watch,
        )


def _follow(store: StrPath, *, launched: Launched, device: str) -> "RunSummary":
    """Take part in a run that the first process begins, checks and writes."""
    from thorax.training import train as train_run

    with _joined(launched, device) as ranks:
        images = open_store(store)
        if launched.local_rank == 0:  # on a machine of its own
            images.verify()
        values, out, record_test_curve = ranks.from_first(lambda: None)
        return train_run(
            Recipe.model_validate(values),
            images,
            Path(out),
            ranks=ranks,
            launched=launched,
            device=device,
            record_test_curve=record_test_curve,
        )


@contextmanager
def _joined(launched: Launched | None, device: str) -> "Iterator[Ranks]":
    """Join the other processes of a run, if there are any; one of them reports an error that all have."""
    if launched is None or launched.size == 1:
        from thorax.training.ranks import ALONE

        yield ALONE
        return
    from thorax.training import NonFiniteLoss, TrainingInterrupted
    from thorax.training.process_group import join

    try:
        group = join(launched, device)
    except ThoraxError as error:  # of this machine
        error.said_elsewhere = launched.local_rank > 0
        raise
    try:
        yield group
    except ThoraxError as error:
        error.said_elsewhere = not group.speaks(error, shared=(TrainingInterrupted, NonFiniteLoss))
        raise
