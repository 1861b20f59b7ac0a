"""Population stability and shares against slow twins, known values, and simulation."""

import numpy as np
import pytest
from scipy import stats

from thorax.distributions import CountedShare, Histogram
from thorax.evaluation.monitoring.changes import (
    beta_binomial,
    expected_share,
    share_interval_of,
    share_p_value,
    stability,
    stability_p_value,
)

EVEN = Histogram(edges=tuple(range(1, 10)), counts=(100,) * 10)


def test_the_index_is_zero_with_a_low_end_of_zero_where_nothing_has_changed():
    same = stability(EVEN, (30,) * 10)
    assert same.value == same.low == 0
    assert 0 < same.high < 0.1
    assert stability_p_value(EVEN, (30,) * 10) > 0.99


def test_the_index_of_many_images_is_its_definition():
    many = Histogram(edges=(1.0, 2.0), counts=(2_000_000, 5_000_000, 3_000_000))
    first, second = np.array([0.2, 0.5, 0.3]), np.array([0.3, 0.5, 0.2])
    by_definition = float(np.sum((first - second) * np.log(first / second)))
    found = stability(many, (3_000_000, 5_000_000, 2_000_000))
    assert found.value == pytest.approx(by_definition, abs=1e-5)
    assert found.low < by_definition < found.high


def test_an_empty_bin_is_no_infinite_change():
    found = stability(EVEN, (0, *(33,) * 9))
    assert 0 < found.low < found.value < found.high < 1


def test_the_p_value_of_the_index_is_right_where_nothing_has_changed():
    """Of samples of one population, at most about 1 in 100 is below .01, and 1 in 10 below .1."""
    random = np.random.default_rng(0)
    shares = np.full(10, 0.1)
    values = []
    for _ in range(4000):
        before, after = random.multinomial(124, shares), random.multinomial(300, shares)
        reference = Histogram(edges=tuple(range(1, 10)), counts=tuple(before.tolist()))
        values.append(stability_p_value(reference, after.tolist()))
    assert np.mean(np.array(values) < 0.01) < 0.015
    assert 0.06 < np.mean(np.array(values) < 0.1) < 0.12


def test_the_interval_of_the_index_holds_the_true_one():
    random = np.random.default_rng(1)
    first = np.full(10, 0.1)
    second = np.linspace(0.06, 0.14, 10)
    true = float(np.sum((first - second) * np.log(first / second)))
    held = 0
    for _ in range(400):
        reference = Histogram(
            edges=tuple(range(1, 10)), counts=tuple(random.multinomial(500, first).tolist())
        )
        found = stability(reference, random.multinomial(400, second).tolist())
        held += found.low <= true <= found.high
    assert 0.92 <= held / 400 <= 0.985


def test_images_of_the_same_patients_count_less():
    alone = stability_p_value(EVEN, (60, *(30,) * 9))
    together = stability_p_value(EVEN.model_copy(update={"design_effect": 3.0}), (60, *(30,) * 9))
    assert alone < together


def test_shares_have_the_p_values_of_scipys_distributions():
    reference = CountedShare(count=12, of=124)
    p = share_p_value(reference, 50, 300, kind="predictive")
    assert p == pytest.approx(2 * stats.betabinom.sf(49, 300, 12.5, 112.5), rel=1e-9)
    low = share_p_value(reference, 5, 300, kind="predictive")
    assert low == pytest.approx(2 * stats.betabinom.cdf(5, 300, 12.5, 112.5), rel=1e-9)
    assert expected_share(CountedShare(count=1, of=124)) == pytest.approx(2 / 126)
    design = share_p_value(CountedShare(count=1, of=124), 12, 300, kind="design")
    assert design == pytest.approx(stats.binom.sf(11, 300, 2 / 126), rel=1e-9)
    assert share_p_value(CountedShare(count=1, of=124), 0, 300, kind="design") == 1


def test_the_beta_binomial_sums_to_one_and_holds_for_many_trials():
    assert beta_binomial(20_000, 3000.5, 7000.5).sum() == pytest.approx(1)
    np.testing.assert_allclose(
        beta_binomial(30, 2.5, 7.5), stats.betabinom.pmf(np.arange(31), 30, 2.5, 7.5), rtol=1e-9
    )


def test_a_share_has_the_interval_of_clopper_and_pearson():
    exact = stats.binomtest(7, 50).proportion_ci(method="exact")
    found = share_interval_of(7, 50, design_effect=1.0)
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))
    wider = share_interval_of(7, 50, design_effect=2.0)
    assert wider.low < found.low < found.high < wider.high
    assert share_interval_of(0, 50, design_effect=1.0).low == 0
    assert share_interval_of(50, 50, design_effect=1.0).high == 1
