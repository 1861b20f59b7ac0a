import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thorax.evaluation.statistics.intervals import (
    LEVEL,
    effective_patients,
    f1_interval,
    share_interval,
    student_quantile,
    wilson_interval,
)

Z = student_quantile((1 + LEVEL) / 2, math.inf)


def ends(interval):
    return interval.low, interval.high


def test_wilson_by_hand():
    # Agresti and Coull, The American Statistician 1998: 0 of 10 is 0 to .278.
    assert wilson_interval(0.0, count=10.0).low == 0.0
    assert wilson_interval(0.0, count=10.0).high == pytest.approx(0.2775, abs=1e-4)
    assert math.isnan(wilson_interval(math.nan, count=0.0).low)


@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize("patients", [2, 7, 100, 2797])
def test_a_share_of_nothing_or_all_has_an_interval_that_ends_in_it(share, patients):
    interval = share_interval(np.full(patients, 3 * share), np.full(patients, 3.0))
    inner = interval.high if share == 0 else 1 - interval.low
    assert (interval.low if share == 0 else interval.high) == share
    # By patients, however many images each has; few are worth fewer, but not less than one image.
    count = max(patients * (Z / student_quantile((1 + LEVEL) / 2, patients - 1.0)) ** 2, 1.0)
    assert inner == pytest.approx(Z**2 / (count + Z**2))
    if patients >= 100:  # the rule of three, 3 / n, is of 95 % at one end; both ends of 95 % make it 3.7 / n
        assert 3 / patients < inner < 4 / patients


def test_uneven_patients_at_the_edge_count_as_so_many_even_ones():
    images = np.array([1.0, 1, 1, 1, 20])
    one = share_interval(images, images)
    effective = effective_patients(images.astype(np.int64))  # 1.43
    assert effective < 2
    assert ends(one) == ends(wilson_interval(1.0, count=1.0))
    one_patient = share_interval(np.array([0.0, 9]), np.array([0.0, 9]))
    assert ends(one_patient) == ends(wilson_interval(1.0, count=1.0))  # nine images of one say as much as one


@pytest.mark.parametrize("patients", [8, 20, 100])
def test_none_and_one_of_few_patients_have_intervals_without_a_step(patients):
    """0 of 8 was 0 to .324 and 1 of 8 .015 to .567: the quantile changed from the normal one to Student's."""
    none, one, two = (
        share_interval((np.arange(patients) < hits).astype(np.float64), np.ones(patients))
        for hits in (0, 1, 2)
    )
    assert none.low == 0 <= one.low < two.low
    first, second = one.high - none.high, two.high - one.high
    assert 0 < first < 1.6 * second  # one more hit moves the end about as far as the next one


def test_0_of_8_and_1_of_8_by_hand():
    none, one = (share_interval((np.arange(8) < hits).astype(np.float64), np.ones(8)) for hits in (0, 1))
    assert ends(none) == pytest.approx((0.0, 0.4114), abs=1e-4)
    assert ends(one) == pytest.approx((0.0153, 0.5674), abs=1e-4)


def slow_count(some, images):
    """One patient after the other, a tenth of one with images of the rarer kind alone among them."""
    share = some.sum() / images.sum()
    size = sum(each**2 for each in images) / images.sum()
    patients = [(1.0, a, b) for a, b in zip(some, images, strict=True)]
    patients.append((0.1, size if share < 0.5 else 0.0, size))
    total, hits = (sum(each[0] * each[kind] for each in patients) for kind in (2, 1))
    mean, number = hits / total, sum(weight for weight, _, _ in patients)
    variance = sum(weight * (a - mean * b) ** 2 for weight, a, b in patients) / total**2
    variance *= number / (number - 1)
    effective = images.sum() ** 2 / sum(each**2 for each in images)
    independent = min(images.sum() * mean * (1 - mean) / total / variance, images.sum())
    return independent * (Z / student_quantile((1 + LEVEL) / 2, float(effective) - 1)) ** 2


@pytest.mark.parametrize("alike", [0.05, 0.4])
@pytest.mark.parametrize("truth", [0.1, 0.5, 0.9])
def test_intervals_equal_a_slow_twin(truth, alike):
    random = np.random.default_rng(0)
    images = random.integers(1, 9, 30).astype(np.float64)
    skill = random.beta(truth * (1 - alike) / alike, (1 - truth) * (1 - alike) / alike, 30)
    some = random.binomial(images.astype(np.int64), skill).astype(np.float64)
    twin = wilson_interval(some.sum() / images.sum(), count=slow_count(some, images))
    assert ends(share_interval(some, images)) == pytest.approx(ends(twin), abs=1e-12)


def test_many_independent_images_have_wilsons_interval():
    interval = share_interval((np.arange(5000) % 10 < 3).astype(np.float64), np.ones(5000))
    assert ends(interval) == pytest.approx(ends(wilson_interval(0.3, count=5000.0)), abs=1e-4)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**16))
def test_what_does_not_matter_does_not_matter(seed):
    random = np.random.default_rng(seed)
    images = random.integers(0, 6, 12).astype(np.float64)
    some = random.binomial(images.astype(np.int64), 0.6).astype(np.float64)
    interval = share_interval(some, images)
    order = random.permutation(12)
    assert ends(share_interval(some[order], images[order])) == pytest.approx(ends(interval), nan_ok=True)
    # Images repeated within each patient say nothing new, unless they seem independent.
    assert share_interval(3 * some, 3 * images).value == pytest.approx(interval.value, nan_ok=True)
    other = share_interval(images - some, images)  # the share of the others mirrors it
    if interval.value != 0.5:  # of two halves neither is the rarer kind
        assert ends(other) == pytest.approx((1 - interval.high, 1 - interval.low), abs=1e-12, nan_ok=True)
    if interval.exists:
        assert 0 <= interval.low <= interval.value <= interval.high <= 1
        assert interval.high - interval.low > 0


def test_f1_is_that_of_its_images():
    hits, alarms, misses = np.array([2.0, 0, 1]), np.array([1.0, 0, 0]), np.array([0.0, 3, 0])
    interval = f1_interval(hits, hits + alarms + misses)
    assert interval.value == pytest.approx(2 * 3 / (2 * 3 + 1 + 3))
    index = share_interval(hits, hits + alarms + misses)
    assert interval.high == pytest.approx(2 * index.high / (1 + index.high))
    assert math.isnan(f1_interval(np.zeros(3), np.zeros(3)).value)
    assert f1_interval(np.zeros(50), np.ones(50)).high == pytest.approx(0.139, abs=1e-3)


@pytest.mark.parametrize("truth", [0.8, 0.97, 0.99])
def test_intervals_of_few_uneven_patients_hold_the_truth(truth):
    """At .99 every second trial has nothing but hits: the bootstrap's interval would be a point."""
    random, alike = np.random.default_rng(2), 0.3  # the correlation of two images of a patient
    exclusive_lock, points = [], 0
    for _ in range(1000):
        images = random.integers(1, 12, 40)
        skill = random.beta(truth * (1 - alike) / alike, (1 - truth) * (1 - alike) / alike, 40)
        some = random.binomial(images, skill)
        interval = share_interval(some.astype(np.float64), images.astype(np.float64))
        exclusive_lock.append(interval.low <= truth <= interval.high)
        points += int(some.sum() == images.sum())
    assert (
        0.93 <= np.mean(exclusive_lock) <= 0.985
    )  # near 1 a share takes few values, and 95 of 100 cannot be had
    assert points > 100 or truth < 0.99
