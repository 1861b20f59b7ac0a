"""Kappa and its interval: against its definition, the test that it inverts, and coverage."""

import math

import numpy as np
import pytest
from scipy.stats import chi2

from thorax.evaluation.agreement import agreement


def raters(both, differing, neither):
    first = [True] * (both + differing) + [False] * neither
    second = [True] * both + [False] * (differing + neither)
    return np.array(first, dtype=bool), np.array(second, dtype=bool)


def expected(images, present, kappa):
    chance = present * (1 - present)
    return images * np.array(
        [present**2 + chance * kappa, 2 * chance * (1 - kappa), (1 - present) ** 2 + chance * kappa]
    )


@pytest.mark.parametrize("counts", [(12, 5, 30), (1, 3, 9), (20, 1, 2), (2, 9, 3), (40, 0, 60)])
def test_the_interval_ends_where_the_counts_fit_no_more(counts):
    measured = agreement(*raters(*counts))
    images = sum(counts)
    assert (measured.images, measured.agreed) == (images, counts[0] + counts[2])
    present = (2 * counts[0] + counts[1]) / (2 * images)
    by_chance = present**2 + (1 - present) ** 2
    assert measured.kappa.value == pytest.approx((measured.agreed / images - by_chance) / (1 - by_chance))
    assert measured.kappa.low <= measured.kappa.value <= measured.kappa.high
    for end in (measured.kappa.low, measured.kappa.high):
        cells = expected(images, present, end)
        misfit = sum(
            (count - cell) ** 2 / cell for count, cell in zip(counts, cells, strict=True) if cell > 0
        )
        if end < 1:
            assert chi2.sf(misfit, 1) == pytest.approx(0.05, abs=1e-6)
        else:
            assert chi2.sf(misfit, 1) > 0.05


def test_complete_agreement_has_an_interval_and_one_sided_answers_have_none():
    complete = agreement(*raters(5, 0, 5)).kappa
    assert (complete.value, complete.high) == (1.0, 1.0)
    assert 0.4 < complete.low < 0.8
    for counts in ((7, 0, 0), (0, 0, 7), (0, 0, 0)):
        measured = agreement(*raters(*counts))
        assert measured.images == measured.agreed == sum(counts)
        assert math.isnan(measured.kappa.value)


def test_the_order_of_raters_does_not_matter():
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 60)) < 0.4
    assert agreement(first, second) == agreement(second, first)


def test_intervals_cover_the_true_kappa():
    """In 1,000 samples of 40 images each; 95 % of them would be 950."""
    rng = np.random.default_rng(1)
    covered = 0
    for counts in rng.multinomial(40, expected(1, 0.3, 0.5), size=1000):
        kappa = agreement(*raters(*counts)).kappa
        covered += kappa.low <= 0.5 <= kappa.high
    assert 930 <= covered <= 970
