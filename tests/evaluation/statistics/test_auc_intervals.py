import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from thorax.evaluation.statistics.auc_intervals import (
    MeasuredAucs,
    auc_intervals,
    mean_auc_interval,
    mean_correlation,
    mean_covariance,
    measure_aucs,
)
from thorax.evaluation.statistics.delong import auc_covariance
from thorax.evaluation.statistics.ranking import auroc_score, rank


def ends(interval):
    return interval.low, interval.high


def independent(target, scores):
    """Rank scores of the same images, each of its own patient."""
    return [rank(target, score, np.arange(len(target))) for score in scores]


def shown(target, score):
    """The interval of one AUC, each image of its own patient."""
    (interval,) = auc_intervals(measure_aucs(independent(target, [score]), num_units=len(target)))
    return interval


def clustered(seed, *, patients=40, shift=1.0):
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), random.integers(1, 5, patients))
    target = (random.random(patients) < 0.3)[patient] ^ (random.random(len(patient)) < 0.1)
    score = shift * target + random.normal(size=patients)[patient] + random.normal(size=len(patient))
    return target, np.round(score, 1), patient


# ---- a slow twin -----------------------------------------------------------------


def normal_variance(share, positives, negatives):
    """The variance of an AUC of independent normal scores, its middle term from the bivariate normal."""
    quantile = stats.norm.ppf(share)
    both = stats.multivariate_normal.cdf([quantile] * 2, mean=[0, 0], cov=[[1, 0.5], [0.5, 1]])
    return (share * (1 - share) + (positives + negatives - 2) * (both - share**2)) / (positives * negatives)


def slow_interval(auc, variance, *, pairs, positives, negatives, patients):
    """The interval as the module describes it, with the ends searched for by Brent's method."""
    reach = stats.t.ppf(0.975, patients + 1)

    def score_and_logit(auc, variance):
        shrunk = (auc * pairs + 0.75) / (pairs + 1.5)
        normal = normal_variance(shrunk, positives, negatives)
        mixed = (patients - 1) * (variance + 2 * (0.9 / pairs) ** 2) + 0.25 * normal
        multiple = mixed / (patients - 0.5) / normal

        def beyond(other):
            return abs(other - auc) - reach * math.sqrt(
                multiple * normal_variance(other, positives, negatives)
            )

        score = [
            optimize.brentq(beyond, *bracket, xtol=1e-13) if bracket[0] < bracket[1] else auc
            for bracket in ((1e-9, auc), (auc, 1 - 1e-9))
        ]
        scale = reach * math.sqrt(multiple * normal) / (shrunk * (1 - shrunk))
        logit = [math.log(shrunk / (1 - shrunk)) + sign * scale for sign in (-1, 1)]
        weights = shrunk, 1 - shrunk
        mixed = [
            weight * math.log(end / (1 - end)) + (1 - weight) * other
            for weight, end, other in zip(weights, np.clip(score, 1e-15, 1 - 1e-15), logit, strict=True)
        ]
        return [1 / (1 + math.exp(-end)) for end in mixed]

    low, high = score_and_logit(auc, variance)
    return min(low, score_and_logit(1.0, 0.0)[0]), max(high, score_and_logit(0.0, 0.0)[1])


@pytest.mark.parametrize("seed", range(6))
def test_intervals_are_those_of_a_slow_twin(seed):
    target, score, patient = clustered(seed, shift=(0.0, 1.0, 2.0, 3.0, -1.0, 1.0)[seed])
    measured = measure_aucs([rank(target, score, patient)], num_units=40)
    images = np.bincount(patient, weights=target), np.bincount(patient, weights=~target)
    effective = [count.sum() ** 2 / (count**2).sum() for count in images]
    expected = slow_interval(
        auroc_score(target, score),
        float(auc_covariance([rank(target, score, patient)], num_units=40).covariance[0, 0]),
        pairs=images[0].sum() * images[1].sum(),
        positives=math.sqrt(effective[0] * images[0].sum()),
        negatives=math.sqrt(effective[1] * images[1].sum()),
        patients=min(effective),
    )
    (interval,) = auc_intervals(measured)
    assert interval.value == auroc_score(target, score)
    assert ends(interval) == pytest.approx(expected, abs=1e-7)


# ---- few positives, AUCs near 1 -----------------------------------------------------------------


def test_attack_n4_a_perfect_auc_has_nearly_the_interval_of_one_pair_less():
    """It was .676 to 1 beside .979 to 1.000: the worse result had the far tighter interval."""
    target = np.arange(100) < 8
    perfect = np.where(target, 2.0, 1.0) + np.arange(100) / 1000
    lost = perfect.copy()
    lost[[0, 99]] = perfect[[99, 0]]  # the lowest positive and the highest negative
    one, other = shown(target, perfect), shown(target, lost)
    assert (one.value, other.value) == (1.0, 1 - 1 / 736)
    assert one.high == 1.0
    assert one.low == pytest.approx(0.9507, abs=1e-4)
    assert other.low == pytest.approx(one.low, abs=1e-9)  # no result claims more than a perfect one
    assert 0.9995 < other.high < 1


