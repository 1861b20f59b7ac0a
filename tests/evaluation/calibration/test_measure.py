import csv
import gzip
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from thorax.evaluation.calibration.fit import brier_loss
from thorax.evaluation.calibration.measure import decompose_brier, measure_calibration, reliability_curve
from thorax.evaluation.decisions import LabeledPredictions
from thorax.evaluation.statistics.intervals import wilson_interval
from thorax.findings import NIH14

ONE_EACH = {"equal-width": "uniform", "equal-mass": "quantile"}


def calibrated(seed, *, images=1000):
    random = np.random.default_rng(seed)
    probability = random.random(images) ** 2
    return random.random(images) < probability, probability, np.arange(images)


@pytest.mark.parametrize("spacing", ["equal-width", "equal-mass"])
def test_curves_are_those_of_scikit_learn(spacing):
    target, probability, patient = calibrated(1)
    curve = reliability_curve(target, probability, patient=patient, bins=8, spacing=spacing)
    share, mean = calibration_curve(target, probability, n_bins=8, strategy=ONE_EACH[spacing])
    if spacing == "equal-width":
        assert [each.share_positive.value for each in curve] == pytest.approx(share)
        assert [each.mean_probability for each in curve] == pytest.approx(mean)
    else:  # scikit-learn's quantiles lie between images: an image more or less in a bin of 125
        assert [each.num_images for each in curve] == [125] * 8
        assert [each.mean_probability for each in curve] == pytest.approx(mean, abs=0.005)


def test_a_curve_by_hand():
    target = np.array([True, False, False, True, True])
    probability = np.array([0.05, 0.15, 0.15, 0.95, 1.0])
    first, second, last = reliability_curve(target, probability, patient=np.array([0, 1, 1, 2, 3]))
    assert (first.low, first.high, first.num_images, first.num_patients) == (0.0, 0.1, 1, 1)
    assert (second.num_images, second.num_patients, second.share_positive.value) == (2, 1, 0.0)
    assert (last.low, last.high, last.num_images) == (pytest.approx(0.9), 1.0, 2)
    assert last.mean_probability == pytest.approx(0.975)
    # Two images of one patient, none of them positive, say as much as one.
    assert second.share_positive == wilson_interval(0.0, count=1.0)


def test_equal_mass_keeps_ties_together():
    probability = np.array([0.1] * 7 + [0.2, 0.3, 0.4])
    target = np.arange(10) % 2 == 0
    curve = reliability_curve(target, probability, patient=np.arange(10), bins=5, spacing="equal-mass")
    assert [each.num_images for each in curve] == [8, 2]  # the starts are .1, .1, .1, .1 and .3
    assert [(each.low, each.high) for each in curve] == [(0.1, 0.3), (0.3, 0.4)]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**16), st.sampled_from(["equal-width", "equal-mass"]), st.integers(1, 12))
def test_every_image_is_in_one_bin_and_order_does_not_matter(seed, spacing, bins):
    random = np.random.default_rng(seed)
    probability = random.integers(0, 9, 40) / 8
    target, patient = random.random(40) < 0.5, random.integers(0, 9, 40)
    curve = reliability_curve(target, probability, patient=patient, bins=bins, spacing=spacing)
    order = random.permutation(40)
    moved = reliability_curve(
        target[order], probability[order], patient=patient[order], bins=bins, spacing=spacing
    )
    assert sum(each.num_images for each in curve) == 40
    assert sum(each.num_images * each.share_positive.value for each in curve) == pytest.approx(target.sum())
    assert all(each.low - 1e-12 <= each.mean_probability <= each.high + 1e-12 for each in curve)
    for one, other in zip(curve, moved, strict=True):
        assert one.num_images == other.num_images
        assert one.share_positive.low == pytest.approx(other.share_positive.low)
        assert 0 <= one.share_positive.low <= one.share_positive.value <= one.share_positive.high <= 1


