import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from thorax.evaluation.statistics.precision_intervals import (
    mean_precision_interval,
    measure_precisions,
    precision_intervals,
)
from thorax.evaluation.statistics.ranking import average_precision_score, rank, weighted_scores


def cohort(seed, *, patients=30, shift=1.0):
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), random.integers(1, 5, patients))
    target = (random.random(patients) < 0.3)[patient] ^ (random.random(len(patient)) < 0.1)
    score = shift * target + random.normal(size=patients)[patient] + random.normal(size=len(patient))
    return target, np.round(score, 1), patient


@pytest.mark.parametrize("seed", range(4))
def test_the_influence_of_a_patient_is_the_derivative(seed):
    """By weights that differ by a thousandth: one patient's images count 1,001 times, all others 1,000."""
    target, score, patient = cohort(seed)
    ranked = rank(target, score, patient)
    measured = measure_precisions([ranked], num_units=30)
    assert measured.value[0] == pytest.approx(average_precision_score(target, score), abs=1e-15)
    weights = np.full((30, 30), 1000, np.int32) + np.eye(30, dtype=np.int32)
    slope = (weighted_scores(ranked, weights).average_precision - measured.value[0]) * 1000
    np.testing.assert_allclose(measured.influence[0], slope, atol=2e-4)
    assert np.sum(measured.influence) == pytest.approx(0, abs=1e-12)


def test_an_interval_by_hand():
    # From the top: positive, negative, positive, negative. AP = (1 + 2/3) / 2 = 5/6.
    target, score = np.array([True, False, True, False]), np.array([4.0, 3.0, 2.0, 1.0])
    (interval,) = precision_intervals(measure_precisions([rank(target, score, np.arange(4))], num_units=4))
    # First positive: 1, raised below by 1/9, less AP; second: 2/3 and 1/9. The upper negative: -2/9. Halved.
    influence = np.array([1 + 1 / 9 - 5 / 6, -2 / 9, 2 / 3 + 1 / 9 - 5 / 6, 0]) / 2
    variance = 2 * np.sum(influence**2) + 2 * (0.8 / 6) ** 2  # 2 patients: times 2 / (2 - 1); one pair: 1/6
    center = 5 / 6 * (1 - 0.75 / 6)
    reach = stats.t.ppf(0.975, 3) * math.sqrt(variance) / (center * (1 - center))
    logits = [math.log(center / (1 - center)) + sign * reach for sign in (-1, 1)]
    assert (interval.low, interval.high) == pytest.approx([1 / (1 + math.exp(-x)) for x in logits])


def test_a_perfect_ranking_has_nearly_the_interval_of_one_pair_less():
    target = np.arange(100) < 8
    perfect = np.where(target, 2.0, 1.0) + np.arange(100) / 1000
    lost = perfect.copy()
    lost[[0, 99]] = perfect[[99, 0]]
    measured = measure_precisions(
        [rank(target, score, np.arange(100)) for score in (perfect, lost)], num_units=100
    )
    one, other = precision_intervals(measured)
    assert (one.value, one.high) == (1.0, 1.0)
    assert other.value == pytest.approx(1 - 1 / 72)
    assert 0.7 < other.low <= one.low < other.low + 0.05
    assert other.high == pytest.approx(1, abs=0.01)


def test_one_positive_and_one_class_have_no_interval():
    several, one, none = np.arange(30) < 5, np.arange(30) == 3, np.zeros(30, bool)
    rankings = [rank(target, np.arange(30.0), np.arange(30)) for target in (several, one, none)]
    measured = measure_precisions(rankings, num_units=30)
    first, second, third = precision_intervals(measured)
    assert first.low < first.value < first.high
    assert second.exists
    assert math.isnan(second.low)
    assert str(third) == "n/a"
    mean = mean_precision_interval(measured, np.ones(3, bool))  # of the two that exist
    assert mean.value == pytest.approx((first.value + second.value) / 2)
    assert mean.low < mean.value < mean.high
    assert str(mean_precision_interval(measured, np.arange(3) == 2)) == "n/a"


def test_the_mean_of_one_is_that_one_and_images_repeated_change_little():
    target, score, patient = cohort(8)
    measured = measure_precisions(
        [
            rank(target, score, patient),
            rank(np.tile(target, 4), np.tile(score, 4), np.tile(patient, 4)),
        ],
        num_units=30,
    )
    once, often = precision_intervals(measured)
    assert mean_precision_interval(measured, np.array([True, False])) == once
    assert dataclasses.astuple(often) == pytest.approx(dataclasses.astuple(once), abs=0.02)


@pytest.mark.parametrize(("prevalence", "auc"), [(0.08, 0.95), (0.2, 0.99)])
def test_intervals_hold_the_truth_of_few_positives(prevalence, auc):
    """With 8 positives the bootstrap's held it in 94, with 20 and an AUC of .99 in 88 of 100."""
    random, shift = np.random.default_rng(6), math.sqrt(2) * stats.norm.ppf(auc)
    many = np.arange(200_000) < 200_000 * prevalence
    truth = average_precision_score(many, random.normal(size=200_000) + shift * many)
    targets = random.random((400, 100)) < prevalence
    rankings = [rank(row, random.normal(size=100) + shift * row, np.arange(100)) for row in targets]
    intervals = precision_intervals(measure_precisions(rankings, num_units=100))
    held = [interval.low <= truth <= interval.high for interval in intervals if not math.isnan(interval.low)]
    assert 0.92 <= np.mean(held) <= 0.995
