"""Calibration at a site: beside slow twins, with intervals that cover, and with what cannot be said."""

import math

import numpy as np
import pytest
from scipy import stats

from thorax.calibration import sigmoid
from thorax.evaluation.calibration.adjust import FindingLabels, LogitAdjustment, choose_adjustment
from thorax.evaluation.calibration.logistic import fit_logistic, log_loss
from thorax.evaluation.calibration.site import (
    _order,
    in_the_large,
    measure_site,
    observed_expected,
    slope_interval,
)
from thorax.evaluation.labeled_images import LabeledImages
from thorax.findings import NO_FINDING, parse_findings

MASS, NODULE = parse_findings(["Mass", "Nodule"])


def drawn(seed, patients=120, *, base=-2.0, shift=0.0, slope=1.0):
    """Labels of images of patients with one to four images each, and the logits of a model."""
    draw = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), draw.integers(1, 5, patients))
    logits = base + draw.normal(size=patients)[patient] + 0.8 * draw.normal(size=len(patient))
    truth = shift + slope * logits + 0.5 * draw.normal(size=patients)[patient]
    return draw.random(len(patient)) < sigmoid(truth), logits, patient


def cohort(targets, patient, findings):
    return LabeledImages(
        images=[f"{number}.png" for number in range(len(patient))],
        patients=[f"p{number}" for number in patient],
        targets=np.asarray(targets, np.int8),
        findings=findings,
    )


# ---- observed over expected, calibration in the large ---------------------------------------------------


def test_the_ratio_and_its_interval_as_computed_patient_by_patient():
    present, logits, patient = drawn(1)
    probability = sigmoid(logits)
    ratio = observed_expected(present, probability, patient)
    assert ratio.value == pytest.approx(present.sum() / probability.sum())
    squares, sizes = 0.0, []
    for number in range(120):
        own = patient == number
        sizes.append(own.sum())
        squares += (present[own].sum() - ratio.value * probability[own].sum()) ** 2
    effective = sum(sizes) ** 2 / sum(size**2 for size in sizes)
    inflation = max(
        squares * 120 / 119 / present.sum(), np.sum(probability * (1 - probability)) / probability.sum()
    )
    student = stats.t.ppf(0.975, effective - 1) / stats.norm.ppf(0.975)
    count = present.sum() / (inflation * student**2)
    low = stats.chi2.ppf(0.025, 2 * count) / 2 / count * ratio.value
    high = stats.chi2.ppf(0.975, 2 * count + 2) / 2 / count * ratio.value
    assert (ratio.low, ratio.high) == pytest.approx((low, high))


def test_where_nothing_is_observed_only_the_upper_end_says_anything():
    logits, patient = np.full(40, -3.0), np.arange(40)
    nothing = np.zeros(40, bool)
    ratio = observed_expected(nothing, sigmoid(logits), patient)
    assert (ratio.value, ratio.low) == (0, 0)
    student = stats.t.ppf(0.975, 39) / stats.norm.ppf(0.975)
    assert ratio.high == pytest.approx(-math.log(0.025) * student**2 / (40 * sigmoid(logits)[0]))
    large = in_the_large(logits, ratio)
    assert (large.value, large.low) == (-math.inf, -math.inf)
    assert sigmoid(large.high + logits).sum() == pytest.approx(ratio.high * sigmoid(logits).sum())
    # Two images of each patient that are alike say no more than one.
    twice = observed_expected(np.zeros(80, bool), sigmoid(np.full(80, -3.0)), np.repeat(patient, 2))
    assert twice.high == pytest.approx(ratio.high)
    alone = observed_expected(nothing, sigmoid(logits), np.zeros(40, int))
    assert math.isnan(alone.high)
    every = in_the_large(logits, observed_expected(~nothing, sigmoid(logits), patient))
    assert every.value == math.inf


def test_calibration_in_the_large_is_the_intercept_of_greatest_likelihood():
    for seed in range(3):
        present, logits, patient = drawn(seed, shift=0.6)
        large = in_the_large(logits, observed_expected(present, sigmoid(logits), patient))
        fit = fit_logistic(present, logits, patient, slope=False)
        assert large.value == pytest.approx(fit.intercept, abs=1e-8)
        # Near the normal interval of the sandwich, since positives are many.
        assert large.high - large.low == pytest.approx(2 * 1.98 * fit.intercept_error, rel=0.25)


