"""The journal of a study: Optuna's trials in one file, in the order in which they began and ended.

What the sampler draws is a function of the seed, the number of trials that ended or run, and the results that
are known. So a study of one trial after the other that was killed and resumed draws what an uninterrupted one
would have drawn; of several at once, the journal has the order in which they were asked for and ended.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from thorax.atomic_io import atomic_write
from thorax.errors import DataError
from thorax.tuning.space import Choice, Dimension, IntRange, SearchSpace
from thorax.tuning.trials import Outcome, Trial

__all__ = ["Journal", "quiet_optuna"]

_NAME: Final = "thorax"
_SEED_STRIDE: Final = 1_000_003
"""Distance between the seeds of two trials, so that studies with neighboring seeds share no draws."""

_RANDOM_TRIALS: Final = 10
"""Trials before the sampler uses the results: Optuna's default."""

_TRIALS_TO_COMPARE: Final = 5
"""Finished trials before one is pruned: Optuna's default."""

_FEWEST_FOR_IMPORTANCE: Final = 8
"""Finished trials below which importances are not computed; so a quarter of them is at least two."""

_TOP: Final = 0.25
"""The share of trials whose settings are compared with those of all."""


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Leave out Optuna's line per trial and its warnings about experimental features."""
    logger = logging.getLogger("optuna")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        logger.setLevel(before)


class Journal:
    """The trials of a study on disk. Only one process at a time may open it; the study's folder is locked.

    Args:
        path: The file; a new one is created.
        space: What the trials vary.
        maximize: Whether a larger value is better.
        seed: Seed of the sampler.
        warmup: Epochs in which a trial is never pruned; None never prunes.
        several: Whether several trials run at once: what is drawn then keeps away from those.

    Raises:
        DataError: The file is damaged.
    """

    def __init__(
        self,
        path: Path,
        space: SearchSpace,
        *,
        maximize: bool,
        seed: int,
        warmup: int | None,
        several: bool = False,
    ) -> None:
        _repair(path)
        self._space, self._seed, self._several = space, seed, several
        pruner: BasePruner = (
            NopPruner()
            if warmup is None
            else MedianPruner(n_startup_trials=_TRIALS_TO_COMPARE, n_warmup_steps=warmup)
        )
        try:
            self._storage = JournalStorage(JournalFileBackend(str(path)))
            self._study = optuna.create_study(
                storage=self._storage,
                study_name=_NAME,
                direction="maximize" if maximize else "minimize",
                load_if_exists=True,
                pruner=pruner,
            )
        except (ValueError, KeyError) as error:
            raise DataError(
                f"{path} is not a journal of this version of Optuna ({error}); restore it, or start again in "
                "a new folder"
            ) from error

    def trials(self) -> tuple[Trial, ...]:
        """Return all trials that have begun."""
        return tuple(_plain(trial) for trial in self._frozen() if trial.state != TrialState.WAITING)

    def count(self) -> int:
        """Return the number of trials that ended, without interrupted ones."""
        return sum(
            trial.state.is_finished() and "interrupted" not in trial.user_attrs for trial in self._frozen()
        )

    def close_interrupted(self, reason: str) -> None:
        """Mark trials that were still running as failed, with the reason."""
        study_id = self._storage.get_study_id_from_name(_NAME)
        for trial in self._frozen():
            if trial.state == TrialState.RUNNING:
                trial_id = self._storage.get_trial_id_from_study_id_trial_number(study_id, trial.number)
                self._storage.set_trial_user_attr(trial_id, "interrupted", value=True)
                self._storage.set_trial_user_attr(trial_id, "reason", reason)
                self._study.tell(trial.number, state=TrialState.FAIL)

    def ask(self, own: Mapping[str, Any] | None) -> optuna.Trial:
        """Begin the next trial: one that was interrupted, or the recipe's own settings, or a drawn one.

        Args:
            own: The parameters of the recipe's own settings, for the first trial.
        """
        frozen = self._frozen()
        distributions = {dimension.key: _distribution(dimension) for dimension in self._space.dimensions}
        continued = {trial.user_attrs.get("continues") for trial in frozen}
        interrupted = (trial for trial in frozen if "interrupted" in trial.user_attrs)
        first = next((trial for trial in interrupted if trial.number not in continued), None)
        if not frozen and own is not None:
            self._study.enqueue_trial(dict(own), user_attrs={"own": True})
        elif first is not None:
            is_own = {"own": True} if "own" in first.user_attrs else {}
            # A trial that was killed while its parameters were drawn draws the same ones again.
            whole = first.params.keys() == distributions.keys()
            parameters = first.params if whole else dict(own or {}) if is_own else {}
            self._study.enqueue_trial(parameters, user_attrs={"continues": first.number, **is_own})
        running = sum(trial.state == TrialState.RUNNING for trial in frozen)
        self._study.sampler = TPESampler(
            n_startup_trials=_RANDOM_TRIALS,
            seed=self._seed + _SEED_STRIDE * (self.count() + running),
            constant_liar=self._several,
        )
        return self._study.ask(distributions)

    def finish(self, trial: optuna.Trial, value: float) -> None:
        """End a trial that was trained to its end."""
        self._study.tell(trial, value)

    def prune(self, trial: optuna.Trial, reason: str) -> None:
        """End a trial that was pruned."""
        trial.set_user_attr("reason", reason)
        self._study.tell(trial, state=TrialState.PRUNED)

    def fail(self, trial: optuna.Trial, reason: str) -> None:
        """End a trial whose recipe could not be trained."""
        trial.set_user_attr("reason", reason)
        self._study.tell(trial, state=TrialState.FAIL)

    def importances(self) -> dict[str, float]:
        """Return how much each setting decides whether a trial is among the best quarter, summing to 1.

        By PED-ANOVA (Watanabe, Bansal and Hutter, IJCAI 2023). Empty if too few trials finished, or if their
        values are all the same.
        """
        finished = [trial for trial in self._frozen() if trial.state == TrialState.COMPLETE]
        if len(finished) < _FEWEST_FOR_IMPORTANCE or len({trial.value for trial in finished}) == 1:
            return {}
        evaluator = PedAnovaImportanceEvaluator(target_quantile=_TOP)
        return get_param_importances(self._study, evaluator=evaluator)

    def _frozen(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)


def _repair(path: Path) -> None:
    """Remove what a killed process left: its lock, and a last line without an end.

    Optuna would wait 30 seconds for the lock, and would not read a file with half a line.
    """
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with atomic_write(path) as temporary:
            temporary.write_bytes(whole)


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.labels)
    if isinstance(dimension, IntRange):
        return IntDistribution(dimension.low, dimension.high, log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _plain(trial: FrozenTrial) -> Trial:
    outcomes: dict[TrialState, Outcome] = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "pruned"}
    interrupted = "interrupted" in trial.user_attrs or not trial.state.is_finished()
    outcome = "interrupted" if interrupted else outcomes.get(trial.state, "failed")
    return Trial(
        number=trial.number,
        outcome=outcome,
        value=trial.value if trial.state == TrialState.COMPLETE else None,
        curve=dict(sorted(trial.intermediate_values.items())),
        parameters=trial.params,
        reason=trial.user_attrs.get("reason", ""),
        seconds=None if trial.duration is None else trial.duration / timedelta(seconds=1),
        ended=trial.datetime_complete,
        own="own" in trial.user_attrs,
        continues=trial.user_attrs.get("continues"),
    )
