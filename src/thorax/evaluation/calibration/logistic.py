"""Logistic regression of labels on a model's logits: intercept, slope, and their covariance by patient."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float64, Int64

from thorax.calibration import sigmoid

__all__ = ["LogisticFit", "fit_logistic", "log_loss"]

_MAX_STEPS: Final = 100
_CONVERGED: Final = 1e-10
"""The step at which Newton's method ends; it converges quadratically, so the result is exact to the last
digits."""


@dataclass(frozen=True, slots=True, eq=False)
class LogisticFit:
    """The model P = sigmoid(intercept + slope * logit) with the greatest likelihood.

    Attributes:
        intercept: 0 if it was not fitted.
        slope: 1 if it was not fitted.
        covariance: Sampling covariance of both, with patients as units; 0 for what was not fitted, and NaN
            with fewer than two patients.
    """

    intercept: float
    slope: float
    covariance: Float64[np.ndarray, "2 2"]

    @property
    def intercept_error(self) -> float:
        """Standard error of the intercept."""
        return math.sqrt(self.covariance[0, 0])

    @property
    def slope_error(self) -> float:
        """Standard error of the slope."""
        return math.sqrt(self.covariance[1, 1])


def fit_logistic(
    present: Bool[np.ndarray, " n"],
    logits: Float64[np.ndarray, " n"],
    patient: Int64[np.ndarray, " n"],
    *,
    intercept: bool = True,
    slope: bool = True,
) -> LogisticFit | None:
    """Fit intercept, slope or both; None where no finite values are best.

    There are none where a class is absent, where the logits separate the classes, and, for a slope, where
    all logits are equal. Standard errors are those of the sandwich estimator with patients as clusters
    (Liang and Zeger, Biometrika 1986), times J / (J - 1) for J patients.

    Args:
        present: Whether each image has the finding.
        logits: The model's logits, calibrated or not; finite.
        patient: The number of each image's patient.
        intercept: Whether to fit the intercept; otherwise it is 0.
        slope: Whether to fit the slope; otherwise it is 1.
    """
    if not _has_optimum(present, logits, intercept=intercept, slope=slope):
        return None
    columns = [column for column, used in ((np.ones_like(logits), intercept), (logits, slope)) if used]
    design = np.stack(columns)
    offset = np.zeros_like(logits) if slope else logits
    weights = np.array([value for value, used in ((0.0, intercept), (1.0, slope)) if used])
    loss = log_loss(present, weights @ design + offset)
    for _ in range(_MAX_STEPS):
        probability = sigmoid(weights @ design + offset)
        gradient = design @ (probability - present) / len(logits)
        step = np.linalg.solve(_hessian(design, probability), gradient)
        while (new := log_loss(present, (weights - step) @ design + offset)) > loss * (1 + 1e-14):
            step = step / 2
        weights, loss = weights - step, new
        if np.max(np.abs(step)) <= _CONVERGED:
            break
    else:  # the optimum is so far away that it says nothing
        return None
    used = [intercept, slope]
    both, covariance = np.array([0.0, 1.0]), np.zeros((2, 2))
    both[used] = weights
    covariance[np.ix_(used, used)] = _covariance(design, weights @ design + offset, present, patient)
    return LogisticFit(float(both[0]), float(both[1]), covariance)


def log_loss(present: Bool[np.ndarray, " n"], logits: Float64[np.ndarray, " n"]) -> float:
    """Return the mean of -log(probability of the label), in nats; NaN without an image."""
    if not len(logits):
        return math.nan
    return float(np.mean(np.logaddexp(0.0, np.where(present, -logits, logits))))


def _has_optimum(
    present: Bool[np.ndarray, " n"], logits: Float64[np.ndarray, " n"], *, intercept: bool, slope: bool
) -> bool:
    if not slope:
        return bool(present.any() and not present.all())
    if not intercept:
        signed = np.where(present, logits, -logits)
        return bool((signed > 0).any() and (signed < 0).any())
    if present.all() or not present.any():
        return False
    positive, negative = logits[present], logits[~present]
    return bool(positive.min() < negative.max() and positive.max() > negative.min())


def _hessian(
    design: Float64[np.ndarray, "w n"], probability: Float64[np.ndarray, " n"]
) -> Float64[np.ndarray, "w w"]:
    curvature = (design * probability * (1 - probability)) @ design.T / design.shape[1]
    return np.asarray(curvature + 1e-14 * np.eye(len(design)))


def _covariance(
    design: Float64[np.ndarray, "w n"],
    logits: Float64[np.ndarray, " n"],
    present: Bool[np.ndarray, " n"],
    patient: Int64[np.ndarray, " n"],
) -> Float64[np.ndarray, "w w"]:
    probability = sigmoid(logits)
    scores = np.stack([np.bincount(patient, weights=row * (probability - present)) for row in design])
    patients = len(np.unique(patient))
    if patients <= 1:
        return np.full((len(design), len(design)), math.nan)
    bread = np.linalg.inv(_hessian(design, probability) * design.shape[1])
    return np.asarray(bread @ (scores @ scores.T) @ bread * patients / (patients - 1))
