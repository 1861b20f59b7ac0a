"""A study in its folder: its trials one after the other, or several at once; stopped and resumed."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import optuna

from thorax.atomic_io import exclusive_lock, write_text
from thorax.cluster import Cluster
from thorax.errors import ThoraxError
from thorax.progress import Progress, ProgressCallback, throttled
from thorax.recipe.load import changed_recipe
from thorax.recipe.schema import Recipe
from thorax.reporting.run_log import read_log
from thorax.run_files import LOG, STUDY
from thorax.store import Store
from thorax.tracking.contents import RunContents
from thorax.tracking.follow import Follower, follow
from thorax.tracking.service import Target
from thorax.training import TrainingInterrupted
from thorax.training.compute import pick_compute
from thorax.training.plan import plan_run
from thorax.tuning.journal import Journal, quiet_optuna
from thorax.tuning.page import render_study
from thorax.tuning.space import SearchSpace
from thorax.tuning.study_folder import (
    JOURNAL,
    open_study,
    remove_weights,
    study_identity,
    take_over,
    write_best_recipe,
)
from thorax.tuning.tracked import StudyContents
from thorax.tuning.trial_work import (
    Pruned,
    TrialEnd,
    TrialEngine,
    TrialUnit,
    trials_here,
    trials_over,
)
from thorax.tuning.trials import StudyResult, Trial

__all__ = ["run_study"]

_CURVE: Final = {"macro-auc": "macro_auc", "loss": "val_loss"}
"""The field of the log's epochs that has a metric."""

_WARMUP: Final = 4
"""No trial is pruned in the first quarter of its epochs."""


def run_study(  # noqa: PLR0913  (the settings of a study)
    recipe: Recipe,
    space: SearchSpace,
    store: Store,
    out: Path,
    *,
    trials: int,
    seed: int,
    prune: bool,
    resume: bool,
    device: str,
    target: Target | None,
    cluster: Cluster | None,
    progress: ProgressCallback | None,
    finished: Callable[[Trial], None] | None,
) -> StudyResult:
    """Run the trials of a study, whose recipe and space are checked; see `tune`."""
    plan = plan_run(recipe, store)
    compute = pick_compute(device, recipe.training.precision, compiling=recipe.training.compile, images=0)
    same = study_identity(recipe, space, store, plan, device=compute.name, seed=seed, prune=prune)
    out.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(out, doing="tuning in"), quiet_optuna():
        open_study(out, recipe, space, same, resume=resume)
        study = _Study(
            out, recipe, space, store, same, device=device, target=target, several=cluster is not None
        )
        engine = trials_here(store)
        if cluster is not None:
            engine = trials_over(cluster, [store.location, out / STUDY])
        with follow(study.follower, stopped_by=(TrainingInterrupted,)):
            study.run(trials, engine, progress=progress, finished=finished)
        return study.result()