def test_images_of_their_own_patients_have_hardly_more_than_wilsons_interval():
    target, probability, patient = calibrated(2, images=300)
    for each in reliability_curve(target, probability, patient=patient):
        share = each.share_positive
        expected = wilson_interval(share.value, count=float(each.num_images))
        assert share.low <= expected.low + 1e-9
        assert share.high >= expected.high - 1e-9
        assert share.high - share.low < 1.35 * (expected.high - expected.low)


def test_patients_whose_images_are_alike_count_once():
    target, probability, patient = calibrated(3, images=300)
    plain = reliability_curve(target, probability, patient=patient)
    fourfold = reliability_curve(np.tile(target, 4), np.tile(probability, 4), patient=np.tile(patient, 4))
    for one, four in zip(plain, fourfold, strict=True):
        assert (four.share_positive.low, four.share_positive.high) == pytest.approx(
            (one.share_positive.low, one.share_positive.high)
        )
        assert (four.num_images, four.num_patients) == (4 * one.num_images, one.num_patients)


def test_brier_parts_add_up():
    target, probability, _ = calibrated(4)
    parts = decompose_brier(target, probability)
    assert parts.loss == pytest.approx(brier_score_loss(target, probability))
    assert parts.uncertainty == pytest.approx(np.var(target))
    assert parts.loss == pytest.approx(
        parts.reliability_loss - parts.resolution + parts.uncertainty + parts.within_bins
    )
    assert abs(parts.within_bins) < 0.002
    assert parts.reliability_loss < 0.005  # made to be calibrated
    assert parts.skill == pytest.approx(1 - brier_loss(target, probability) / np.var(target))


def test_brier_parts_by_hand():
    # Two values, nothing hidden within bins. .2: 1 of 4; .8: 4 of 4.
    target = np.array([True, False, False, False, True, True, True, True])
    probability = np.array([0.2] * 4 + [0.8] * 4)
    parts = decompose_brier(target, probability, bins=10)
    assert parts.reliability_loss == pytest.approx((0.05**2 + 0.2**2) / 2)
    assert parts.resolution == pytest.approx(0.375**2)
    assert parts.uncertainty == pytest.approx(5 / 8 * 3 / 8)
    assert parts.within_bins == pytest.approx(0, abs=1e-15)
    assert math.isnan(decompose_brier(np.ones(3, dtype=bool), np.full(3, 0.4)).skill)


def test_nothing_has_no_reliability():
    nothing = np.zeros(0, dtype=bool), np.zeros(0)
    assert reliability_curve(*nothing, patient=np.zeros(0, dtype=np.int64)) == ()
    assert math.isnan(decompose_brier(*nothing).loss)


def readings(targets, probabilities, patients):
    """Calibration needs no decisions."""
    return LabeledPredictions(
        targets=targets.astype(np.int8),
        probabilities=probabilities,
        decisions=np.full(targets.shape, -1, np.int8),
        patients=patients,
        findings=NIH14[: targets.shape[1]],
    )


def calibrated_readings(seed, *, patients, findings):
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), random.integers(1, 4, patients))
    probabilities = 1 / (1 + np.exp(2.0 - random.normal(size=(len(patient), findings))))
    return readings(random.random(probabilities.shape) < probabilities, probabilities, patient)


@pytest.mark.parametrize("patients", [40, 300])
def test_attack_n1_no_calibration_error_lies_outside_its_interval(patients):
    """The mean of 14 findings was .003 with an interval from .004 to .005."""
    measured = measure_calibration(calibrated_readings(1, patients=patients, findings=14), resamples=200)
    for error in (measured.macro_ece, *(finding.ece for finding in measured.findings)):
        assert 0 <= error.low <= error.value <= error.high <= 1
        assert error.low < error.high
    assert measured.macro_ece.low == 0  # nothing says that these probabilities are wrong