@pytest.mark.parametrize("positives", [4, 8, 20])
def test_one_lost_pair_moves_no_end_by_more_than_a_twentieth(positives):
    random = np.random.default_rng([4, positives])
    target = np.arange(100) < positives
    perfect, lost = [], []
    for _ in range(200):
        score = random.normal(size=100)
        score[target] += score[~target].max() - score[target].min() + 0.1
        worst, best = np.argmin(np.where(target, score, np.inf)), np.argmax(np.where(target, -np.inf, score))
        swapped = score.copy()
        swapped[[worst, best]] = score[[best, worst]]
        perfect.append(score)
        lost.append(swapped)
    first, second = (
        auc_intervals(measure_aucs(independent(target, scores), num_units=100)) for scores in (perfect, lost)
    )
    for one, other in zip(first, second, strict=True):
        assert one.value == 1 > other.value
        assert other.low <= one.low < other.low + 0.05
        assert other.high <= one.high < other.high + 0.05


@pytest.mark.parametrize(("positives", "auc"), [(8, 0.95), (8, 0.8), (40, 0.95)])
def test_truth_is_missed_as_often_above_as_below(positives, auc):
    """Of the bootstrap's intervals of 8 of 100 at .95, 9 in 100 lay above the truth, and none below."""
    random = np.random.default_rng([1, positives])
    target = np.arange(100) < positives
    shift = math.sqrt(2) * stats.norm.ppf(auc)
    scores = random.normal(size=(600, 100)) + shift * target
    low, high = np.array(
        [
            ends(interval)
            for interval in auc_intervals(measure_aucs(independent(target, scores), num_units=100))
        ]
    ).T
    assert np.mean(low > auc) <= 0.045 + 0.02  # two standard errors of 600 trials
    assert np.mean(high < auc) <= 0.045
    assert 0.93 - 0.02 <= np.mean((low <= auc) & (auc <= high)) <= 0.985


def test_one_positive_has_an_auc_and_no_interval():
    target = np.arange(30) == 3
    interval = shown(target, np.arange(30.0))
    assert interval.value == pytest.approx(3 / 29)
    assert all(map(math.isnan, ends(interval)))


def test_without_a_class_there_is_nothing():
    assert str(shown(np.zeros(5, bool), np.arange(5.0))) == "n/a"


# ---- what must not matter, and what must -----------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**16), st.sampled_from([-3.0, 0.0, 0.7, 3.0]))
def test_the_value_is_inside_and_reversed_scores_mirror_the_interval(seed, shift):
    target, score, patient = clustered(seed, shift=shift)
    forth, back = auc_intervals(
        measure_aucs([rank(target, score, patient), rank(target, -score, patient)], num_units=40)
    )
    assert 0 <= forth.low <= forth.value <= forth.high <= 1
    assert (1 - back.high, 1 - back.low) == pytest.approx(ends(forth), abs=1e-9)


def test_images_repeated_within_each_patient_hardly_narrow_the_interval():
    target, score, patient = clustered(3)
    once = auc_intervals(measure_aucs([rank(target, score, patient)], num_units=40))[0]
    often = auc_intervals(
        measure_aucs([rank(np.tile(target, 5), np.tile(score, 5), np.tile(patient, 5))], num_units=40)
    )[0]
    assert ends(often) == pytest.approx(ends(once), abs=0.01)


def test_a_higher_level_reaches_further():
    target, score, patient = clustered(4)
    measured = measure_aucs([rank(target, score, patient)], num_units=40)
    inner, usual, outer = (auc_intervals(measured, level=level)[0] for level in (0.5, 0.95, 0.999))
    assert outer.low < usual.low < inner.low < usual.value < inner.high < usual.high < outer.high < 1


# ---- means -----------------------------------------------------------------


def measured_findings(seed=0, *, positives=8, count=4, auc=0.9):
    random = np.random.default_rng(seed)
    shared, rankings = random.normal(size=100), []
    for _ in range(count):
        target = np.isin(np.arange(100), random.choice(100, positives, replace=False))
        score = math.sqrt(2) * stats.norm.ppf(auc) * target
        score += math.sqrt(0.4) * shared + math.sqrt(0.6) * random.normal(size=100)
        rankings.append(rank(target, score, np.arange(100)))
    return measure_aucs(rankings, num_units=100)


def test_the_mean_of_one_auc_is_that_auc():
    measured = measured_findings()
    one = mean_auc_interval(measured, np.arange(4) == 2)
    assert dataclasses.astuple(one) == pytest.approx(dataclasses.astuple(auc_intervals(measured)[2]))


def test_a_mean_is_narrower_than_its_findings():
    measured = measured_findings()
    mean = mean_auc_interval(measured, np.ones(4, bool))
    assert mean.value == pytest.approx(np.mean(measured.auc))
    widths = [each.high - each.low for each in auc_intervals(measured)]
    assert 0.3 * np.mean(widths) < mean.high - mean.low < 0.8 * np.mean(widths)


