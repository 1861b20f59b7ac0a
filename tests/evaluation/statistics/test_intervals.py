import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from thorax.evaluation.statistics.intervals import (
    Interval,
    bootstrap,
    effective_patients,
    mean_patients,
    over_resamples,
    patient_resample,
    percentile_interval,
    ranked_patients,
    resample_counts,
    student_quantile,
)
from thorax.evaluation.statistics.patient_means import patient_means
from thorax.evaluation.statistics.ranking import PARTIAL_RATE, auroc_score, rank, weighted_auroc


def cohort(seed, *, patients, shift=1.0):
    """Patients of uneven size whose images are alike, scores rounded so that many tie."""
    random = np.random.default_rng(seed)
    size = random.integers(1, 12, patients)
    patient = np.repeat(np.arange(patients), size)
    ill = random.random(patients) < 0.35
    target = np.where(random.random(len(patient)) < 0.8, ill[patient], random.random(len(patient)) < 0.35)
    score = shift * target + random.normal(size=patients)[patient] + 0.7 * random.normal(size=len(patient))
    return target, np.round(score, 1), patient


def test_every_resample_equals_scikit_learn_on_the_drawn_images():
    target, score, patient = cohort(0, patients=40)
    columns = [(target, score), (target, -score), (np.roll(target, 7), np.round(score))]
    ranked = [rank(*column, patient) for column in columns]
    samples = bootstrap(ranked, num_patients=40, resamples=150, seed=5)  # more than two blocks
    counts = patient_resample(5, np.arange(150), num_patients=40)
    for resample in range(150):
        rows = np.repeat(np.arange(len(patient)), counts[resample, patient])
        for column, (target, score) in enumerate(columns):
            assert samples.auroc[resample, column] == pytest.approx(
                roc_auc_score(target[rows], score[rows]), abs=1e-12
            )
            assert samples.partial_auroc[resample, column] == pytest.approx(
                roc_auc_score(target[rows], score[rows], max_fpr=PARTIAL_RATE), abs=1e-12
            )
            assert samples.average_precision[resample, column] == pytest.approx(
                average_precision_score(target[rows], score[rows]), abs=1e-12
            )


def test_a_resample_with_one_class_is_undefined():
    patient = np.arange(6)
    ranked = rank(patient == 0, patient / 6.0, patient)
    samples = bootstrap([ranked], num_patients=6, resamples=500, seed=0)
    counts = patient_resample(0, np.arange(500), num_patients=6)
    one_class = (counts[:, 0] == 0) | (counts[:, 0] == 6)
    np.testing.assert_array_equal(np.isnan(samples.auroc[:, 0]), one_class)
    np.testing.assert_array_equal(np.isnan(samples.average_precision[:, 0]), one_class)
    assert 0.25 < np.mean(one_class) < 0.42  # (5 / 6)**6 is 0.335


def test_resamples_draw_as_many_patients_as_there_are_each_equally_often():
    counts = patient_resample(1, np.arange(4000), num_patients=50)
    assert np.all(np.sum(counts, axis=1) == 50)
    assert np.all(np.abs(np.mean(counts, axis=0) - 1) < 0.08)  # five standard errors of 1 / sqrt(4000)
    assert np.mean(counts == 0) == pytest.approx((1 - 1 / 50) ** 50, abs=0.01)


def test_a_resample_depends_on_its_number_and_the_seed_alone():
    together = patient_resample(7, np.arange(100), num_patients=30)
    alone = patient_resample(7, np.array([83]), num_patients=30)
    np.testing.assert_array_equal(together[83], alone[0])
    assert not np.array_equal(together, patient_resample(8, np.arange(100), num_patients=30))


def test_what_is_measured_block_by_block_is_measured_on_the_whole():
    counts = resample_counts(30, resamples=150, seed=7)
    assert counts.shape == (150, 30)
    assert counts.dtype == np.int32
    np.testing.assert_array_equal(counts, patient_resample(7, np.arange(150), num_patients=30))
    np.testing.assert_array_equal(resample_counts(30, resamples=20, seed=7), counts[:20])
    sizes = []

    def squared(block):
        sizes.append(len(block))
        return block.astype(float) ** 2

    measured = over_resamples(squared, num_patients=30, resamples=150, seed=7)
    np.testing.assert_array_equal(measured, counts**2)
    assert sum(sizes) == 150
    assert max(sizes) < 150  # more than one block, on more than one core where there are some


def test_images_repeated_within_each_patient_change_nothing():
    target, score, patient = cohort(2, patients=30)
    once = bootstrap([rank(target, score, patient)], num_patients=30, resamples=100, seed=0)
    thrice = bootstrap(
        [rank(np.tile(target, 3), np.tile(score, 3), np.tile(patient, 3))],
        num_patients=30,
        resamples=100,
        seed=0,
    )
    np.testing.assert_allclose(once.auroc, thrice.auroc, atol=1e-12)
    np.testing.assert_allclose(once.average_precision, thrice.average_precision, atol=1e-12)


def test_percentiles_leave_undefined_samples_out():
    samples = np.concatenate([np.arange(0, 101) / 100, [np.nan, np.nan]])
    interval = percentile_interval(0.5, samples)
    assert (interval.value, interval.low, interval.high) == pytest.approx((0.5, 0.025, 0.975))