@pytest.mark.usefixtures("shapes_unchecked")
def test_a_calibrated_model_may_have_no_calibration_error():
    """Before, 0 was inside in none of these trials."""
    held = [
        measure_calibration(
            calibrated_readings(seed, patients=60, findings=1), resamples=100, seed=seed
        ).macro_ece.low
        == 0
        for seed in range(100)
    ]
    assert np.mean(held) >= 0.9


def test_a_wrong_model_has_a_calibration_error():
    random = np.random.default_rng(3)
    probabilities = random.random((2000, 1))
    wrong = readings(random.random((2000, 1)) < probabilities**2, probabilities, np.arange(2000))
    (finding,) = measure_calibration(wrong, resamples=200).findings
    assert 0.1 < finding.ece.low < finding.ece.value < finding.ece.high < 0.25
    assert finding.ece.value == pytest.approx(1 / 2 - 1 / 3, abs=0.03)


def test_noise_is_told_from_error_by_halving_the_patients():
    """The lower end starts where the mean over many ways to halve the patients lies."""
    measured = calibrated_readings(4, patients=200, findings=1)
    patient, probability = measured.patient_numbers, measured.probabilities[:, 0]
    excess = probability - measured.targets[:, 0]
    bins = np.minimum((probability * 15).astype(int), 14)
    by_patient = np.zeros((200, 15))
    np.add.at(by_patient, (patient, bins), excess)
    random, halved = np.random.default_rng(5), []
    for _ in range(4000):
        order = random.permutation(200)
        signs, sizes = by_patient[order[:100]].sum(axis=0), by_patient[order[100:]].sum(axis=0)
        halved.append(np.sum(np.sign(signs) * 2 * sizes) / len(patient))
    (finding,) = measure_calibration(measured, resamples=300).findings
    reach = finding.ece.high - finding.ece.value
    assert finding.ece.low == max(finding.ece.low, 0.0)
    assert finding.ece.value > np.mean(halved) + 0.5 * reach
    assert finding.ece.low == pytest.approx(max(np.mean(halved) - reach, 0.0), abs=0.003)


def test_one_patient_and_certain_labels_have_no_interval():
    one = measure_calibration(readings(np.ones((3, 1)), np.full((3, 1), 0.4), np.zeros(3, int)), resamples=9)
    assert one.findings[0].ece.value == pytest.approx(0.6)
    assert math.isnan(one.findings[0].ece.low)
    certain = measure_calibration(
        readings(np.array([[1.0], [0.0]]), np.array([[1.0], [0.0]]), np.arange(2)), resamples=9
    )
    assert certain.macro_ece.value == 0
    assert math.isnan(certain.macro_ece.low)


def test_attack_n1_on_a_real_chexnet_recalibrated(shared_data):
    """The mean error was .0035, with an interval from .0038 to .0050."""
    with gzip.open(shared_data / "nih-sample" / "Data_Entry_2017_v2020.csv.gz", "rt", newline="") as file:
        labels = {row["Image Index"]: row for row in csv.DictReader(file)}
    with gzip.open(shared_data / "chexnet-predictions" / "predictions.csv.gz", "rt", newline="") as file:
        predicted = list(csv.DictReader(file))
    rows = [labels[row["Image Index"]] for row in predicted]
    targets = np.array([[f.name in row["Finding Labels"].split("|") for f in NIH14] for row in rows])
    probabilities = np.array([[float(row[f"prob_{finding}"]) for finding in NIH14] for row in predicted])
    logits = np.log(np.clip(probabilities, 1e-6, None) / (1 - np.clip(probabilities, None, 1 - 1e-6)))
    platt = [
        LogisticRegression(C=1e9).fit(logit[:, None], target).predict_proba(logit[:, None])[:, 1]
        for logit, target in zip(logits.T, targets.T, strict=True)
    ]
    patients = [row["Patient ID"] for row in rows]
    measured = measure_calibration(readings(targets, np.stack(platt, axis=1), patients), resamples=200)
    assert measured.macro_ece.value < 0.01
    for error in (measured.macro_ece, *(finding.ece for finding in measured.findings)):
        assert error.low <= error.value <= error.high