def test_a_mean_of_perfect_aucs_has_an_interval():
    target = np.arange(60) < 6
    perfect = independent(target, [target + np.arange(60) / 1000, target - np.arange(60) / 1000])
    mean = mean_auc_interval(measure_aucs(perfect, num_units=60), np.ones(2, bool))
    assert mean.high == 1.0
    assert 0.85 < mean.low < 1


def test_a_finding_of_one_patient_is_in_the_mean_and_widens_it():
    target = np.array([np.arange(60) < 8, np.arange(60) < 8, np.arange(60) == 9])
    random = np.random.default_rng(2)
    rankings = [rank(row, row + random.normal(size=60), np.arange(60)) for row in target]
    measured = measure_aucs(rankings, num_units=60)
    assert math.isnan(auc_intervals(measured)[2].low)
    three, two = (mean_auc_interval(measured, np.arange(3) < count) for count in (3, 2))
    assert three.value == pytest.approx(np.mean(measured.auc))
    assert three.high - three.low > two.high - two.low
    alone = mean_auc_interval(measured, np.arange(3) == 2)
    assert alone.exists
    assert math.isnan(alone.low)
    assert str(mean_auc_interval(measured, np.zeros(3, bool))) == "n/a"


@pytest.mark.usefixtures("shapes_unchecked")
def test_means_hold_the_truth():
    held = [
        mean.low <= 0.95 <= mean.high
        for mean in (
            mean_auc_interval(measured_findings(seed, auc=0.95), np.ones(4, bool)) for seed in range(120)
        )
    ]
    assert 0.90 <= np.mean(held) <= 0.99


def test_the_correlation_of_means_by_hand():
    measured = MeasuredAucs(
        auc=np.array([0.8, 0.7, math.nan]),
        covariance=np.array([[4e-4, 1e-4, math.nan], [1e-4, 1e-4, math.nan], [math.nan] * 3]),
        pairs=np.full(3, 100.0),
        positives=np.full(3, 10.0),
        negatives=np.full(3, 10.0),
        patients=np.full(3, 10.0),
    )
    first, second = np.array([True, False, False]), np.array([False, True, False])
    assert mean_correlation(measured, first, second) == pytest.approx(0.5)
    assert mean_correlation(measured, first, np.array([True, True, False])) == pytest.approx(
        5e-4 / math.sqrt(4e-4 * 7e-4)
    )
    assert mean_correlation(measured, first, np.array([False, False, True])) == 0


def several_runs(positives, *, runs=3, seed=0):
    """Columns of the findings of each run, run after run; every image is of its own patient."""
    random, patient = np.random.default_rng(seed), np.arange(80)
    targets = [np.isin(patient, random.choice(80, count, replace=False)) for count in positives]
    common = random.normal(size=(len(positives), 80))
    rankings = [
        rank(target, 1.2 * target + 0.8 * shared + 0.6 * random.normal(size=80), patient)
        for _ in range(runs)
        for target, shared in zip(targets, common, strict=True)
    ]
    columns = np.arange(runs * len(positives)).reshape(runs, len(positives))
    return measure_aucs(rankings, num_units=80), columns


def test_the_covariance_of_means_is_that_of_their_aucs():
    measured, columns = several_runs((8, 12, 20))
    weights = np.zeros((3, 9))
    np.put_along_axis(weights, columns, 1 / 3, axis=1)
    np.testing.assert_allclose(
        mean_covariance(measured, columns), weights @ measured.covariance @ weights.T, rtol=1e-12
    )


def test_a_finding_of_one_patient_varies_like_normal_scores_and_between_runs_like_the_others():
    measured, columns = several_runs((8, 1, 20))
    known = [0, 2]
    expected = np.zeros((3, 3))
    for first in range(3):
        for second in range(3):
            pairs = [(columns[first, a], columns[second, b]) for a in known for b in known]
            total = sum(measured.covariance[pair] for pair in pairs)
            alike = 1.0
            if first != second:
                alike = np.mean([
                    measured.covariance[columns[first, k], columns[second, k]]
                    / math.sqrt(measured.covariance[(columns[first, k],) * 2])
                    / math.sqrt(measured.covariance[(columns[second, k],) * 2])
                    for k in known
                ])  # fmt: skip
            errors = [
                math.sqrt(normal_variance((1 - auc + 0.75 / 79) / (1 + 1.5 / 79), 1, 79))
                for auc in measured.auc[columns[[first, second], 1]]
            ]
            expected[first, second] = (total + alike * errors[0] * errors[1]) / 9
    found = mean_covariance(measured, columns)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert np.all(np.linalg.eigvalsh(found) > 0)
    assert found[0, 0] > 1.5 * mean_covariance(measured, columns[:, known])[0, 0] * (2 / 3) ** 2


def test_only_findings_of_one_patient_say_nothing_of_other_patients():
    assert np.isnan(mean_covariance(*several_runs((1, 1)))).all()
