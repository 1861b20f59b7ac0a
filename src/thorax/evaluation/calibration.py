"""How far probabilities can be taken at their word, and the one temperature that improves them."""

import numpy as np
from jaxtyping import Bool, Float, Float64

from thorax.arrays import Known, Scores, Targets
from thorax.errors import DataError

__all__ = [
    "MAX_TEMPERATURE",
    "MIN_TEMPERATURE",
    "brier_loss",
    "expected_calibration_error",
    "fit_temperature",
    "negative_log_likelihood",
]

MIN_TEMPERATURE = 0.05
"""Lowest temperature that is fitted: scores that separate the classes have no best one above 0."""

MAX_TEMPERATURE = 20.0
"""Highest temperature that is fitted: scores that say nothing, or the opposite, have no finite best one."""

_MAX_STEPS = 100


def fit_temperature(targets: Targets, known: Known, logits: Scores) -> float:
    """Return the temperature T for which sigmoid(logit / T) has the least negative log likelihood.

    One T for all findings (Guo et al., ICML 2017), fitted over the known labels of a validation part. The
    loss is convex in 1 / T and its minimum is where the derivative is 0, which is found to the last digits
    by Newton's method inside a bracket: no step size, no random number, the same result each time.

    Args:
        targets: 1 and 0 where `known`; anything elsewhere.
        known: Which labels count.
        logits: Before the sigmoid.

    Returns:
        T in [`MIN_TEMPERATURE`, `MAX_TEMPERATURE`]; above 1 makes probabilities more cautious.

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
        following = scale - slope / _curvature(logit, scale)
        if not low < following < high:
            following = (low + high) / 2
        if abs(following - scale) <= 1e-12 * scale:
            break
        scale = following
    return 1 / scale


def negative_log_likelihood(
    targets: Targets, known: Known, logits: Scores, *, temperature: float = 1.0
) -> float:
    """Return the mean of -log(probability given to the label) over the known labels, in nats.

    Args:
        targets: 1 and 0 where `known`; anything elsewhere.
        known: Which labels count.
        logits: Before the sigmoid.
        temperature: What the logits are divided by.

    Raises:
        DataError: No label is known, a known one is neither 1 nor 0, or a logit is not finite.
    """
    present, logit = _known_labels(targets, known, logits)
    scaled = logit / temperature
    return float(np.mean(np.logaddexp(0.0, np.where(present, -scaled, scaled))))


def brier_loss(target: Bool[np.ndarray, " n"], probability: Float[np.ndarray, " n"]) -> float:
    """Return the mean squared distance of probability and label (Brier 1950), in [0, 1]; NaN if empty."""
    if len(target) == 0:
        return float("nan")
    return float(np.mean((probability.astype(np.float64) - target) ** 2))


def expected_calibration_error(
    target: Bool[np.ndarray, " n"], probability: Float[np.ndarray, " n"], *, bins: int = 15
) -> float:
    """Return how far the share of positives lies from the mean probability, averaged over images.

    Images are put into `bins` bins of equal width over [0, 1], the last one closed (Naeini et al., AAAI
    2015; 15 bins as in Guo et al. 2017). In [0, 1]; NaN if empty. With few images it is too large: noise in
    a bin counts as miscalibration.
    """
    if len(target) == 0:
        return float("nan")
    bin_of_image = np.minimum((probability.astype(np.float64) * bins).astype(np.int64), bins - 1)
    excess = np.bincount(bin_of_image, weights=probability.astype(np.float64) - target, minlength=bins)
    return float(np.sum(np.abs(excess)) / len(target))


def _known_labels(
    targets: Targets, known: Known, logits: Scores
) -> tuple[Bool[np.ndarray, " label"], Float64[np.ndarray, " label"]]:
    """Return the known labels and their logits, one after the other."""
    target, logit = targets[known], logits[known].astype(np.float64)
    if len(target) == 0:
        raise DataError(
            f"none of the {targets.size} labels ({targets.shape[0]} images, {targets.shape[1]} findings) "
            "is known; calibrate on a part that has labels"
        )
    if not np.all((target == 0) | (target == 1)):
        strange = target[(target != 0) & (target != 1)]
        raise DataError(
            f"{len(strange)} of {len(target)} known labels are neither 1 nor 0 (first: {strange[0]}); "
            "mark uncertain and missing labels as unknown"
        )
    if not np.all(np.isfinite(logit)):
        raise DataError(
            f"{int(np.sum(~np.isfinite(logit)))} of {len(logit)} logits to calibrate on are not finite; "
            "look for the step at which training diverged"
        )
    return target == 1, logit


def _slope(present: Bool[np.ndarray, " label"], logit: Float64[np.ndarray, " label"], scale: float) -> float:
    """Return the derivative of the mean loss by the scale 1 / T; it never falls as the scale grows."""
    return float(np.mean(logit * (_sigmoid(scale * logit) - present)))


def _curvature(logit: Float64[np.ndarray, " label"], scale: float) -> float:
    """Return the second derivative of the mean loss by the scale; the floor keeps Newton's step finite."""
    probability = _sigmoid(scale * logit)
    return max(float(np.mean(logit * logit * probability * (1 - probability))), 1e-300)


def _sigmoid(logit: Float64[np.ndarray, " label"]) -> Float64[np.ndarray, " label"]:
    # tanh neither overflows nor warns, however large the logit.
    return 0.5 * (1.0 + np.tanh(0.5 * logit))