def test_percentiles_of_few_patients_lie_further_out():
    samples = np.arange(0, 100_001) / 100_000
    interval = percentile_interval(0.5, samples, patients=10.0)
    # Student's 2.2622 with 9 degrees of freedom, times sqrt(10 / 9): 2.3845 normal standard errors.
    assert interval.low == pytest.approx(0.00855, abs=2e-5)
    assert interval.high == pytest.approx(1 - interval.low)
    many = percentile_interval(0.5, samples, patients=1e9)
    assert (many.low, many.high) == pytest.approx((0.025, 0.975), abs=1e-5)


@pytest.mark.parametrize(
    ("value", "ends"),
    [
        (0.4, (0.00682, 0.92692)),  # the value is .2533 standard errors below the median of its samples
        (0.6, (0.07308, 0.99318)),
        # As if .5 below: what lies further off is biased by resampling, and the interval extends to it.
        (-1.0, (-1.0, 0.83145)),
    ],
)
def test_percentiles_move_against_the_bias_of_the_samples(value, ends):
    interval = percentile_interval(value, np.arange(0, 100_001) / 100_000)
    assert (interval.low, interval.high) == pytest.approx(ends, abs=2e-5)
    difference = percentile_interval(value, np.arange(0, 100_001) / 100_000, difference=True)
    assert (difference.low, difference.high) == pytest.approx((min(0.025, value), 0.975), abs=2e-5)


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [
        (0.5, 164.557674),
        (1, 12.706205),
        (1.5, 6.016663),
        (2, 4.302653),
        (3, 3.182446),
        (4, 2.776445),
        (10, 2.228139),
        (30, 2.042272),
        (math.inf, 1.959964),
    ],
)
def test_students_quantile_is_that_of_the_tables(freedom, quantile):
    assert student_quantile(0.975, float(freedom)) == pytest.approx(quantile, rel=1e-6)


def test_effective_patients():
    assert effective_patients(np.array([3, 3, 3, 3])) == 4
    assert effective_patients(np.array([7, 0, 0])) == 1
    assert effective_patients(np.array([4, 1, 1])) == 2  # 36 / 18
    assert math.isnan(effective_patients(np.array([0, 0])))


def test_the_class_with_fewer_patients_counts():
    target = np.array([True, True, True, False, False, False])
    ranked = rank(target, np.arange(6.0), np.array([0, 0, 1, 1, 2, 3]))
    assert ranked_patients(ranked) == pytest.approx(9 / 5)
    assert mean_patients([ranked, rank(~target, np.arange(6.0), np.arange(6))]) == pytest.approx(
        2 / (5 / 9 + 1 / 3)
    )


@pytest.mark.parametrize("patients", [1.0, 1.9, math.nan])
def test_one_patient_has_no_interval(patients):
    assert math.isnan(percentile_interval(0.5, np.array([0.4, 0.6]), patients=patients).low)


@pytest.mark.parametrize(("value", "samples"), [(math.nan, [0.5, 0.6]), (0.5, [math.nan])])
def test_what_does_not_exist_has_no_interval(value, samples):
    interval = percentile_interval(value, np.array(samples))
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)
    assert interval.exists == (not math.isnan(value))


def test_an_interval_in_words():
    assert str(Interval(0.81149, 0.80444, 0.8156)) == "0.811 (0.804 to 0.816)"
    assert str(Interval(math.nan, math.nan, math.nan)) == "n/a"
    assert str(Interval(0.5, math.nan, math.nan)) == "0.500 (n/a)"


def test_patients_with_many_like_images_make_the_interval_wider():
    target, score, patient = cohort(11, patients=200)
    image = np.arange(len(target))
    by_patient = bootstrap([rank(target, score, patient)], num_patients=200, resamples=300, seed=0)
    by_image = bootstrap([rank(target, score, image)], num_patients=len(image), resamples=300, seed=0)
    assert np.std(by_patient.auroc) > 1.4 * np.std(by_image.auroc)


@pytest.mark.slow
@pytest.mark.usefixtures("shapes_unchecked")
def test_intervals_of_few_uneven_patients_hold_the_truth_as_often_as_they_say():
    target, score, _ = cohort(1000, patients=400_000)
    truth = auroc_score(target, score)
    exclusive_lock = plain_held = 0
    for seed in range(1000):
        target, score, patient = cohort(seed, patients=100)
        ranked = rank(target, score, patient)
        samples = weighted_auroc(ranked, resample_counts(100, resamples=400, seed=seed))
        value = auroc_score(target, score)
        interval = percentile_interval(value, samples, patients=ranked_patients(ranked))
        low, high = np.quantile(samples, [0.025, 0.975])
        exclusive_lock += interval.low <= truth <= interval.high
        plain_held += low <= truth <= high
    assert 0.93 <= exclusive_lock / 1000 <= 0.97
    assert plain_held < exclusive_lock


def test_means_over_rows_are_resampled_by_patient():
    random = np.random.default_rng(3)
    patients = [f"p{number}" for number in random.integers(0, 12, 60)]
    values = random.normal(size=(60, 2)) + np.array([[int(name[1:]) for name in patients]] * 2).T
    found = patient_means(values, patients, resamples=100, seed=6)
    names = sorted(set(patients))
    loop = []
    for row in resample_counts(len(names), resamples=100, seed=6):
        rows = np.repeat(np.arange(60), [row[names.index(name)] for name in patients])
        loop.append(values[rows].mean(axis=0))
    few = effective_patients(np.array([patients.count(name) for name in names]))
    for k, interval in enumerate(found):
        expected = percentile_interval(values[:, k].mean(), np.array(loop)[:, k], patients=few)
        assert (interval.value, interval.low, interval.high) == pytest.approx(
            (expected.value, expected.low, expected.high)
        )
