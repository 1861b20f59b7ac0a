"""A study in its folder: one trial after the other, stopped and resumed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import optuna

from thorax.atomic_io import exclusive_lock, write_text
from thorax.errors import ThoraxError
from thorax.progress import Progress, ProgressCallback, throttled
from thorax.recipe.load import changed_recipe
from thorax.recipe.schema import Recipe
from thorax.reporting.run_log import read_log
from thorax.run_files import LOG
from thorax.store import Store
from thorax.tracking.contents import RunContents
from thorax.tracking.follow import Follower, follow
from thorax.tracking.service import Target
from thorax.training import RunSummary, TrainingInterrupted
from thorax.training import train as train_run
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
from thorax.tuning.trials import StudyResult, Trial

__all__ = ["run_study"]

_CURVE: Final = {"macro-auc": "macro_auc", "loss": "val_loss"}
"""The field of the log's epochs that has a metric."""

_WARMUP: Final = 4
"""No trial is pruned in the first quarter of its epochs."""

_MAX_REASON: Final = 500
"""Characters of the reason why a trial failed."""


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
        study = _Study(out, recipe, space, store, same, device=device, target=target)
        with follow(study.follower, stopped_by=(TrainingInterrupted,)):
            study.run(trials, progress=progress, finished=finished)
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
        )
        self._contents = StudyContents(self.result(), same)
        self.follower = Follower(target, self._contents) if target else None

    def result(self) -> StudyResult:
        """Return the study as it is now."""
        return StudyResult(self._folder, self._recipe, self._space, self._metric, self._journal.trials())

    def run(
        self, trials: int, *, progress: ProgressCallback | None, finished: Callable[[Trial], None] | None
    ) -> None:
        """Run the remaining trials, and bring the study's files up to date after each."""
        self._journal.close_interrupted("killed: the process ended before the trial did")
        self._write_files()
        while (count := self._journal.count()) < trials:
            trial = self._journal.ask(self._own)
            try:
                self._run_trial(trial, _named(progress, f"trial {count + 1} of {trials}"))
            except TrainingInterrupted:
                self._journal.close_interrupted("the study was stopped")
                raise TrainingInterrupted(
                    f"the study was stopped in trial {count + 1} of {trials}; nothing is lost: set `resume` "
                    f"and tune with the same recipe, space and store to continue in {self._folder}"
                ) from None
            self._write_files()
            if finished is not None:
                finished(self.result().trials[-1])
        if self.result().best is None:
            reasons = [trial.reason for trial in self.result().trials if trial.reason]
            raise ThoraxError(
                f"none of {trials} trials in {self._folder} finished; the last one: {reasons[-1]}. Narrow "
                "the space, or change the recipe, and start again in a new folder"
            )

    def _run_trial(self, trial: optuna.Trial, progress: ProgressCallback | None) -> None:
        folder = take_over(self.result(), trial.number)
        curve = _Curve(trial, folder, _CURVE[self._metric], epochs=self._recipe.training.epochs)
        try:
            summary = self._train(trial, folder, curve, progress)
        except optuna.TrialPruned as pruned:
            self._journal.prune(trial, str(pruned))
        except TrainingInterrupted:
            raise
        except (ThoraxError, RuntimeError, MemoryError) as error:
            # Such as a loss that is not finite, settings that do not go together, or a batch that does not
            # fit into the memory of the GPU: the trial's own failure, which others need not share.
            text = f"{type(error).__name__}: {str(error).strip() or 'no message'}"
            self._journal.fail(trial, text[:_MAX_REASON])
        else:
            curve.report()  # one that had finished when it was killed reported nothing here
            value = summary.macro_auc if self._metric == "macro-auc" else summary.loss
            if value is None:
                self._journal.fail(trial, "no finding has an AUC on validation")
            else:
                self._journal.finish(trial, value)

    def _train(
        self, trial: optuna.Trial, folder: Path, curve: "_Curve", progress: ProgressCallback | None
    ) -> RunSummary:
        recipe = changed_recipe(self._recipe, self._space.settings(trial.params))
        contents = RunContents(folder, f"trial {trial.number}", recipe)
        follower = Follower(self._target, contents, parent=self.follower) if self._target else None

        with follow(follower, stopped_by=(TrainingInterrupted, optuna.TrialPruned)):
            return train_run(
                recipe,
                self._store,
                folder,
                resume=True,
                device=self._device,
                report=False,
                progress=progress,
                watch=follower.watching(curve.watch) if follower else curve.watch,
            )

    def _write_files(self) -> None:
        self._contents.study = study = self.result()
        remove_weights(study)
        write_best_recipe(study, self._same)
        page = render_study(study, importances=self._journal.importances(), same=self._same)
        write_text(self._folder / "study.html", page)
        if self.follower is not None:
            self.follower.watch()


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
            TrialPruned: The curve is worse than the median of earlier trials.
        """
        if event.get("event") != "epoch":
            return
        self.report()
        if event["epoch"] < self.epochs and self.trial.should_prune():
            raise optuna.TrialPruned(
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
