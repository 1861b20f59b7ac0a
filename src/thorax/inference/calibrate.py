"""What is fitted on validation: temperature, thresholds, and the weights of an ensemble. No torch."""

import numpy as np
from jaxtyping import Float64

from thorax.arrays import Probabilities, Targets
from thorax.bundle import OperatingPoints
from thorax.calibration import Platt, Temperature, sigmoid
from thorax.errors import DataError
from thorax.evaluation.calibration.fit import fit_platt, fit_temperature, negative_log_likelihood
from thorax.evaluation.operating_points import choose_threshold, parse_rule
from thorax.findings import Findings
from thorax.image_set import ImageSet
from thorax.inference.predictor import mean_logit
from thorax.recipe.literals import CalibrationKind, MeanOf, OperatingPointRule

__all__ = [
    "fit_calibration",
    "fit_ensemble_weights",
    "fit_operating_points",
]

_MAX_STEPS = 1000
_GAP = 1e-6
"""Nats above the best weights at which the search for them ends."""

Logits = Float64[np.ndarray, "n k"]


def fit_calibration(
    kind: CalibrationKind, targets: Targets, logits: Logits, *, findings: Findings, fitted_on: ImageSet
) -> Temperature | Platt:
    """Return the calibration that fits the sure labels of a validation part best.

    Raises:
        DataError: No label is sure, or a logit is not finite.
    """
    if kind == "temperature":
        return Temperature(temperature=fit_temperature(targets, targets >= 0, logits), fitted_on=fitted_on)
    return fit_platt(targets, targets >= 0, logits, findings=findings, fitted_on=fitted_on)


def fit_operating_points(
    targets: Targets,
    probabilities: Probabilities,
    *,
    findings: Findings,
    rule: OperatingPointRule,
    chosen_on: ImageSet,
) -> OperatingPoints:
    """Choose a threshold per finding by a rule; a finding of one class only has none.

    Args:
        targets: Labels of a validation part; only 1 and 0 count.
        probabilities: Calibrated.
        findings: What the columns stand for.
        rule: How.
        chosen_on: What the images are.
    """
    thresholds: dict[str, float | None] = {}
    for finding, target, probability in zip(findings, targets.T, probabilities.T, strict=True):
        known = target >= 0
        both = rule == "one-half" or ((target == 1).any() and (target == 0).any())
        thresholds[finding.name] = (
            choose_threshold(parse_rule(rule), target[known] == 1, probability[known]) if both else None
        )
    return OperatingPoints(
        rule=rule, thresholds=thresholds, chosen_on=None if rule == "one-half" else chosen_on
    )


def fit_ensemble_weights(
    targets: Targets, logits: Float64[np.ndarray, "member n k"], *, mean_of: MeanOf
) -> tuple[float, ...]:
    """Return the members' weights with the least negative log likelihood over the sure labels.

    The loss is convex in the weights. They move along the simplex by exponentiated gradients (Kivinen and
    Warmuth 1997) until no better ones can gain more than a millionth of a nat: the same weights each time.

    Raises:
        DataError: No label is sure, or a logit is not finite.
    """
    known = targets >= 0
    present = targets[known] == 1
    per_label = logits[:, known]
    if not np.isfinite(per_label).all():
        raise DataError("a member's logit is not finite; leave that member out")
    weights = np.full(len(logits), 1 / len(logits))

    def loss(candidate: Float64[np.ndarray, " member"]) -> float:
        mean = mean_logit(logits, mean_of=mean_of, weights=candidate.tolist())
        return negative_log_likelihood(targets, known, mean)

    current, rate = loss(weights), 1.0
    for _ in range(_MAX_STEPS):
        mean = mean_logit(per_label[:, :, None], mean_of=mean_of, weights=weights.tolist())[:, 0]
        slope = _slope(per_label, mean, present, mean_of)
        if weights @ slope - slope.min() < _GAP:
            break
        moved = weights * np.exp(-rate * (slope - slope.min()))
        moved /= moved.sum()
        found = loss(moved)
        if found < current:
            weights, current, rate = moved, found, rate * 2
        else:
            rate /= 4
    return tuple(float(weight) for weight in weights)


def _slope(
    logits: Float64[np.ndarray, "member label"],
    mean: Float64[np.ndarray, " label"],
    present: np.ndarray,
    mean_of: MeanOf,
) -> Float64[np.ndarray, " member"]:
    """Return the derivative of the loss by each member's weight."""
    if mean_of == "logits":
        return np.asarray(((sigmoid(mean) - present) * logits).mean(axis=1))
    # Of -log(sum of weight times the probability that the member gives to the label).
    sign = np.where(present, 1.0, -1.0)
    log_own, log_mean = -np.logaddexp(0, -sign * logits), -np.logaddexp(0, -sign * mean)
    return np.asarray(-np.exp(log_own - log_mean).mean(axis=1))
