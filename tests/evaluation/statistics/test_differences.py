import math

import numpy as np
import pytest
from scipy import integrate, optimize, special, stats

from thorax.evaluation.statistics.delong import auc_covariance
from thorax.evaluation.statistics.differences import auc_difference
from thorax.evaluation.statistics.intervals import ranked_patients
from thorax.evaluation.statistics.ranking import rank


def slow_difference(auc, covariance, degrees):
    """The interval and p value by the trapezoidal rule and root finding."""
    value, error = auc[1] - auc[0], math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    slope = auc * (1 - auc)
    scale, center = covariance / np.outer(slope, slope), np.log(auc / (1 - auc))
    contrast = (center[1] - center[0]) / math.sqrt(scale[0, 0] + scale[1, 1] - 2 * scale[0, 1])
    first = stats.t(degrees, center[0], math.sqrt(scale[0, 0]))
    x = np.linspace(*first.ppf([1e-8, 1 - 1e-8]), 20_001)
    lean = scale[0, 1] / scale[0, 0]
    rest = (scale[1, 1] - lean * scale[0, 1]) * (degrees + (x - center[0]) ** 2 / scale[0, 0]) / (degrees + 1)

    def below(difference):
        auc_2 = np.clip(1 / (1 + np.exp(-x)) + difference, 1e-300, 1 - 1e-16)
        limit = np.log(auc_2 / (1 - auc_2)) - center[1] - lean * (x - center[0])
        return integrate.trapezoid(special.stdtr(degrees + 1, limit / np.sqrt(rest)) * first.pdf(x), x)

    low, high = (
        optimize.brentq(lambda d, tail=tail: below(d) - tail, -0.999, 0.999, xtol=1e-10)
        for tail in (0.025, 0.975)
    )
    reach = stats.t.ppf(0.975, degrees) * error
    return (
        min(low, value - reach),
        max(high, value + reach),
        2 * max(stats.t.sf(abs(value) / error, degrees), stats.t.sf(abs(contrast), degrees)),
    )


def covariance_of(errors, correlation):
    return np.outer(errors, errors) * np.array([[1, correlation], [correlation, 1]])


@pytest.mark.parametrize(
    ("auc", "errors", "correlation", "degrees"),
    [
        ([0.70, 0.90], [0.09, 0.05], 0.5, 7.0),
        ([0.85, 0.97], [0.06, 0.02], 0.8, 6.2),
        ([0.97, 0.95], [0.02, 0.03], 0.1, 12.5),
        ([0.80, 0.81], [0.02, 0.02], 0.95, 300.0),
        ([0.60, 0.75], [0.10, 0.12], -0.2, 3.4),
    ],
)
def test_interval_and_p_equal_their_slow_twin(auc, errors, correlation, degrees):
    auc, covariance = np.array(auc), covariance_of(errors, correlation)
    tested = auc_difference(auc, covariance, degrees=degrees)
    low, high, p = slow_difference(auc, covariance, degrees)
    assert tested.interval.value == auc[1] - auc[0]
    assert (tested.interval.low, tested.interval.high, tested.p) == pytest.approx((low, high, p), abs=2e-6)


@pytest.mark.usefixtures("shapes_unchecked")
def test_p_is_below_5_percent_exactly_where_the_interval_excludes_0():
    random = np.random.default_rng(0)
    excluded = 0
    for _ in range(80):
        auc = random.uniform(0.5, 0.999, 2)
        errors = np.sqrt(auc * (1 - auc) / random.integers(3, 200))
        covariance = covariance_of(errors, random.uniform(-0.2, 0.999))
        tested = auc_difference(auc, covariance, degrees=random.uniform(0.5, 60))
        excludes = tested.interval.low > 0 or tested.interval.high < 0
        assert excludes == (tested.p < 0.05)
        assert tested.interval.low <= tested.interval.value <= tested.interval.high
        excluded += excludes
    assert 10 < excluded < 70  # both outcomes were tried


def test_turning_the_models_turns_the_interval():
    covariance = np.array([[0.004, 0.001], [0.001, 0.002]])
    there = auc_difference(np.array([0.7, 0.9]), covariance, degrees=9.0)
    back = auc_difference(np.array([0.9, 0.7]), covariance[::-1, ::-1], degrees=9.0)
    assert (there.interval.low, there.interval.high) == pytest.approx(
        (-back.interval.high, -back.interval.low), abs=1e-6
    )
    assert there.p == pytest.approx(back.p, abs=1e-6)


@pytest.mark.parametrize(
    ("auc", "covariance", "degrees"),
    [
        ([math.nan, 0.8], [[math.nan, math.nan], [math.nan, 0.01]], 5.0),
        ([0.8, 0.9], [[math.nan] * 2] * 2, 5.0),  # one patient with the finding
        ([0.8, 0.9], [[0.01, 0], [0, 0.01]], 0.0),
        ([0.8, 0.9], [[0.01, 0], [0, 0.01]], math.nan),
        ([1.0, 1.0], [[0, 0], [0, 0]], 5.0),
        ([0.0, 1.0], [[0, 0], [0, 0]], 5.0),
    ],
)
def test_without_an_interval_there_is_no_p_value(auc, covariance, degrees):
    tested = auc_difference(np.array(auc), np.array(covariance, np.float64), degrees=degrees)
    assert math.isnan(tested.interval.low)
    assert math.isnan(tested.interval.high)
    assert math.isnan(tested.p)


def test_rankings_that_agree_differ_by_0():
    tested = auc_difference(np.array([0.8, 0.8]), np.full((2, 2), 0.01), degrees=5.0)
    assert (tested.interval.value, tested.interval.low, tested.interval.high, tested.p) == (0, 0, 0, 1)


def test_an_auc_of_1_counts_as_one_lost_pair():
    """A perfect model, and the same with one pair lost, have nearly the same interval."""
    random = np.random.default_rng(1)
    target = np.arange(100) < 8
    weak = np.where(target, 1.2, 0.0) + random.normal(size=100)
    perfect = np.where(target, 1.0, 0.0) + 0.01 * np.arange(100) / 100
    one_lost = perfect.copy()
    one_lost[99] = np.min(perfect[target]) + 1e-6
    results = []
    for better in (perfect, one_lost):
        ranked = [rank(target, score, np.arange(100)) for score in (weak, better)]
        measured = auc_covariance(ranked, num_units=100)
        results.append(
            auc_difference(
                measured.auc,
                measured.covariance,
                degrees=ranked_patients(ranked[0]) - 1,
                smallest_loss=1 / (8 * 92),
            )
        )
    first, second = results
    assert first.interval.value - second.interval.value == pytest.approx(1 / 736)
    assert first.interval.low == pytest.approx(second.interval.low, abs=0.01)
    assert first.interval.high == pytest.approx(second.interval.high, abs=0.01)
    assert first.p == pytest.approx(second.p, abs=0.01)
    assert first.interval.low < 1 - first.interval.value < first.interval.high + 1


def test_an_interval_without_information_is_all_that_is_possible():
    # Hernia in a small test part: one patient and a bit, and a quantile of Student's in the thousands.
    measured = auc_difference(np.array([0.62, 0.56]), np.array([[0.02, 0.0], [0.0, 0.02]]), degrees=0.15)
    assert measured.interval.value == pytest.approx(-0.06)
    assert (measured.interval.low, measured.interval.high) == (-1.0, 1.0)
    assert 0.05 < measured.p <= 1
