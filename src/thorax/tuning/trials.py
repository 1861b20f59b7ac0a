"""The trials of a study, and its result, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from thorax.notebook import notes, page, shortened, table
from thorax.packages import missing_extras_named
from thorax.recipe.schema import Recipe
from thorax.tuning.best_of import BestOfMany, best_of_many
from thorax.tuning.space import SearchSpace

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Outcome", "StudyResult", "Trial"]

Outcome = Literal["finished", "pruned", "failed", "interrupted"]
"""finished: trained to its end. pruned: stopped early, because its curve was worse than the median of the
trials before it. failed: the recipe could not be trained. interrupted: the process was killed or stopped, and
another trial continues it."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial of a study.

    Attributes:
        number: Its number, counted from 0, which is also the name of its folder.
        outcome: How it ended.
        value: Metric on validation of the weights that the recipe selects; None unless it finished.
        curve: The metric on validation after each epoch, by epoch counted from 1.
        parameters: By key: a number, or the label of a choice.
        reason: Why it did not finish; "" if it did.
        seconds: Time from its start to its end in the process that ended it; None if unknown.
        ended: When it ended; None if unknown.
        own: Whether it has the recipe's own settings.
        continues: The number of the interrupted trial that it continues.
    """

    number: int
    outcome: Outcome
    value: float | None
    curve: Mapping[int, float]
    parameters: Mapping[str, Any]
    reason: str = ""
    seconds: float | None = None
    ended: datetime | None = None
    own: bool = False
    continues: int | None = None


@dataclass(frozen=True, slots=True, repr=False)
class StudyResult:
    """The result of a study.

    Attributes:
        folder: The study's folder.
        recipe: The recipe that its trials vary.
        space: What they vary.
        metric: "macro-auc", of which more is better, or "loss", of which less is.
        trials: All trials in order.
    """

    folder: Path
    recipe: Recipe
    space: SearchSpace
    metric: str
    trials: tuple[Trial, ...]

    @property
    def best(self) -> Trial | None:
        """The finished trial with the best value, the first of equal ones; None if none finished."""
        return min(self._finished(), key=self._rank, default=None)

    @property
    def best_recipe(self) -> Path:
        """The best trial's recipe, with its provenance as comments."""
        return self.folder / "best.toml"

    @property
    def own(self) -> Trial | None:
        """The finished trial with the recipe's own settings, if the space contains them."""
        return next((trial for trial in self._finished() if trial.own), None)

    @property
    def gain(self) -> float | None:
        """By how much the best trial is better than the recipe's own settings, on validation."""
        best, own = self.best, self.own
        if best is None or own is None or best.value is None or own.value is None:
            return None
        return abs(best.value - own.value)

    @property
    def flattery(self) -> BestOfMany | None:
        """By how much the best of so many trials flatters: an estimate. None for fewer than three values."""
        values = [trial.value for trial in self._finished() if trial.value is not None]
        return best_of_many(values, trials=self.count("finished") + self.count("pruned"))

    def count(self, outcome: Outcome) -> int:
        """Return the number of trials that ended so."""
        return sum(trial.outcome == outcome for trial in self.trials)

    def trial_folder(self, number: int) -> Path:
        """Return the run folder of a trial."""
        return self.folder / "trials" / f"{number:04d}"

    def to_frame(self) -> "pd.DataFrame":
        """Return the trials as a table: number, outcome, value, epochs, seconds, reason and each parameter.

        Raises:
            MissingExtra: pandas is not installed.
        """
        with missing_extras_named("StudyResult.to_frame"):
            import pandas as pd  # noqa: PLC0415  (only where a table is asked for)

        rows = [
            {
                "trial": trial.number,
                "outcome": trial.outcome,
                "value": trial.value,
                "epochs": max(trial.curve, default=0),
                "seconds": trial.seconds,
                "reason": trial.reason,
                **trial.parameters,
            }
            for trial in self.trials
        ]
        return pd.DataFrame(rows).set_index("trial")

    def headline(self) -> str:
        """Return the result in one line."""
        best = self.best
        if best is None:
            return f"none of {len(self.trials)} trials finished"
        return (
            f"best of {self.count('finished') + self.count('pruned')} trials: {self.metric} "
            f"{best.value:.3f} on validation (trial {best.number})"
        )

    def _finished(self) -> list[Trial]:
        return [trial for trial in self.trials if trial.outcome == "finished"]

    def _rank(self, trial: Trial) -> tuple[float, int]:
        value = 0.0 if trial.value is None else trial.value
        return (-value if self.metric == "macro-auc" else value), trial.number

    def __repr__(self) -> str:
        return f"StudyResult({shortened(str(self.folder))!r}: {self.headline()})"

    def _repr_html_(self) -> str:
        header = ["Trial", "Outcome", self.metric, "Epochs"]
        rows = [
            [
                str(trial.number),
                trial.outcome,
                "n/a" if trial.value is None else f"{trial.value:.3f}",
                str(max(trial.curve, default=0)),
            ]
            for trial in self.trials
        ]
        flattery = self.flattery
        return page(
            f"Study {self.folder}: {self.headline()}",
            table(header, rows),
            notes(
                [
                    f"If all trials were equally good, the best of {flattery.trials} would be about "
                    f"{flattery.excess:.3f} above their mean by chance (an estimate)."
                    if flattery
                    else "",
                    "Only validation was looked at, so evaluate the best recipe on the test part.",
                ]
            ),
        )
