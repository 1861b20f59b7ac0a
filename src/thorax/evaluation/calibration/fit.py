"""Fitting temperatures and Platt scaling, and trial calibrations of an evaluation.

Trial calibrations are fitted on validation and evaluated on the reported part, beside the original
probabilities. Fitted on the reported part itself they would always seem to help: that is refused or marked.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

import numpy as np
from jaxtyping import Bool, Float, Float64

from thorax.arrays import Known, Probabilities, Scores, Targets
from thorax.calibration import Platt, Temperature, logit, sigmoid
from thorax.errors import DataError
from thorax.evaluation.labeled_images import LabeledImages
from thorax.evaluation.thresholds import TUNED_MARK, is_tuned
from thorax.findings import Findings
from thorax.image_set import ImageSet

__all__ = [
    "MAX_TEMPERATURE",
    "MIN_TEMPERATURE",
    "Recalibrated",
    "Recalibration",
    "brier_loss",
    "expected_calibration_error",
    "fit_platt",
    "fit_recalibrations",
    "fit_temperature",
    "negative_log_likelihood",
    "recalibrate",
]

MIN_TEMPERATURE = 0.05
"""Lowest fitted temperature: for scores that separate the classes the optimum is 0."""

MAX_TEMPERATURE = 20.0
"""Highest fitted temperature: for uninformative or inverted scores there is no finite optimum."""

_MAX_STEPS = 100
_CONVERGED = 1e-12
"""The step size at which Newton's method ends."""

_ROUNDING = 1e-14
"""Relative increase of the loss that counts as rounding: the last steps change less than float64 resolves."""


def fit_temperature(targets: Targets, known: Known, logits: Scores) -> float:
    """Return the temperature T for which sigmoid(logit / T) has the lowest negative log likelihood.

    One T serves all findings (Guo et al., ICML 2017), fitted on the known labels of a validation part. The
    loss is convex in 1 / T. Newton's method inside a bracket finds the zero of its derivative to the last
    digits, without a step size or random numbers: the result is always the same.

    Args:
        targets: 1 and 0 where `known`; anything elsewhere.
        known: Which labels count.
        logits: Before the sigmoid.

    Returns:
        T in [`MIN_TEMPERATURE`, `MAX_TEMPERATURE`]; above 1 moves probabilities towards 0.5.

    Raises:
        DataError: No label is known, a known one is neither 1 nor 0, or a logit is not finite.
    """
    present, logit = _known_labels(targets, known, logits)
    low, high = 1 / MAX_TEMPERATURE, 1 / MIN_TEMPERATURE
    if _slope(present, logit, low) >= 0:
        return MAX_TEMPERATURE
    if _slope(present, logit, high) <= 0:
        return MIN_TEMPERATURE
    scale = 1.0
    for _ in range(_MAX_STEPS):
        slope = _slope(present, logit, scale)
        low, high = (low, scale) if slope > 0 else (scale, high)
        proposal = scale - slope / _curvature(logit, scale)
        if not low < proposal < high:
            proposal = (low + high) / 2
        if abs(proposal - scale) <= 1e-12 * scale:
            break
        scale = proposal
    return 1 / scale


def fit_platt(
    targets: Targets, known: Known, logits: Scores, *, findings: Findings, fitted_on: ImageSet
) -> Platt:
    """Return the slope and intercept of each finding that best fit its known labels of a validation part.

    Logistic regression of the labels on the logit, with Platt's targets (N1 + 1) / (N1 + 2) and
    1 / (N0 + 2) instead of 1 and 0, which keep it finite where logits separate the classes (Platt 1999;
    Lin, Lin and Weng, Machine Learning 2007). Newton's method with step halving always gives the same result.

    A finding keeps its logits, for the reason in `Platt.kept`, where its known labels are all of one class,
    where its logits are all equal, and where the best slope is not above 0, which would invert the model's
    ranking on the evidence of the validation part alone.

    Args:
        targets: 1 and 0 where `known`; anything elsewhere.
        known: Which labels count.
        logits: Before the sigmoid.
        findings: The findings of the columns.
        fitted_on: The identity of the images.

    Raises:
        DataError: No label is known, a known one is neither 1 nor 0, or a logit is not finite.
    """
    _known_labels(targets, known, logits)
    fitted = {
        finding.name: _fit_platt(target[known_row] == 1, column[known_row].astype(np.float64))
        for finding, target, known_row, column in zip(findings, targets.T, known.T, logits.T, strict=True)
    }
    return Platt(
        slopes={name: slope for name, (slope, _, _) in fitted.items()},
        intercepts={name: intercept for name, (_, intercept, _) in fitted.items()},
        kept={name: reason for name, (_, _, reason) in fitted.items() if reason},
        fitted_on=fitted_on,
    )


