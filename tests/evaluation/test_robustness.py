"""Changes under perturbation: counted by hand, beside slow twins, and intervals that cover."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from thorax.errors import DataError
from thorax.evaluation.labeled_images import LabeledImages
from thorax.evaluation.robustness import measure_robustness, paired_mean
from thorax.evaluation.thresholds import ThresholdSet
from thorax.findings import NO_FINDING, Finding, parse_findings
from thorax.imaging.perturbations import Perturbation

BLUR, NOISE = Perturbation("blur", 0.4), Perturbation("noise", 5.0)
MASS, NODULE = parse_findings(["Mass", "Nodule"])


def labeled(targets, patients, findings):
    return LabeledImages(
        images=[f"{number}.png" for number in range(len(targets))],
        patients=list(patients),
        targets=np.array(targets, np.int8),
        findings=findings,
    )


def at(thresholds, findings):
    return ThresholdSet(
        rule="given", findings=findings, thresholds=tuple(thresholds), chosen_on=None, origin="given"
    )


def clustered(seed, patients=60, findings=3):
    """Images of patients with one to five images each; the changed scores resemble the others."""
    draw = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), draw.integers(1, 6, patients))
    own = draw.normal(size=(patients, findings))[patient]
    latent = 0.7 * own + draw.normal(size=own.shape)
    targets = (latent + draw.normal(size=own.shape) > 1).astype(np.int8)
    before = 1 / (1 + np.exp(-latent))
    after = 1 / (1 + np.exp(-(0.8 * latent + 0.4 * draw.normal(size=own.shape) - 0.2)))
    return (
        labeled(targets, [f"p{number}" for number in patient], parse_findings(["Mass", "Nodule", "Edema"])),
        before,
        after,
    )


def test_flips_as_counted_by_hand():
    findings = (MASS, NODULE, NO_FINDING)
    known = labeled([[1, 0, 0]] * 2 + [[0, 1, 0]] * 2 + [[-2, 0, 1]], "abbcd", findings)
    before = np.array([[0.9, 0.1, 0.1], [0.8, 0.1, 0.9], [0.2, 0.7, 0.1], [0.1, 0.6, 0.1], [0.7, 0.2, 0.9]])
    after = np.array([[0.4, 0.1, 0.9], [0.5, 0.6, 0.1], [0.6, 0.7, 0.9], [0.1, 0.4, 0.9], [0.3, 0.2, 0.1]])
    result = measure_robustness(known, before, [(BLUR, after)], points=at([0.5, 0.5, 0.5], findings))
    mass, nodule, none = (one.changes for one in result.levels[0].findings)
    # Mass: a falls, b stays, b rises, c stays, d falls (its label is unknown, its decision counts).
    assert (mass.flipped.value, mass.to_positive.value, mass.to_negative.value) == (3 / 5, 1 / 5, 2 / 5)
    assert (nodule.flipped.value, nodule.to_positive.value, nodule.to_negative.value) == (2 / 5, 1 / 5, 1 / 5)
    assert none.flipped.value == 1
    mean = result.levels[0].mean  # of Mass and Nodule
    assert (mean.flipped.value, mean.to_positive.value, mean.to_negative.value) == (5 / 10, 2 / 10, 3 / 10)
    assert mass.brier_change.value == pytest.approx(
        np.mean([0.6**2 - 0.1**2, 0.5**2 - 0.2**2, 0.6**2 - 0.2**2, 0.0])
    )
    assert mass.probability_change.value == pytest.approx(np.mean([-0.5, -0.3, 0.4, 0.0]))
    assert mean.brier_change.value == pytest.approx((mass.brier_change.value + nodule.brier_change.value) / 2)
    assert result.num_findings == 2
    assert (result.unchanged[0].num_known, result.unchanged[0].num_positive) == (4, 2)


def test_without_a_change_nothing_changes_and_no_interval_claims_certainty():
    known, before, _ = clustered(0)
    result = measure_robustness(
        known, before, [(BLUR, before.copy())], points=at([0.5, None, 0.5], known.findings)
    )
    level = result.levels[0]
    for changes in (level.mean, *(one.changes for one in level.findings)):
        for change in (changes.auc_change, changes.brier_change, changes.probability_change):
            assert change.value == 0
            assert math.isnan(change.low)
            assert math.isnan(change.high)
    first, without_threshold, _ = (one.changes for one in level.findings)
    assert (first.flipped.value, first.flipped.low) == (0, 0)
    assert 0.02 < first.flipped.high < 0.15  # at 60 patients, about 3 / 60
    assert math.isnan(without_threshold.flipped.value)
    assert level.mean.auc == result.mean_auc


def _auc_change_twin(target, before, after, patient):
    """DeLong's variance of a difference, by patient, from all pairs of images (Obuchowski 1997)."""

    def wins(scores):
        positive, negative = scores[target], scores[~target]
        return (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)

    kernel = wins(after).astype(float) - wins(before)
    value = kernel.mean()
    of_positive, of_negative = patient[target], patient[~target]
    terms = np.zeros((2, patient.max() + 1))
    for number in range(patient.max() + 1):
        terms[0, number] = (kernel[of_positive == number].mean(axis=1) - value).sum() / target.sum()
        terms[1, number] = (kernel[:, of_negative == number].mean(axis=0) - value).sum() / (~target).sum()
    positives, negatives, every = (len(set(which)) for which in (of_positive, of_negative, patient))
    variance = (
        positives / (positives - 1) * np.sum(terms[0] ** 2)
        + negatives / (negatives - 1) * np.sum(terms[1] ** 2)
        + 2 * every / (every - 1) * np.sum(terms[0] * terms[1])
    )
    return value, variance


