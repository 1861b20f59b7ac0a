import csv
import gzip
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from thorax.errors import DataError
from thorax.evaluation.statistics.delong import AucCovariance, auc_contrast, auc_covariance, auc_interval
from thorax.evaluation.statistics.intervals import bootstrap
from thorax.evaluation.statistics.ranking import rank


def wins(target, score):
    """Slow and obvious: 1 where the row's positive beats the column's negative, 1/2 for a tie."""
    positive, negative = score[target][:, None], score[~target][None, :]
    return (positive > negative) + 0.5 * (positive == negative)


def delong_by_definition(target, scores):
    """DeLong, DeLong and Clarke-Pearson 1988, equations 4 to 6, images as units."""
    tables = [wins(target, score) for score in scores]
    of_positives = np.cov([table.mean(axis=1) for table in tables])
    of_negatives = np.cov([table.mean(axis=0) for table in tables])
    return of_positives / np.sum(target) + of_negatives / np.sum(~target)


def obuchowski_by_definition(target, scores, patient):
    """Obuchowski 1997, variance and covariance of two readers, with sums over patients as she writes them."""
    positives, negatives = int(np.sum(target)), int(np.sum(~target))
    patients = np.unique(patient)
    sums = []
    for score in scores:
        table = wins(target, score)
        auc = table.mean()
        of_positives = [
            sum(share - auc for share in table.mean(axis=1)[patient[target] == each]) for each in patients
        ]
        of_negatives = [
            sum(share - auc for share in table.mean(axis=0)[patient[~target] == each]) for each in patients
        ]
        sums.append((np.array(of_positives), np.array(of_negatives)))
    i10, i01, i = len(set(patient[target])), len(set(patient[~target])), len(patients)
    matrix = np.empty((len(scores), len(scores)))
    for r, (x_r, y_r) in enumerate(sums):
        for s, (x_s, y_s) in enumerate(sums):
            s10 = i10 / ((i10 - 1) * positives) * np.sum(x_r * x_s)
            s01 = i01 / ((i01 - 1) * negatives) * np.sum(y_r * y_s)
            s11 = i / (i - 1) * np.sum(x_r * y_s)
            s11_turned = i / (i - 1) * np.sum(x_s * y_r)
            matrix[r, s] = s10 / positives + s01 / negatives + (s11 + s11_turned) / (positives * negatives)
    return matrix


@st.composite
def readings(draw):
    """Two scores of the same images with many ties, at least two patients with and two without."""
    size = draw(st.integers(4, 30))
    target = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    target[:4] = [True, False, True, False]
    patient = np.array(draw(st.lists(st.integers(0, 7), min_size=size, max_size=size)))
    patient[:4] = [0, 1, 2, 3]
    scores = draw(st.lists(st.lists(st.integers(0, 5), min_size=size, max_size=size), min_size=2, max_size=2))
    return target, np.array(scores) / 8.0, patient


def covariance(target, scores, unit):
    return auc_covariance([rank(target, score, unit) for score in scores], num_units=int(unit.max()) + 1)


@given(readings())
def test_images_as_units_give_delongs_own_variance(reading):
    target, scores, _ = reading
    measured = covariance(target, scores, np.arange(len(target)))
    np.testing.assert_allclose(measured.covariance, delong_by_definition(target, scores), atol=1e-14)
    expected = [roc_auc_score(target, score) for score in scores]
    np.testing.assert_allclose(measured.auc, expected, atol=1e-12)


@given(readings())
def test_patients_as_units_give_obuchowskis_variance(reading):
    target, scores, patient = reading
    measured = covariance(target, scores, patient)
    np.testing.assert_allclose(
        measured.covariance, obuchowski_by_definition(target, scores, patient), atol=1e-14
    )


@given(readings())
@settings(max_examples=30)
def test_invariances(reading):
    target, scores, patient = reading
    expected = covariance(target, scores, patient)
    order = np.random.default_rng(0).permutation(len(target))
    for same in (
        covariance(target, np.exp(scores), patient),
        covariance(target, 3 * scores - 100, patient),
        covariance(target[order], scores[:, order], patient[order]),
        covariance(target, scores, 9 - patient),
        covariance(np.tile(target, 3), np.tile(scores, 3), np.tile(patient, 3)),  # the same patients
    ):
        np.testing.assert_allclose(same.auc, expected.auc, atol=1e-12)
        np.testing.assert_allclose(same.covariance, expected.covariance, atol=1e-14)
    for turned in (covariance(~target, scores, patient), covariance(target, -scores, patient)):
        np.testing.assert_allclose(turned.auc, 1 - expected.auc, atol=1e-12)
        np.testing.assert_allclose(turned.covariance, expected.covariance, atol=1e-14)


