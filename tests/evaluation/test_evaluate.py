import math

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, f1_score, recall_score, roc_auc_score

from thorax.evaluation.calibration.measure import measure_calibration
from thorax.evaluation.decisions import LabeledPredictions, binarize
from thorax.evaluation.evaluate import Context, EvaluationPlan, evaluate
from thorax.evaluation.inputs.radiologists import read_radiologist_labels
from thorax.evaluation.labeled_images import LabeledImages
from thorax.evaluation.prevalence import StatedPrevalence, predictive_values
from thorax.evaluation.statistics.intervals import (
    effective_patients,
    percentile_interval,
    resample_counts,
    student_quantile,
)
from thorax.evaluation.thresholds import ThresholdSet
from thorax.findings import NIH14, find_finding
from thorax.prediction import ModelIdentity

EDEMA, PNEUMONIA = find_finding("Edema"), find_finding("Pneumonia")
FINDINGS = (EDEMA, PNEUMONIA)


def context(**change):
    values = {
        "split": "nih-official",
        "part": "test",
        "split_sha256": "",
        "images_sha256": "",
        "dataset": "nih-chestxray14",
        "model": ModelIdentity("m", "", calibrated=False),
    }
    return Context(**values | change)


def drawn(images=300, patients=100):
    random = np.random.default_rng(0)
    patient = random.integers(0, patients, images)
    targets = (random.random((images, 2)) < 0.3).astype(np.int8)
    probabilities = np.clip(0.15 + 0.2 * targets + 0.3 * random.random(targets.shape), 0, 1)
    cohort = LabeledImages(
        images=[f"{number}.png" for number in range(images)],
        patients=[f"p{number}" for number in patient],
        targets=targets,
        findings=FINDINGS,
        sexes=["FM"[number % 2] for number in patient],
        ages=np.where(patient % 3 == 0, np.nan, 30.0 + patient % 40),
        views=[["PA", "AP", ""][number % 3] for number in range(images)],
        follow_ups=np.full(images, np.nan),
    )
    return cohort, probabilities


POINTS = ThresholdSet(
    rule="own", findings=FINDINGS, thresholds=(0.4, 0.35), chosen_on=None, origin="thresholds of a file"
)


def test_everything_is_measured_on_the_same_images():
    cohort, probabilities = drawn()
    plan = EvaluationPlan(
        points=(POINTS,),
        prevalence={EDEMA: StatedPrevalence(0.02, "stated")},
        trained={PNEUMONIA: StatedPrevalence(0.1, "training")},
        resamples=50,
    )
    found = evaluate(cohort, probabilities, context(), plan=plan)
    assert [each.points.rule for each in found.points] == ["own", "one-half"]
    called = probabilities >= np.array([0.4, 0.35])
    for k, each in enumerate(found.primary.classification.findings):
        assert each.rates["f1"].interval.value == pytest.approx(f1_score(cohort.targets[:, k], called[:, k]))
    ppv, npv = predictive_values(
        np.array([recall_score(cohort.targets[:, 0], called[:, 0])]),
        np.array([recall_score(cohort.targets[:, 0], called[:, 0], pos_label=0)]),
        prevalence=0.02,
    )
    edema, published_f1 = found.primary.predictive_values
    assert (edema.ppv.value, edema.npv.value) == pytest.approx((ppv[0], npv[0]))
    assert published_f1 is None
    assert found.shift[0] is None
    assert 0 < found.shift[1].prevalence.value <= 1
    groups = {(each.axis, each.name): each for each in found.subgroups}
    assert {axis for axis, _ in groups} == {"sex", "age", "view"}  # follow-up is not known of any image
    women = np.array(cohort.sexes) == "F"
    assert groups["sex", "female"].findings[0].auc.value == pytest.approx(
        roc_auc_score(cohort.targets[women, 0], probabilities[women, 0])
    )
    assert found.radiologists is None
    assert not found.test_tuned


def of_nih14():
    """Images with the labels of NIH's 14 findings, without No Finding."""
    random = np.random.default_rng(1)
    targets = (random.random((90, 14)) < 0.3).astype(np.int8)
    names = [f"{number}.png" for number in range(90)]
    cohort = LabeledImages(images=names, patients=names, targets=targets, findings=NIH14)
    return cohort, random.random((90, 14))


def test_a_mean_of_other_findings_stands_beside_no_published_mean():
    cohort, probabilities = of_nih14()
    fewer, plan = cohort.of_findings(NIH14[:13]), EvaluationPlan(resamples=2)
    found = evaluate(fewer, probabilities[:, :13], context(whole_part=True), plan=plan)
    assert found.published.results == ()