def _effective(patient):
    count = np.bincount(patient)
    return count.sum() ** 2 / np.sum(count**2)


@pytest.mark.parametrize("seed", range(3))
def test_auc_changes_as_computed_from_all_pairs(seed):
    known, before, after = clustered(seed)
    points = at([0.5] * 3, known.findings)
    result = measure_robustness(known, before, [(BLUR, after), (NOISE, before)], points=points)
    patient = np.unique(known.patients, return_inverse=True)[1]
    values = []
    for k, finding in enumerate(result.levels[0].findings):
        target = known.targets[:, k] == 1
        change = finding.changes.auc_change
        assert change.value == pytest.approx(
            roc_auc_score(target, after[:, k]) - roc_auc_score(target, before[:, k]), abs=1e-12
        )
        value, variance = _auc_change_twin(target, before[:, k], after[:, k], patient)
        patients = min(_effective(patient[target]), _effective(patient[~target]))
        reach = stats.t.ppf(0.975, patients - 1) * math.sqrt(variance)
        assert (change.value, change.low, change.high) == pytest.approx((value, value - reach, value + reach))
        values.append(value)
    assert result.levels[0].mean.auc_change.value == pytest.approx(np.mean(values))
    assert result.levels[1].mean.auc_change.value == 0


def test_paired_means_as_computed_patient_by_patient():
    draw = np.random.default_rng(3)
    patient = np.repeat(np.arange(20), draw.integers(1, 5, 20))
    values, known = draw.normal(size=(len(patient), 2)), draw.random((len(patient), 2)) < 0.8
    values[~known] = 0
    interval = paired_mean(values, known, patient)
    means = [values[known[:, k], k].mean() for k in range(2)]
    error = 0.0
    for number in range(20):
        own = 0.0
        for k in range(2):
            rows = (patient == number) & known[:, k]
            own += (values[rows, k].sum() - rows.sum() * means[k]) / known[:, k].sum() / 2
        error += own**2
    rows = known.any(axis=1)
    patients = len(set(patient[rows]))
    reach = stats.t.ppf(0.975, _effective(patient[rows]) - 1) * math.sqrt(error * patients / (patients - 1))
    assert (interval.value, interval.low, interval.high) == pytest.approx(
        (np.mean(means), np.mean(means) - reach, np.mean(means) + reach)
    )


@pytest.mark.usefixtures("shapes_unchecked")
def test_intervals_of_changes_cover_the_truth():
    """2,000 trials of 40 patients with one to five correlated images each; the truth is from 400,000."""

    def drawn(draw, patients):
        patient = np.repeat(np.arange(patients), draw.integers(1, 6, patients))
        own = draw.normal(size=patients)[patient]
        return patient, 0.3 + own + draw.normal(size=len(own)) ** 2

    draw = np.random.default_rng(18)
    truth = 0.3 + 1.0
    inside = 0
    for _ in range(2000):
        patient, values = drawn(draw, 40)
        interval = paired_mean(values[:, None], np.ones((len(values), 1), bool), patient)
        inside += interval.low <= truth <= interval.high
    assert 0.93 <= inside / 2000 <= 0.97


def test_one_class_one_patient_and_other_thresholds():
    known = labeled([[1], [1], [0]], "abc", (MASS,))
    before, after = np.array([[0.9], [0.8], [0.7]]), np.array([[0.9], [0.6], [0.7]])
    points = at([0.5], (MASS,))
    one_class = measure_robustness(
        labeled([[1], [1], [1]], "abc", (MASS,)), before, [(BLUR, after)], points=points
    )
    assert math.isnan(one_class.mean_auc.value)
    assert math.isnan(one_class.levels[0].mean.auc_change.value)
    assert one_class.levels[0].mean.probability_change.value == pytest.approx(-0.2 / 3)
    assert one_class.num_findings == 0
    alone = measure_robustness(
        labeled([[1], [1], [0]], "aaa", (MASS,)), before, [(BLUR, after)], points=points
    )
    for change in (alone.levels[0].mean.auc_change, alone.levels[0].mean.brier_change):
        assert not math.isnan(change.value)
        assert math.isnan(change.low)
    with pytest.raises(DataError, match="thresholds are of Nodule, and the labels of Mass"):
        measure_robustness(known, before, [], points=at([0.5], (NODULE,)))
    with pytest.raises(DataError, match="give probabilities, not logits"):
        measure_robustness(known, before + 1, [], points=points)
    with pytest.raises(DataError, match=r"probabilities of shape \(3, 2\)"):
        measure_robustness(known, np.hstack([before, after]), [], points=points)


def test_a_finding_without_labels_is_left_out_of_means():
    other = Finding("Cat")
    known = labeled([[1, -2], [0, -2], [1, -2], [0, -2]], "abcd", (MASS, other))
    before = np.array([[0.9, 0.5], [0.8, 0.1], [0.7, 0.3], [0.2, 0.2]])
    after = before[::-1].copy()
    result = measure_robustness(known, before, [(BLUR, after)], points=at([0.5, 0.25], known.findings))
    mass, cat = (one.changes for one in result.levels[0].findings)
    assert math.isnan(cat.auc_change.value)
    assert math.isnan(cat.brier_change.value)
    assert cat.flipped.value == 4 / 4
    assert result.levels[0].mean.brier_change.value == mass.brier_change.value
    assert result.levels[0].mean.auc_change.value == mass.auc_change.value