def test_worked_by_hand():
    # Positives .9 and .4, negatives .5, .3, .1: shares beaten 1 and 2/3, shares beating 1/2, 1, 1.
    target = np.array([True, False, True, False, False])
    score = np.array([0.9, 0.5, 0.4, 0.3, 0.1])
    measured = covariance(target, [score], np.arange(5))
    assert measured.auc == pytest.approx([5 / 6])
    assert measured.covariance[0, 0] == pytest.approx((1 / 18) / 2 + (1 / 12) / 3)


def test_it_agrees_with_the_bootstrap_of_patients_and_the_plain_one_does_not():
    random = np.random.default_rng(1)
    size = random.integers(1, 12, 400)
    patient = np.repeat(np.arange(400), size)
    target = (random.random(400) < 0.35)[patient]
    score = target + random.normal(size=400)[patient] + 0.5 * random.normal(size=len(patient))
    ranked = rank(target, score, patient)
    resampled = np.std(bootstrap([ranked], num_patients=400, resamples=600, seed=0).auroc)
    by_patient = auc_covariance([ranked], num_units=400).covariance[0, 0]
    by_image = covariance(target, [score], np.arange(len(target))).covariance[0, 0]
    assert math.sqrt(by_patient) == pytest.approx(resampled, rel=0.1)
    assert math.sqrt(by_image) < 0.6 * resampled


def test_both_opinions_agree_on_a_real_model(shared_data):
    folder = shared_data / "chexnet-predictions"
    with gzip.open(shared_data / "nih-sample" / "Data_Entry_2017_v2020.csv.gz", "rt", newline="") as file:
        labels = {row["Image Index"]: row for row in csv.DictReader(file)}
    with gzip.open(folder / "predictions.csv.gz", "rt", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["Image Index"] in labels]
    patient = np.unique([labels[row["Image Index"]]["Patient ID"] for row in rows], return_inverse=True)[1]
    ranked, images = [], []
    for name in ("Cardiomegaly", "Effusion"):
        target = np.array([name in labels[row["Image Index"]]["Finding Labels"].split("|") for row in rows])
        score = np.array([float(row[f"prob_{name}"]) for row in rows])
        ranked.append(rank(target, score, patient))
        images.append(rank(target, score, np.arange(len(rows))))
    patients = int(patient.max()) + 1
    samples = bootstrap(ranked, num_patients=patients, resamples=300, seed=0).auroc
    clustered = auc_covariance(ranked, num_units=patients).covariance
    plain = auc_covariance(images, num_units=len(rows)).covariance
    np.testing.assert_allclose(np.std(samples, axis=0), np.sqrt(np.diag(clustered)), rtol=0.12)
    assert np.all(np.sqrt(np.diag(clustered) / np.diag(plain)) > 1.3)  # what leaving patients out would hide


def test_findings_with_their_own_labels_and_gaps():
    random = np.random.default_rng(2)
    patient = np.repeat(np.arange(60), 3)
    known = random.random((180, 3)) < 0.8
    target = random.random((180, 3)) < [0.5, 0.3, 0.2]
    score = target + random.normal(size=(180, 3))
    ranked = [rank(target[known[:, k], k], score[known[:, k], k], patient[known[:, k]]) for k in range(3)]
    together = auc_covariance(ranked, num_units=60)
    alone = [auc_covariance([each], num_units=60).covariance[0, 0] for each in ranked]
    np.testing.assert_allclose(np.diag(together.covariance), alone, atol=1e-15)
    np.testing.assert_allclose(together.covariance, together.covariance.T, atol=1e-18)
    assert np.all(np.linalg.eigvalsh(together.covariance) > 0)


def test_what_does_not_exist_is_nan_and_spoils_nothing_else():
    patient = np.array([0, 1, 2, 3, 4])
    score = np.array([0.1, 0.9, 0.4, 0.3, 0.6])
    fine = np.array([True, True, False, False, True])
    measured = auc_covariance(
        [rank(fine, score, patient), rank(score > 0.7, score, patient), rank(score > 2, score, patient)],
        num_units=5,
    )
    np.testing.assert_array_equal(np.isnan(measured.auc), [False, False, True])
    # The second has one positive: nothing says how another patient's would rank.
    np.testing.assert_array_equal(np.isnan(measured.covariance), [[0, 1, 1], [1, 1, 1], [1, 1, 1]])
    assert auc_contrast(measured, np.array([1.0, 0.0, 0.0])).interval.value == pytest.approx(2 / 3)
    missing = auc_contrast(measured, np.array([1.0, 0.0, -1.0]))
    assert str(missing.interval) == "n/a"