class _Study:
    """A study in its folder, which is locked."""

    def __init__(  # noqa: PLR0913  (what its trials share)
        self,
        folder: Path,
        recipe: Recipe,
        space: SearchSpace,
        store: Store,
        same: Mapping[str, Any],
        *,
        device: str,
        target: Target | None,
        several: bool,
    ) -> None:
        self._folder, self._recipe, self._space, self._store = folder, recipe, space, store
        self._same, self._device, self._target = same, device, target
        self._metric = recipe.selection.metric
        self._own = space.own_values(recipe)
        epochs = recipe.training.epochs
        self._journal = Journal(
            folder / JOURNAL,
            space,
            maximize=self._metric == "macro-auc",
            seed=same["seed"],
            warmup=-(-epochs // _WARMUP) if same["prune"] else None,
            several=several,
        )
        self._running: dict[int, _Running] = {}
        self._contents = StudyContents(self.result(), same)
        self.follower = Follower(target, self._contents) if target else None

    def result(self) -> StudyResult:
        """Return the study as it is now."""
        return StudyResult(self._folder, self._recipe, self._space, self._metric, self._journal.trials())

    def run(
        self,
        trials: int,
        engine: TrialEngine,
        *,
        progress: ProgressCallback | None,
        finished: Callable[[Trial], None] | None,
    ) -> None:
        """Run the remaining trials, and bring the study's files up to date after each."""
        self._journal.close_interrupted("killed: the process ended before the trial did")
        self._write_files()
        try:
            with closing(engine(self._units(trials, progress), self._heard)) as ends:
                for unit, end in ends:
                    self._end(unit, end)
                    self._write_files()
                    if finished is not None:
                        finished(self.result().trials[unit.number])
        except (TrainingInterrupted, KeyboardInterrupt) as stopped:
            self._leave(stopped)
            self._journal.close_interrupted("the study was stopped")
            raise TrainingInterrupted(
                f"the study was stopped after {self._journal.count()} of {trials} trials; nothing is lost: "
                f"set `resume` and tune with the same recipe, space and store to continue in {self._folder}"
            ) from None
        except BaseException as error:
            self._leave(error)
            raise
        if self.result().best is None:
            reasons = [trial.reason for trial in self.result().trials if trial.reason]
            raise ThoraxError(
                f"none of {trials} trials in {self._folder} finished; the last one: {reasons[-1]}. Narrow "
                "the space, or change the recipe, and start again in a new folder"
            )

    def _units(self, trials: int, progress: ProgressCallback | None) -> Iterator[TrialUnit]:
        """Begin the remaining trials, each when there is room for it."""
        while (begun := self._journal.count() + len(self._running)) < trials:
            trial = self._journal.ask(self._own)
            folder = take_over(self.result(), trial.number)
            unit = TrialUnit(
                trial.number,
                changed_recipe(self._recipe, self._space.settings(trial.params)),
                self._store.location,
                folder,
                self._device,
            )
            contents = RunContents(folder, f"trial {trial.number}", unit.recipe)
            follower = Follower(self._target, contents, parent=self.follower) if self._target else None
            curve = _Curve(trial, folder, _CURVE[self._metric], epochs=self._recipe.training.epochs)
            following = ExitStack()
            following.enter_context(follow(follower, stopped_by=(TrainingInterrupted, Pruned)))
            self._running[trial.number] = _Running(
                trial,
                curve,
                following,
                follower.watching(curve.watch) if follower else curve.watch,
                _named(progress, f"trial {begun + 1} of {trials}"),
            )
            yield unit

    def _heard(self, unit: TrialUnit, message: Progress | Mapping[str, Any]) -> str | None:
        """Take in what a trial says; return why it should end, or None."""
        running = self._running[unit.number]
        if isinstance(message, Progress):
            if running.progress is not None:
                running.progress(message)
            return None
        try:
            running.watch(message)
        except Pruned as pruned:
            return str(pruned)
        return None

    def _end(self, unit: TrialUnit, end: TrialEnd) -> None:
        running = self._running.pop(unit.number)
        trial = running.trial
        with suppress(Pruned, ThoraxError), running.following:
            if end.pruned:
                self._journal.prune(trial, end.reason)
                raise Pruned
            if end.value is None:
                self._journal.fail(trial, end.reason)
                raise ThoraxError
            running.curve.report()  # one that had finished when it was killed reported nothing here
            self._journal.finish(trial, end.value)

    def _leave(self, error: BaseException) -> None:
        """Let the tracking of the trials that are still running know what ended them."""
        for running in self._running.values():
            running.following.__exit__(type(error), error, error.__traceback__)

    def _write_files(self) -> None:
        self._contents.study = study = self.result()
        remove_weights(study)
        write_best_recipe(study, self._same)
        page = render_study(study, importances=self._journal.importances(), same=self._same)
        write_text(self._folder / "study.html", page)
        if self.follower is not None:
            self.follower.watch()


@dataclass(frozen=True, slots=True)
class _Running:
    """A trial that is being trained.

    Attributes:
        trial: The trial.
        curve: Reports its curve.
        following: Tracks it; closed at its end.
        watch: Receives the events of its log, and raises `Pruned`.
        progress: Receives its progress.
    """

    trial: optuna.Trial
    curve: "_Curve"
    following: ExitStack
    watch: Callable[[Mapping[str, Any]], None]
    progress: ProgressCallback | None


@dataclass
class _Curve:
    """Reports a trial's curve on validation, and prunes it.

    Attributes:
        trial: The trial.
        folder: Its run.
        field: Field of the log's epochs that has the metric.
        epochs: Epochs of a whole run.
        reported: Epochs that were reported in this process.
    """

    trial: optuna.Trial
    folder: Path
    field: str
    epochs: int
    reported: int = 0

    def watch(self, event: Mapping[str, Any]) -> None:
        """Report an epoch, after those of an earlier process.

        Raises:
            Pruned: The curve is worse than the median of earlier trials.
        """
        if event.get("event") != "epoch":
            return
        self.report()
        if event["epoch"] < self.epochs and self.trial.should_prune():
            raise Pruned(
                f"after epoch {event['epoch']}, its curve was worse than the median of earlier trials"
            )

    def report(self) -> None:
        """Report all epochs of the log that were not reported yet."""
        for event in read_log(self.folder / LOG):
            if event.get("event") == "epoch" and event["epoch"] > self.reported:
                self.reported = event["epoch"]
                if event[self.field] is not None:
                    self.trial.report(event[self.field], step=event["epoch"])


def _named(progress: ProgressCallback | None, trial: str) -> ProgressCallback | None:
    """Return a callback for a trial's stages, whose names begin with the trial."""
    if progress is None:
        return None
    return throttled(lambda now: progress(_with_trial(now, trial)))


def _with_trial(now: Progress, trial: str) -> Progress:
    return replace(now, stage=f"{trial}, {now.stage}")