def test_a_slope_needs_ten_patients_of_either_kind():
    present, logits, patient = drawn(5)
    interval = slope_interval(present, logits, patient)
    fit = fit_logistic(present, logits, patient)
    assert interval.value == fit.slope
    assert interval.low < fit.slope < interval.high
    few = present & np.isin(patient, np.unique(patient[present])[:9])
    assert math.isnan(slope_interval(few, logits, patient).value)
    enough = present & np.isin(patient, np.unique(patient[present])[:10])
    assert not math.isnan(slope_interval(enough, logits, patient).value)


@pytest.mark.slow
@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize(("base", "patients"), [(-4.5, 60), (-3.5, 150), (-1.5, 80)])
def test_intervals_cover_the_truth(base, patients):
    """400 trials; the truth is that of 200,000 patients. Exact limits of few positives cover more."""
    present, logits, patient = drawn(99, 200_000, base=base, shift=0.4, slope=0.8)
    ratio = present.sum() / sigmoid(logits).sum()
    intercept = fit_logistic(present, logits, patient, slope=False).intercept
    slope = fit_logistic(present, logits, patient).slope
    inside, slopes = np.zeros(3), 0
    for seed in range(400):
        present, logits, patient = drawn(seed, patients, base=base, shift=0.4, slope=0.8)
        interval = observed_expected(present, sigmoid(logits), patient)
        large, steep = in_the_large(logits, interval), slope_interval(present, logits, patient)
        inside += [
            interval.low <= ratio <= interval.high,
            large.low <= intercept <= large.high,
            steep.low <= slope <= steep.high,
        ]
        slopes += not math.isnan(steep.value)
    assert 0.93 <= inside[0] / 400 <= 0.995
    assert 0.93 <= inside[1] / 400 <= 0.995
    assert slopes < 50 or 0.92 <= inside[2] / slopes <= 0.99


# ---- adjustments ----------------------------------------------------------------------------------------


def test_the_data_choose_the_smallest_adjustment_that_they_support():
    def chosen(**how):
        return choose_adjustment(FindingLabels(*drawn(3, 600, **how)), "auto")

    fine, shifted, flat = chosen(), chosen(shift=1.0), chosen(slope=0.4)
    assert (fine.kind, fine.intercept, fine.slope) == ("none", 0, 1)
    assert "no evidence that the probabilities are off" in fine.reason
    assert shifted.kind == "intercept"
    assert shifted.intercept == pytest.approx(0.95, abs=0.25)
    assert "no evidence that the slope is not 1" in shifted.reason
    assert flat.kind == "all"
    assert flat.slope == pytest.approx(0.4, abs=0.15)
    assert flat.apply(np.array([1.0])) == pytest.approx(flat.intercept + flat.slope)


def test_without_error_the_data_ask_for_an_adjustment_in_a_twentieth_of_trials():
    """By construction: the labels follow the probabilities exactly."""
    draw, asked = np.random.default_rng(8), 0
    for _ in range(300):
        logits = draw.normal(-1.5, 1, 200)
        present = draw.random(200) < sigmoid(logits)
        asked += choose_adjustment(FindingLabels(present, logits, np.arange(200)), "auto").kind != "none"
    assert 0.02 <= asked / 300 <= 0.09


def test_an_adjustment_that_was_asked_for_is_the_fit_and_is_refused_where_impossible():
    labels = FindingLabels(*drawn(4))
    for kind in ("intercept", "slope", "all"):
        fit = fit_logistic(
            labels.present,
            labels.logits,
            labels.patient,
            intercept=kind != "slope",
            slope=kind != "intercept",
        )
        assert choose_adjustment(labels, kind) == LogitAdjustment(kind, fit.intercept, fit.slope)
    assert choose_adjustment(labels, "none") == LogitAdjustment("none")
    nothing = FindingLabels(np.zeros_like(labels.present), labels.logits, labels.patient)
    assert choose_adjustment(nothing, "intercept").reason.startswith("no finite values fit best")
    inverted = FindingLabels(labels.present, -labels.logits, labels.patient)
    assert "would invert the ranking" in choose_adjustment(inverted, "all").reason
    assert choose_adjustment(inverted, "auto").kind == "none"


# ---- a whole site ---------------------------------------------------------------------------------------


