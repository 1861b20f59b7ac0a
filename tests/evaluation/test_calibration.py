import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss

from thorax.arrays import NOT_LABELLED, UNCERTAIN
from thorax.errors import DataError
from thorax.evaluation.calibration import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    brier_loss,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
)


def labelled_logits(seed, *, images=400, temperature=1.0):
    """Logits that are right once they are divided by `temperature`."""
    random = np.random.default_rng(seed)
    right = random.normal(-1.0, 2.0, (images, 3))
    targets = (random.random(right.shape) < 1 / (1 + np.exp(-right))).astype(np.int8)
    return targets, np.ones(targets.shape, dtype=bool), right * temperature


def golden_section(loss, low, high):
    """Slow and obvious: shrink a bracket of log T around the least loss."""
    ratio = (5**0.5 - 1) / 2
    for _ in range(120):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    return (low + high) / 2


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_the_fitted_temperature_has_the_least_loss(temperature):
    targets, known, logits = labelled_logits(4, temperature=temperature)
    fitted = fit_temperature(targets, known, logits)

    def loss(log_temperature):
        return negative_log_likelihood(targets, known, logits, temperature=float(np.exp(log_temperature)))

    slow = np.exp(golden_section(loss, np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE)))
    assert fitted == pytest.approx(slow, rel=1e-6)
    assert fitted == pytest.approx(temperature, rel=0.15)  # what the logits were made with
    assert loss(np.log(fitted)) <= min(loss(np.log(fitted * 0.999)), loss(np.log(fitted * 1.001)))


@given(st.integers(0, 2**20), st.floats(0.2, 5.0))
def test_scaled_logits_scale_the_temperature(seed, factor):
    targets, known, logits = labelled_logits(seed, images=60)
    fitted = fit_temperature(targets, known, logits)
    assert fit_temperature(targets, known, factor * logits) == pytest.approx(factor * fitted, rel=1e-8)


def test_only_known_labels_count():
    targets, known, logits = labelled_logits(1)
    known[::3, 1] = False
    hidden = targets.copy()
    hidden[~known] = UNCERTAIN
    strange = logits.copy()
    strange[~known] = 1e6
    assert fit_temperature(hidden, known, strange) == fit_temperature(targets, known, logits)


def test_the_same_labels_give_the_same_bits():
    targets, known, logits = labelled_logits(2)
    assert (
        fit_temperature(targets, known, logits).hex() == fit_temperature(targets, known, logits.copy()).hex()
    )


def test_scores_without_a_best_temperature_end_at_a_bound():
    targets, known, logits = labelled_logits(3)
    assert fit_temperature((logits > 0).astype(np.int8), known, logits) == MIN_TEMPERATURE
    assert fit_temperature((logits < 0).astype(np.int8), known, logits) == MAX_TEMPERATURE
    assert fit_temperature(targets, known, np.zeros_like(logits)) == MAX_TEMPERATURE


def test_huge_logits_neither_overflow_nor_warn():
    targets = np.array([[1], [0], [1], [0]], dtype=np.int8)
    logits = np.array([[1e5], [-1e5], [-1.0], [1.0]], dtype=np.float32)
    fitted = fit_temperature(targets, np.ones((4, 1), dtype=bool), logits)
    assert MIN_TEMPERATURE <= fitted <= MAX_TEMPERATURE


@pytest.mark.parametrize(
    ("target", "known", "logit", "message"),
    [
        (1, False, 0.0, r"^none of the 1 labels \(1 images, 1 findings\) is known; calibrate on a part"),
        (NOT_LABELLED, True, 0.0, r"^1 of 1 known labels are neither 1 nor 0 \(first: -2\); mark"),
        (1, True, np.inf, r"^1 of 1 logits to calibrate on are not finite; look for the step"),
    ],
)
def test_what_cannot_be_calibrated_on_is_refused(target, known, logit, message):
    arguments = np.array([[target]], dtype=np.int8), np.array([[known]]), np.array([[logit]])
    with pytest.raises(DataError, match=message):
        fit_temperature(*arguments)
    with pytest.raises(DataError, match=message):
        negative_log_likelihood(*arguments)


def test_losses_equal_scikit_learn():
    targets, known, logits = labelled_logits(6)
    probability = 1 / (1 + np.exp(-logits / 1.7))
    assert negative_log_likelihood(targets, known, logits, temperature=1.7) == pytest.approx(
        log_loss(targets.ravel(), probability.ravel()), abs=1e-12
    )
    assert brier_loss(targets[:, 0] == 1, probability[:, 0]) == pytest.approx(
        brier_score_loss(targets[:, 0], probability[:, 0]), abs=1e-12
    )


def test_calibration_error_by_hand():
    target = np.array([True, False, False, True])
    probability = np.array([0.5, 0.3, 0.1, 1.0])
    # Two bins: {.3 .1} has mean .2 against 0 positives; {.5 1.} has .75 against 1.
    assert expected_calibration_error(target, probability, bins=2) == pytest.approx(0.5 * 0.2 + 0.5 * 0.25)


def test_calibration_error_equals_a_loop_over_bins():
    random = np.random.default_rng(0)
    probability = random.random(1000)
    target = random.random(1000) < probability**2
    expected = 0.0
    for bin_number in range(15):
        inside = (probability >= bin_number / 15) & (probability < (bin_number + 1) / 15)
        expected += np.mean(inside) * abs(np.mean(target[inside]) - np.mean(probability[inside]))
    assert expected_calibration_error(target, probability) == pytest.approx(expected, abs=1e-12)


def test_nothing_has_no_calibration():
    assert np.isnan(brier_loss(np.zeros(0, dtype=bool), np.zeros(0)))
    assert np.isnan(expected_calibration_error(np.zeros(0, dtype=bool), np.zeros(0)))