def negative_log_likelihood(
    targets: Targets, known: Known, logits: Scores, *, temperature: float = 1.0
) -> float:
    """Return the mean of -log(probability of the label) over the known labels, in nats.

    Args:
        targets: 1 and 0 where `known`; anything elsewhere.
        known: Which labels count.
        logits: Before the sigmoid.
        temperature: The divisor of the logits.

    Raises:
        DataError: No label is known, a known one is neither 1 nor 0, or a logit is not finite.
    """
    present, logit = _known_labels(targets, known, logits)
    scaled = logit / temperature
    return float(np.mean(np.logaddexp(0.0, np.where(present, -scaled, scaled))))


def brier_loss(target: Bool[np.ndarray, " n"], probability: Float[np.ndarray, " n"]) -> float:
    """Return the mean squared difference of probability and label (Brier 1950), in [0, 1]; NaN if empty."""
    if len(target) == 0:
        return float("nan")
    return float(np.mean((probability.astype(np.float64) - target) ** 2))


def expected_calibration_error(
    target: Bool[np.ndarray, " n"], probability: Float[np.ndarray, " n"], *, bins: int = 15
) -> float:
    """Return the mean absolute difference of share of positives and mean probability, in bins, over images.

    The `bins` bins have equal width over [0, 1], the last one closed (Naeini et al., AAAI 2015; 15 bins as in
    Guo et al. 2017). In [0, 1]; NaN if empty. With few images it is biased upwards: noise in a bin counts as
    miscalibration.
    """
    if len(target) == 0:
        return float("nan")
    bin_of_image = np.minimum((probability.astype(np.float64) * bins).astype(np.int64), bins - 1)
    excess = np.bincount(bin_of_image, weights=probability.astype(np.float64) - target, minlength=bins)
    return float(np.sum(np.abs(excess)) / len(target))