@pytest.mark.parametrize(
    ("change", "kind", "several"),
    [
        ({"whole_part": True}, "official", True),
        ({"whole_part": False}, "other", False),
        ({"whole_part": True, "part": "val"}, "other", False),
        ({"whole_part": True, "dataset": "mine"}, "other", False),
        ({"whole_part": True, "split": "nih-random-patient"}, "random", True),
        ({"split": "", "part": ""}, "other", False),
    ],
)
def test_published_results_stand_beside_a_whole_part_alone(change, kind, several):
    cohort, probabilities = of_nih14()
    found = evaluate(cohort, probabilities, context(**change), plan=EvaluationPlan(resamples=2))
    assert found.published.split == kind
    assert bool(found.published.results) == several
    assert {each.split for each in found.published.results} <= {kind}


def slow_calibration(readings, k, counts):
    """Brier loss and calibration error of one resample, image by image."""
    rows = np.repeat(np.arange(len(readings.targets)), counts[readings.patient_numbers])
    rows = rows[readings.targets[rows, k] >= 0]
    target, probability = readings.targets[rows, k], readings.probabilities[rows, k]
    error = 0.0
    for low in np.arange(15) / 15:
        inside = (probability >= low) & (probability < low + 1 / 15)
        error += abs(np.sum(probability[inside] - target[inside]))
    return brier_score_loss(target, probability), error / len(rows)


def test_calibration_intervals_are_those_of_resampled_images():
    cohort, probabilities = drawn()
    cohort.targets[::7, 1] = -1
    readings = LabeledPredictions(
        targets=cohort.targets,
        probabilities=probabilities,
        decisions=binarize(probabilities, [None, None]),
        patients=cohort.patients,
        findings=FINDINGS,
    )
    measured = measure_calibration(readings, resamples=60, seed=4)
    counts = resample_counts(int(readings.patient_numbers.max()) + 1, resamples=60, seed=4)
    for k, each in enumerate(measured.findings):
        slow = np.array([slow_calibration(readings, k, row) for row in counts])
        images = np.bincount(readings.patient_numbers[cohort.targets[:, k] >= 0])
        few = percentile_interval(each.brier.value, slow[:, 0], patients=effective_patients(images))
        assert (each.brier.low, each.brier.high) == pytest.approx((few.low, few.high))
        count = effective_patients(images)
        reach = student_quantile(0.975, count - 1) / np.sqrt(1 - 1 / count) * np.std(slow[:, 1])
        assert each.ece.high == pytest.approx(each.ece.value + reach)
    assert measured.findings[1].num_known == int(np.sum(cohort.targets[:, 1] >= 0))
    assert measured.macro_brier.value == pytest.approx(
        np.mean([each.brier.value for each in measured.findings])
    )


def test_a_finding_without_labels_has_no_calibration():
    cohort, probabilities = drawn()
    cohort.targets[:, 1] = -2
    found = evaluate(cohort, probabilities, context(), plan=EvaluationPlan(resamples=5))
    first, second = found.calibration.findings
    assert second.num_known == 0
    assert math.isnan(second.brier.value)
    assert second.curve == ()
    assert found.calibration.num_findings == 1
    assert found.calibration.macro_brier.value == pytest.approx(first.brier.value)


def test_a_real_chexnet_against_radiologists(chexnet, shared_data):
    path = shared_data / "radiologist-labels" / "radiologist_labels_google2019.csv.gz"
    few = np.arange(0, len(chexnet.cohort.images), 4)
    found = evaluate(
        chexnet.cohort.take(few),
        chexnet.probabilities[few],
        context(split="", part=""),
        plan=EvaluationPlan(radiologists=read_radiologist_labels(path), resamples=20),
    )
    them = found.radiologists
    assert them.ranking.num_images == them.reference.num_covered > 50
    assert [each.finding.name for each in them.ranking.findings] == [
        "Pneumothorax", "Airspace opacity", "Nodule or Mass"
    ]  # fmt: skip
    assert all(each.auc.value > 0.7 for each in them.ranking.findings)
    assert [each.finding.name for each in them.reference.unscored] == ["Fracture"]
    assert len(found.ranking.findings) == len(NIH14)


def test_without_covered_images_nothing_is_said_against_radiologists(tmp_path):
    (tmp_path / "r.csv").write_text("Image Index,Pneumothorax\nelsewhere.png,YES\n")
    cohort, probabilities = drawn()
    plan = EvaluationPlan(radiologists=read_radiologist_labels(tmp_path / "r.csv"), resamples=2)
    found = evaluate(cohort, probabilities, context(), plan=plan)
    assert found.radiologists.ranking is None
    assert found.radiologists.classification is None