def test_a_unit_that_does_not_exist_is_refused():
    ranked = rank(np.array([True, False]), np.array([1.0, 0.0]), np.array([0, 5]))
    with pytest.raises(
        DataError, match=r"^a ranked image belongs to unit 5, but there are 5 units, numbered from 0; number"
    ):
        auc_covariance([ranked], num_units=5)


def test_the_interval_of_one_auc_by_hand():
    interval = auc_interval(0.8, 0.04**2)
    reach = 1.959964 * 0.04 / 0.16
    odds = [4 * math.exp(-reach), 4 * math.exp(reach)]
    assert (interval.low, interval.high) == pytest.approx([each / (1 + each) for each in odds], abs=1e-6)
    few = auc_interval(0.8, 0.04**2, patients=11.0)  # Student's quantile with 10 degrees of freedom is 2.228
    assert math.log(few.high / (1 - few.high)) - math.log(4) == pytest.approx(2.228139 * 0.25, abs=1e-4)


@pytest.mark.parametrize(
    ("auc", "variance", "patients"),
    [(1.0, 0.0, 50.0), (0.0, 0.0, 50.0), (math.nan, math.nan, 50.0), (0.7, math.nan, 50.0), (0.7, 0.01, 1.0)],
)
def test_no_interval_where_none_can_be_had(auc, variance, patients):
    interval = auc_interval(auc, variance, patients=patients)
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)


def test_an_auc_near_one_keeps_its_interval_below_one():
    interval = auc_interval(0.999, 0.001**2)
    assert 0.5 < interval.low < 0.999 < interval.high < 1


def test_a_difference_by_hand():
    measured = AucCovariance(auc=np.array([0.84, 0.81]), covariance=np.array([[4e-4, 3e-4], [3e-4, 4e-4]]))
    contrast = auc_contrast(measured, np.array([1.0, -1.0]))
    assert contrast.variance == pytest.approx(2e-4)
    assert contrast.interval.low == pytest.approx(0.03 - 1.959964 * math.sqrt(2e-4), abs=1e-8)


@pytest.mark.parametrize("patients", [5.0, 11.0, 40.0, 500.0])
def test_few_patients_have_students_interval(patients):
    measured = AucCovariance(auc=np.array([0.84, 0.81]), covariance=np.array([[4e-4, 3e-4], [3e-4, 4e-4]]))
    contrast = auc_contrast(measured, np.array([1.0, -1.0]), patients=patients)
    student = stats.t(patients - 1)
    reach = student.ppf(0.975) * math.sqrt(contrast.variance)
    assert contrast.interval.high - 0.03 == pytest.approx(reach, rel=5e-3)


def test_one_patient_says_nothing_of_a_difference():
    measured = AucCovariance(auc=np.array([0.84, 0.81]), covariance=np.array([[4e-4, 3e-4], [3e-4, 4e-4]]))
    contrast = auc_contrast(measured, np.array([1.0, -1.0]), patients=1.0)
    assert math.isnan(contrast.interval.low)


def test_equal_rankings_do_not_differ():
    random = np.random.default_rng(3)
    target, score = random.random(50) < 0.4, random.random(50)
    measured = covariance(target, [score, np.exp(score)], np.arange(50))
    contrast = auc_contrast(measured, np.array([1.0, -1.0]))
    interval = contrast.interval
    assert (interval.value, interval.low, interval.high) == pytest.approx((0.0, 0.0, 0.0), abs=1e-12)


def test_intervals_of_equally_good_models_seldom_exclude_zero():
    excluded = 0
    for seed in range(400):
        random = np.random.default_rng(seed)
        patient = np.repeat(np.arange(80), random.integers(1, 6, 80))
        target = (random.random(80) < 0.4)[patient]
        shared = random.normal(size=80)[patient]
        scores = [target + shared + random.normal(size=len(patient)) for _ in range(2)]
        interval = auc_contrast(covariance(target, scores, patient), np.array([1.0, -1.0])).interval
        excluded += not interval.low <= 0 <= interval.high
    assert 0.02 < excluded / 400 < 0.085  # 0.05 within three standard errors of 0.011