def _fit_platt(present: Bool[np.ndarray, " n"], logit: Float64[np.ndarray, " n"]) -> tuple[float, float, str]:
    """Return slope, intercept, and the reason for keeping the logits unchanged ("" if fitted)."""
    positives, negatives = int(np.sum(present)), int(np.sum(~present))
    if positives == 0 or negatives == 0:
        return 1.0, 0.0, f"{positives} of {len(present)} known labels are present"
    center, spread = float(np.mean(logit)), float(np.std(logit))
    if spread <= 1e-12 * abs(center):
        return 1.0, 0.0, f"all {len(logit)} logits are equal"
    goal = np.where(present, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    slope, intercept = _logistic_regression(goal, (logit - center) / spread)
    if slope <= 0:
        return 1.0, 0.0, f"the best slope is {slope / spread:.3g}, which would invert the ranking"
    return slope / spread, intercept - slope * center / spread, ""


def _logistic_regression(
    goal: Float64[np.ndarray, " n"], x: Float64[np.ndarray, " n"]
) -> tuple[float, float]:
    """Return slope and intercept with the lowest cross-entropy to goals in (0, 1); `x` is standardized."""
    design = np.stack([x, np.ones_like(x)])
    weights = np.array([0.0, math.log(np.mean(goal) / (1 - np.mean(goal)))])
    loss = _cross_entropy(goal, weights @ design)
    for _ in range(_MAX_STEPS):
        probability = sigmoid(weights @ design)
        gradient = design @ (probability - goal) / len(x)
        hessian = (design * probability * (1 - probability)) @ design.T / len(x)
        step = np.linalg.solve(hessian + 1e-12 * np.eye(2), gradient)
        while _cross_entropy(goal, (weights - step) @ design) > loss * (1 + _ROUNDING):
            step = step / 2
        weights = weights - step
        loss = _cross_entropy(goal, weights @ design)
        if np.max(np.abs(step)) <= _CONVERGED:
            break
    return float(weights[0]), float(weights[1])


def _cross_entropy(goal: Float64[np.ndarray, " n"], logit: Float64[np.ndarray, " n"]) -> float:
    return float(np.mean(np.logaddexp(0.0, logit) - goal * logit))


def _known_labels(
    targets: Targets, known: Known, logits: Scores
) -> tuple[Bool[np.ndarray, " label"], Float64[np.ndarray, " label"]]:
    """Return the known labels and their logits, flattened."""
    target, logit = targets[known], logits[known].astype(np.float64)
    if len(target) == 0:
        raise DataError(
            f"none of the {targets.size} labels ({targets.shape[0]} images, {targets.shape[1]} findings) "
            "is known; calibrate on a part that has labels"
        )
    if not np.all((target == 0) | (target == 1)):
        invalid = target[(target != 0) & (target != 1)]
        raise DataError(
            f"{len(invalid)} of {len(target)} known labels are neither 1 nor 0 (first: {invalid[0]}); "
            "mark uncertain and missing labels as unknown"
        )
    if not np.all(np.isfinite(logit)):
        raise DataError(
            f"{int(np.sum(~np.isfinite(logit)))} of {len(logit)} logits to calibrate on are not finite; "
            "look for the step at which training diverged"
        )
    return target == 1, logit


def _slope(present: Bool[np.ndarray, " label"], logit: Float64[np.ndarray, " label"], scale: float) -> float:
    """Return the derivative of the mean loss with respect to 1 / T; it never decreases as 1 / T grows."""
    return float(np.mean(logit * (sigmoid(scale * logit) - present)))


def _curvature(logit: Float64[np.ndarray, " label"], scale: float) -> float:
    """Return the second derivative of the mean loss; the lower bound keeps Newton's step finite."""
    probability = sigmoid(scale * logit)
    return max(float(np.mean(logit * logit * probability * (1 - probability))), 1e-300)


@dataclass(frozen=True, slots=True)
class Recalibration:
    """A trial calibration.

    Attributes:
        calibration: The fitted calibration; None only undoes a bundle's own calibration.
        test_tuned: Whether it was fitted on the reported images.
    """

    calibration: Temperature | Platt | None
    test_tuned: bool = False

    @property
    def name(self) -> str:
        """The name in tables, marked if the calibration was fitted on the reported images."""
        match self.calibration:
            case None:
                return "Not calibrated"
            case Temperature() as fitted:
                name = f"Temperature {fitted.temperature:.3g}"
            case Platt() as fitted:
                name = f"Platt, {fitted.num_fitted} of {len(fitted.slopes)} findings"
            case _:
                assert_never(self.calibration)
        return f"{name}, {TUNED_MARK}" if self.test_tuned else name

    def apply(self, probabilities: Probabilities, findings: Findings) -> Probabilities:
        """Return calibrated probabilities; images in rows, findings in columns."""
        logits = logit(probabilities)
        if self.calibration is None:
            return sigmoid(logits)
        return self.calibration.apply(logits, [finding.name for finding in findings])


@dataclass(frozen=True, slots=True, eq=False)
class Recalibrated:
    """Recalibrated probabilities of the reported images."""

    recalibration: Recalibration
    probabilities: Probabilities


def fit_recalibrations(
    labeled: LabeledImages,
    probabilities: Probabilities,
    *,
    fitted_on: ImageSet,
    reported: ImageSet,
    allow: bool,
    patients_shared: int = 0,
) -> tuple[Recalibration, Recalibration]:
    """Fit one temperature, and Platt scaling of each finding, on these images.

    Args:
        labeled: Validation images.
        probabilities: The model's uncalibrated probabilities for them.
        fitted_on: The identity of the images.
        reported: The reported images.
        allow: Whether to mark instead of refusing.
        patients_shared: How many patients of the reported images are among those of `fitted_on`, if known.

    Raises:
        DataError: The images are the reported ones or belong to a test part, and `allow` is not set; or none
            is labeled.
    """
    tuned = is_tuned(fitted_on, reported, patients_shared=patients_shared)
    if tuned and not allow:
        raise DataError(
            f"calibration would be fitted on the {fitted_on}, which the figures also describe; fit it on "
            "validation, or mark every figure of it with `allow_test_tuning`"
        )
    targets, findings = labeled.targets, labeled.findings
    known, logits = (targets == 0) | (targets == 1), logit(probabilities)
    temperature = Temperature(temperature=fit_temperature(targets, known, logits), fitted_on=fitted_on)
    platt = fit_platt(targets, known, logits, findings=findings, fitted_on=fitted_on)
    return Recalibration(temperature, test_tuned=tuned), Recalibration(platt, test_tuned=tuned)


def recalibrate(
    probabilities: Probabilities, recalibrations: Sequence[Recalibration], *, findings: Findings
) -> tuple[Recalibrated, ...]:
    """Apply each recalibration to the uncalibrated probabilities of the reported images."""
    return tuple(Recalibrated(one, one.apply(probabilities, findings)) for one in recalibrations)
