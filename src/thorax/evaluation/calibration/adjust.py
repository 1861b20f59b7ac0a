"""Adjustments of a model's logits to the patients of a site, fitted and chosen finding by finding.

The new logit is intercept + slope * logit. Chosen by the data ("auto"), an adjustment is the smallest that
the patients support, by closed testing (Vergouwe et al., Statistics in Medicine 2017): first whether there
is evidence of any error, then whether the intercept alone mends it. On real predictions at another view
position, what was fitted without such evidence made the log loss of other patients worse in most draws
below 30 positive patients (docs/experiments.md).
"""

from dataclasses import dataclass
from typing import Final, Literal, assert_never

import numpy as np
from jaxtyping import Bool, Float64, Int64

from thorax.evaluation.calibration.logistic import LogisticFit, fit_logistic
from thorax.evaluation.statistics.intervals import effective_patients

__all__ = [
    "ADJUSTMENTS",
    "MIN_PATIENTS",
    "AdjustmentKind",
    "AdjustmentRule",
    "FindingLabels",
    "LogitAdjustment",
    "choose_adjustment",
    "degrees_of_freedom",
    "too_few_patients",
]

AdjustmentKind = Literal["none", "intercept", "slope", "all"]
"""What is fitted at a site: nothing, the intercept with slope 1, the slope with intercept 0, or both."""

AdjustmentRule = Literal["auto", "none", "intercept", "slope", "all"]
"""One of these for every finding, or, with "auto", what the data of each finding support."""

ADJUSTMENTS: Final[tuple[AdjustmentRule, ...]] = ("auto", "none", "intercept", "slope", "all")

MIN_PATIENTS: Final = 10
"""Patients with the finding, and without it, that a slope and an adjustment by "auto" need: with fewer, even
a correct adjustment costs more than it gains, and slopes of separated classes have no estimate."""

_ALPHA: Final = 0.05
"""Level of the tests of "auto"."""


@dataclass(frozen=True, slots=True)
class LogitAdjustment:
    """The new logit of a finding is intercept + slope * logit.

    Attributes:
        kind: What was fitted.
        intercept: 0 if not fitted.
        slope: Above 0; 1 if not fitted.
        reason: Why this and not more, without a period; "" where the user asked for it.
    """

    kind: AdjustmentKind
    intercept: float = 0.0
    slope: float = 1.0
    reason: str = ""

    def apply(self, logits: Float64[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
        """Return the new logits."""
        return np.asarray(self.intercept + self.slope * logits)


@dataclass(frozen=True, slots=True, eq=False)
class FindingLabels:
    """The images with a known label of one finding.

    Attributes:
        present: Whether each image has the finding.
        logits: The model's; finite.
        patient: The number of each image's patient.
    """

    present: Bool[np.ndarray, " n"]
    logits: Float64[np.ndarray, " n"]
    patient: Int64[np.ndarray, " n"]

    def take(self, rows: Bool[np.ndarray, " n"]) -> "FindingLabels":
        """Return the images of these rows."""
        return FindingLabels(self.present[rows], self.logits[rows], self.patient[rows])

    def patients(self, *, present: bool) -> Int64[np.ndarray, " patient"]:
        """Return the number of images of each patient, among those with or without the finding."""
        count = np.bincount(self.patient[self.present == present])
        return np.asarray(count[count > 0])

    @property
    def losses(self) -> Float64[np.ndarray, " n"]:
        """The log loss of each image."""
        return np.asarray(np.logaddexp(0.0, np.where(self.present, -self.logits, self.logits)))

    def fit(self, *, intercept: bool = True, slope: bool = True) -> LogisticFit | None:
        """Fit intercept, slope or both; see `fit_logistic`."""
        return fit_logistic(self.present, self.logits, self.patient, intercept=intercept, slope=slope)


def choose_adjustment(column: FindingLabels, rule: AdjustmentRule) -> LogitAdjustment:
    """Return what adjusts the logits by a rule; nothing, with the reason, where that is impossible."""
    match rule:
        case "none":
            return LogitAdjustment("none")
        case "auto":
            return _by_closed_testing(column)
        case "intercept" | "slope" | "all":
            fit = column.fit(intercept=rule != "slope", slope=rule != "intercept")
            return _adjustment(rule, fit)
        case _:
            assert_never(rule)


def _by_closed_testing(column: FindingLabels) -> LogitAdjustment:
    few = too_few_patients(column)
    if few:
        return LogitAdjustment("none", reason=few)
    both, shift = column.fit(), column.fit(slope=False)
    if both is None or shift is None or both.slope <= 0:
        return _adjustment("all", both)
    degrees = degrees_of_freedom(column)
    distance = np.array([both.intercept, both.slope - 1])
    any_error = _f_tail(float(distance @ np.linalg.solve(both.covariance, distance)), 2, degrees)
    if any_error >= _ALPHA:
        return LogitAdjustment(
            "none", reason=f"no evidence that the probabilities are off (p {any_error:.2f})"
        )
    slope_error = _f_tail(((both.slope - 1) / both.slope_error) ** 2, 1, degrees)
    if slope_error >= _ALPHA:
        reason = f"no evidence that the slope is not 1 (p {slope_error:.2f})"
        return LogitAdjustment("intercept", intercept=shift.intercept, reason=reason)
    return LogitAdjustment("all", both.intercept, both.slope, f"the slope is not 1 (p {slope_error:.2g})")


def _adjustment(kind: AdjustmentKind, fit: LogisticFit | None) -> LogitAdjustment:
    if fit is None:
        return LogitAdjustment("none", reason="no finite values fit best: a class is absent, or separated")
    if fit.slope <= 0:
        return LogitAdjustment("none", reason=f"the slope is {fit.slope:.2g}, which would invert the ranking")
    return LogitAdjustment(kind, fit.intercept, fit.slope)


def too_few_patients(column: FindingLabels) -> str:
    """Say that too few patients have a class for a slope, or for "auto"; "" if enough do."""
    positive, negative = (len(column.patients(present=present)) for present in (True, False))
    if min(positive, negative) >= MIN_PATIENTS:
        return ""
    return (
        f"{positive} patient{'' if positive == 1 else 's'} with the finding and {negative} without, and at "
        f"least {MIN_PATIENTS} of each are needed"
    )


def degrees_of_freedom(column: FindingLabels) -> float:
    """Return the degrees of freedom of tests and intervals: effective patients of the rarer class less 1."""
    effective = min(effective_patients(column.patients(present=present)) for present in (True, False))
    return max(effective - 1, 1.0)


def _f_tail(statistic: float, numerator: int, degrees: float) -> float:
    """Return the p value of a Wald statistic with few patients, by the F distribution."""
    from scipy.special import fdtrc  # noqa: PLC0415

    return float(fdtrc(numerator, degrees, statistic / numerator))
