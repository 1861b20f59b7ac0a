import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from thorax.arrays import NOT_LABELED, UNCERTAIN
from thorax.calibration import sigmoid
from thorax.errors import DataError
from thorax.evaluation.calibration import fit
from thorax.evaluation.calibration.fit import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    brier_loss,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
)
from thorax.findings import NIH14
from thorax.image_set import ImageSet

VALIDATION = ImageSet.of([], [], dataset="toy", split="toy", part="val")


def fit_platt(targets, known, logits) -> list[tuple[float, float, str]]:
    """Slope, intercept and why it was not fitted, of each column."""
    findings = NIH14[: logits.shape[1]]
    platt = fit.fit_platt(targets, known, logits, findings=findings, fitted_on=VALIDATION)
    names = [finding.name for finding in findings]
    assert list(platt.slopes) == list(platt.intercepts) == names
    return [(platt.slopes[name], platt.intercepts[name], platt.kept.get(name, "")) for name in names]


def platt_logits(fitted, logits):
    return np.stack(
        [slope * column + intercept for (slope, intercept, _), column in zip(fitted, logits.T, strict=True)],
        axis=1,
    )


def labeled_logits(seed, *, images=400, temperature=1.0):
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
    targets, known, logits = labeled_logits(4, temperature=temperature)
    fitted = fit_temperature(targets, known, logits)

    def loss(log_temperature):
        return negative_log_likelihood(targets, known, logits, temperature=float(np.exp(log_temperature)))

    slow = np.exp(golden_section(loss, np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE)))
    assert fitted == pytest.approx(slow, rel=1e-6)
    assert fitted == pytest.approx(temperature, rel=0.15)  # what the logits were made with
    assert loss(np.log(fitted)) <= min(loss(np.log(fitted * 0.999)), loss(np.log(fitted * 1.001)))


@given(st.integers(0, 2**20), st.floats(0.2, 5.0))
def test_scaled_logits_scale_the_temperature(seed, factor):
    targets, known, logits = labeled_logits(seed, images=60)
    fitted = fit_temperature(targets, known, logits)
    assert fit_temperature(targets, known, factor * logits) == pytest.approx(factor * fitted, rel=1e-8)


def test_only_known_labels_count():
    targets, known, logits = labeled_logits(1)
    known[::3, 1] = False
    hidden = targets.copy()
    hidden[~known] = UNCERTAIN
    strange = logits.copy()
    strange[~known] = 1e6
    assert fit_temperature(hidden, known, strange) == fit_temperature(targets, known, logits)


def test_the_same_labels_give_the_same_bits():
    targets, known, logits = labeled_logits(2)
    assert (
        fit_temperature(targets, known, logits).hex() == fit_temperature(targets, known, logits.copy()).hex()
    )


def test_scores_without_a_best_temperature_end_at_a_bound():
    targets, known, logits = labeled_logits(3)
    assert fit_temperature((logits > 0).astype(np.int8), known, logits) == MIN_TEMPERATURE
    assert fit_temperature((logits < 0).astype(np.int8), known, logits) == MAX_TEMPERATURE
    assert fit_temperature(targets, known, np.zeros_like(logits)) == MAX_TEMPERATURE


def test_huge_logits_neither_overflow_nor_warn():
    targets = np.array([[1], [0], [1], [0]], dtype=np.int8)
    logits = np.array([[1e5], [-1e5], [-1.0], [1.0]], dtype=np.float32)
    fitted = fit_temperature(targets, np.ones((4, 1), dtype=bool), logits)
    assert MIN_TEMPERATURE <= fitted <= MAX_TEMPERATURE


def test_a_fit_that_takes_more_steps_than_there_are_has_no_more_loss_than_the_best():
    # The negative at -30 draws the scale on by 1/30 a step, though its loss is 0 in every digit by then.
    targets = np.array([[0], [1]], dtype=np.int8)
    logits, known = np.array([[-30.0], [-1e-250]]), np.ones((2, 1), dtype=bool)
    fitted = fit_temperature(targets, known, logits)
    assert MIN_TEMPERATURE < fitted < 0.5
    loss = negative_log_likelihood(targets, known, logits, temperature=fitted)
    assert loss == negative_log_likelihood(targets, known, logits, temperature=MIN_TEMPERATURE)
    assert loss == pytest.approx(np.log(2) / 2, abs=1e-12)


@pytest.mark.parametrize(
    ("target", "known", "logit", "message"),
    [
        (1, False, 0.0, r"^none of the 1 labels \(1 images, 1 findings\) is known; calibrate on a part"),
        (NOT_LABELED, True, 0.0, r"^1 of 1 known labels are neither 1 nor 0 \(first: -2\); mark"),
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
    targets, known, logits = labeled_logits(6)
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
        expected += float(np.mean(inside) * abs(np.mean(target[inside]) - np.mean(probability[inside])))
    assert expected_calibration_error(target, probability) == pytest.approx(expected, abs=1e-12)


def test_nothing_has_no_calibration():
    assert np.isnan(brier_loss(np.zeros(0, dtype=bool), np.zeros(0)))
    assert np.isnan(expected_calibration_error(np.zeros(0, dtype=bool), np.zeros(0)))


def smoothed(target):
    """Platt's targets: never 0 or 1."""
    positives, negatives = np.sum(target), np.sum(1 - target)
    return np.where(target == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))


def logistic_regression(target, logit):
    """The same fit by scikit-learn: each image once as a positive and once as a negative, by weight."""
    goal = smoothed(target)
    features = np.concatenate([logit, logit])[:, None]
    labels = np.repeat([1, 0], len(logit))
    fitted = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000)
    fitted.fit(features, labels, sample_weight=np.concatenate([goal, 1 - goal]))
    return fitted.coef_[0, 0], fitted.intercept_[0]