def test_a_site_is_measured_finding_by_finding():
    mass, logits, patient = drawn(10, 300, shift=1.2)
    nodule, others, _ = drawn(10, 300)
    targets = np.stack([mass, nodule, ~(mass | nodule)], axis=1).astype(np.int8)
    targets[::7, 1] = -2
    probabilities = sigmoid(np.stack([logits, others, -logits], axis=1))
    calls = []
    measured = measure_site(
        cohort(targets, patient, (MASS, NODULE, NO_FINDING)), probabilities, repetitions=4,
        progress=lambda done, total: calls.append((done, total)),
    )  # fmt: skip
    first, second, _ = measured.findings
    assert (first.num_known, second.num_known) == (len(patient), np.sum(targets[:, 1] >= 0))
    assert first.num_positive == mass.sum()
    assert first.expected == pytest.approx(probabilities[:, 0].sum())
    assert first.positive_patients == len(set(patient[mass]))
    adjustment = choose_adjustment(FindingLabels(mass, logits, patient), "auto")
    assert first.adjustment.kind == adjustment.kind != "none"
    assert first.adjustment.intercept == pytest.approx(adjustment.intercept)
    assert first.slope.low == pytest.approx(slope_interval(mass, logits, patient).low)
    assert first.log_loss_before == pytest.approx(log_loss(mass, logits))
    assert first.log_loss_change.high < 0
    assert (first.not_said, second.not_said) == ((), ())
    changes = (first.log_loss_change.value + second.log_loss_change.value) / 2
    assert measured.mean_log_loss_change.value == pytest.approx(changes)
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]  # 25, 50, 100 and 200 of 300 patients
    assert [point.num_patients for point in measured.curve] == [25, 50, 100, 200] * 3
    assert [point.rule for point in measured.curve[::4]] == ["auto", "intercept", "all"]
    last = measured.curve[3]
    assert last.change.low <= last.change.value <= last.change.high < 0
    assert last.share_better == 1
    assert measured.patients_needed == 25
    again = measure_site(cohort(targets, patient, (MASS, NODULE, NO_FINDING)), probabilities, repetitions=4)
    assert again == measured


def test_left_out_patients_were_not_fitted_on():
    """The change of each image again, fold by fold, with the fit of the other folds."""
    present, logits, patient = drawn(11, 40, shift=1.5)
    measured = measure_site(
        cohort(present[:, None], patient, (MASS,)), sigmoid(logits)[:, None], rule="all", repetitions=0
    )
    order = np.unique([f"p{number}" for number in range(40)], return_inverse=True)[1]
    fold = (_order(40, 0, 0) % 10)[order][patient]
    assert len({number % 10 for number in range(40)}) == 10
    total = 0.0
    for number in range(10):
        outside = fold == number
        fit = fit_logistic(present[~outside], logits[~outside], patient[~outside])
        after = fit.intercept + fit.slope * logits[outside]
        total += outside.sum() * (
            log_loss(present[outside], after) - log_loss(present[outside], logits[outside])
        )
        assert not set(patient[outside]) & set(patient[~outside])
    assert measured.findings[0].log_loss_change.value == pytest.approx(total / len(patient), abs=1e-9)


def test_what_the_data_cannot_say_is_said():
    targets = np.zeros((29, 2), np.int8)
    targets[:, 1] = -2
    measured = measure_site(cohort(targets, np.arange(29), (MASS, NODULE)), np.full((29, 2), 0.2))
    nothing, unlabeled = measured.findings
    assert "how much too high the probabilities are: no image has the finding" in nothing.not_said
    assert nothing.not_said[1] == (
        "the slope: 0 patients with the finding and 29 without, and at least 10 of each are needed"
    )
    assert nothing.observed_expected.high == pytest.approx(0.694, abs=1e-3)  # of 5.8 expected
    assert nothing.adjustment.kind == "none"
    assert unlabeled.not_said == ("anything: no image has a known label",)
    assert math.isnan(unlabeled.observed_expected.value)
    assert math.isnan(unlabeled.log_loss_before)
    assert measured.curve == ()
    assert measured.no_curve == "29 patients are too few for a curve: it needs 67 to try 25 and 50"
    assert measured.patients_needed is None
    every = measure_site(cohort(1 + 0 * targets[:, :1], np.arange(29), (MASS,)), np.full((29, 1), 0.2))
    assert every.findings[0].not_said[0].startswith("how much too low")