@pytest.mark.parametrize("seed", range(5))
def test_platt_is_logistic_regression_on_smoothed_labels(seed):
    targets, known, logits = labeled_logits(seed, temperature=2.0)
    known[::5, 1] = False
    for k, (fitted_slope, fitted_intercept, kept) in enumerate(fit_platt(targets, known, logits)):
        rows = known[:, k]
        slope, intercept = logistic_regression(targets[rows, k], logits[rows, k])
        assert (fitted_slope, fitted_intercept) == pytest.approx((slope, intercept), rel=1e-5, abs=1e-5)
        assert fitted_slope == pytest.approx(0.5, abs=0.15)  # undoes the temperature
        assert kept == ""


def test_steps_that_go_too_far_are_halved():
    # One positive at 900 and a hundred negatives: Newton's whole steps would raise the loss.
    logits = np.array([900.0] + [-800.0] * 100 + [-1000.0])
    targets = (logits > 0).astype(np.int8)
    ((slope, intercept, _),) = fit_platt(targets[:, None], np.ones((102, 1), bool), logits[:, None])
    goal, logit = smoothed(targets), slope * logits + intercept
    excess = sigmoid(logit) - goal
    assert np.mean(excess) == pytest.approx(0, abs=1e-12)
    assert np.mean(excess * (logits - logits.mean()) / logits.std()) == pytest.approx(0, abs=1e-12)


def test_a_fit_so_steep_that_rounding_keeps_moving_it_ends():
    """Skewed logits that separate 20,000 images: the last digits of a slope near 8,000 come and go."""
    logits = np.exp(3 * np.random.default_rng(0).normal(size=20_000))
    targets = (logits > np.median(logits)).astype(np.int8)
    ((slope, intercept, _),) = fit_platt(targets[:, None], np.ones((20_000, 1), bool), logits[:, None])
    excess = sigmoid(slope * logits + intercept) - smoothed(targets)
    assert np.mean(excess) == pytest.approx(0, abs=1e-12)
    assert np.mean(excess * (logits - logits.mean()) / logits.std()) == pytest.approx(0, abs=1e-12)


def test_at_the_fit_the_slopes_of_the_loss_are_nought():
    targets, known, logits = labeled_logits(3, images=50)
    calibrated = platt_logits(fit_platt(targets, known, logits), logits)
    for k in range(3):
        excess = 1 / (1 + np.exp(-calibrated[:, k])) - smoothed(targets[:, k])
        assert np.sum(excess) == pytest.approx(0, abs=1e-9)
        assert np.sum(excess * logits[:, k]) == pytest.approx(0, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**16), st.floats(0.01, 100), st.floats(-50, 50))
def test_moved_and_stretched_logits_are_calibrated_to_the_same(seed, stretch, move):
    targets, known, logits = labeled_logits(seed, images=60)
    plain = platt_logits(fit_platt(targets, known, logits), logits)
    other = stretch * logits + move
    assert np.allclose(platt_logits(fit_platt(targets, known, other), other), plain, atol=1e-6)
    assert roc_auc_score(targets[:, 0], plain[:, 0]) == roc_auc_score(targets[:, 0], logits[:, 0])


def test_platt_by_hand():
    # Two of three positives at 1, one of three at -1: with smoothing the goals are .8 and .2, so that the
    # mean goals are .6 and .4: slope log(.6 / .4), no intercept.
    targets = np.array([[1], [1], [0], [1], [0], [0]], dtype=np.int8)
    logits = np.array([[1.0], [1.0], [1.0], [-1.0], [-1.0], [-1.0]])
    ((slope, intercept, _),) = fit_platt(targets, np.ones((6, 1), dtype=bool), logits)
    assert (slope, intercept) == pytest.approx((np.log(1.5), 0.0), abs=1e-12)


def test_separated_classes_have_a_finite_fit():
    targets = np.array([[1], [1], [0], [0]], dtype=np.int8)
    logits = np.array([[900.0], [800.0], [-800.0], [-1000.0]])
    ((slope, _, kept),) = fit_platt(targets, np.ones((4, 1), dtype=bool), logits)
    assert 0 < slope < 0.1
    assert kept == ""


def test_what_cannot_be_fitted_keeps_its_logits_and_says_why():
    targets = np.array([[1, 0, 1, 0], [0, 0, 0, 1], [0, 0, 1, 0]], dtype=np.int8)
    logits = np.array([[-1.0, 1.0, 2.0, 0.0], [1.0, 2.0, 2.0, 1.0], [2.0, 0.0, 2.0, -1.0]])
    known = np.ones((3, 4), dtype=bool)
    known[:, 3] = False
    turned, one_class, equal, unknown = fit_platt(targets, known, logits)
    assert turned[2].startswith("the best slope is -")
    assert one_class == (1.0, 0.0, "0 of 3 known labels are present")
    assert equal == (1.0, 0.0, "all 3 logits are equal")
    assert unknown == (1.0, 0.0, "0 of 0 known labels are present")
    kept = platt_logits((turned, one_class, equal, unknown), logits)
    assert (kept == logits).all()
    with pytest.raises(DataError, match=r"^none of the 12 labels"):
        fit_platt(targets, np.zeros((3, 4), dtype=bool), logits)


def test_the_same_labels_give_the_same_platt_to_the_bit():
    targets, known, logits = labeled_logits(2)
    assert fit_platt(targets, known, logits) == fit_platt(targets.copy(), known.copy(), logits.copy())
