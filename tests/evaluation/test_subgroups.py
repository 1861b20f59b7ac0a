import csv
import gzip
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import recall_score, roc_auc_score

from thorax.arrays import NOT_LABELED, UNCERTAIN
from thorax.errors import DataError
from thorax.evaluation.decisions import LabeledPredictions, binarize
from thorax.evaluation.statistics.intervals import resample_counts
from thorax.evaluation.subgroups import (
    AGE_BANDS,
    FEWEST_PATIENTS,
    Axis,
    age_axis,
    evaluate_subgroups,
    follow_up_axis,
    sex_axis,
    view_axis,
)
from thorax.findings import NIH14, NO_FINDING, find_finding

EDEMA, MASS = find_finding("Edema"), find_finding("Mass")
FIELDS = ("targets", "probabilities", "decisions", "patients", "findings")


def cohort(seed=0, *, images=400, groups=2, findings=(EDEMA, MASS)):
    """Readings and an axis in which a patient may have images in several groups, and some are not known."""
    random = np.random.default_rng(seed)
    targets = (random.random((images, len(findings))) < 0.4).astype(np.int8)
    targets[random.random(targets.shape) < 0.1] = UNCERTAIN
    probabilities = np.round(0.7 * random.random(targets.shape) + 0.3 * (targets == 1), 2)
    readings = LabeledPredictions(
        targets=targets,
        probabilities=probabilities,
        decisions=binarize(probabilities, [0.5] * len(findings)),
        patients=np.concatenate([np.arange(80), random.integers(0, 80, images - 80)]),
        findings=findings,
    )
    names = tuple(f"group {number}" for number in range(groups))
    return readings, Axis("made up", names, random.integers(-1, groups, images))


def taken(readings, rows):
    return LabeledPredictions(
        **{name: getattr(readings, name)[rows] for name in FIELDS[:4]}, findings=readings.findings
    )


def slow(readings, rows, k):
    """AUC and sensitivity of some images, one after the other, by scikit-learn."""
    rows = np.array([row for row in rows if readings.targets[row, k] >= 0], dtype=int)
    target = readings.targets[rows, k]
    if len(set(target.tolist())) < 2:
        return math.nan, math.nan
    return (
        roc_auc_score(target, readings.probabilities[rows, k]),
        recall_score(target, readings.decisions[rows, k]),
    )


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_values_and_gaps_are_those_of_scikit_learn(groups):
    readings, axis = cohort(1, groups=groups)
    for number, group in enumerate(evaluate_subgroups(readings, [axis])):
        own = np.flatnonzero(axis.group == number)
        rest = np.flatnonzero((axis.group >= 0) & (axis.group != number))
        assert (group.axis, group.name) == ("made up", f"group {number}")
        assert group.num_images == len(own)
        assert group.num_patients == len(set(readings.patients[own]))
        for k, finding in enumerate(group.findings):
            positive = own[readings.targets[own, k] == 1]
            assert finding.num_known == np.sum(readings.targets[own, k] >= 0)
            assert finding.num_positive == len(positive)
            assert finding.num_positive_patients == len(set(readings.patients[positive]))
            auc, sensitivity = slow(readings, own, k)
            assert (finding.auc.value, finding.sensitivity.value) == pytest.approx((auc, sensitivity))
            other_auc, other_sensitivity = slow(readings, rest, k)
            assert finding.auc_gap.value == pytest.approx(auc - other_auc, nan_ok=True)
            assert finding.sensitivity_gap.value == pytest.approx(
                sensitivity - other_sensitivity, nan_ok=True
            )
        if groups > 1:
            assert group.macro_auc.value == pytest.approx(np.mean([f.auc.value for f in group.findings]))
            assert group.macro_auc_gap.value == pytest.approx(
                np.mean([f.auc_gap.value for f in group.findings])
            )
            assert group.num_findings == 2


def resampled_gaps(readings, axis, resamples):
    """AUC and sensitivity of group 0 less those of the rest, on resamples of the patients."""
    gaps = np.empty((resamples, 2))
    for r, row in enumerate(resample_counts(80, resamples=resamples, seed=5)):
        rows = np.repeat(np.arange(len(readings.targets)), row[readings.patient_numbers])
        own, rest = rows[axis.group[rows] == 0], rows[~np.isin(axis.group[rows], (-1, 0))]
        gaps[r] = np.subtract(slow(readings, own, 0), slow(readings, rest, 0))
    return gaps


@pytest.mark.parametrize("alike", [0.0, 2.0])
def test_gaps_are_as_wide_as_resamples_of_patients_say(alike):
    """Where images of a patient are alike, the gap varies less than that of two separate groups would."""
    readings, axis = cohort(2, findings=(EDEMA,))
    level = np.random.default_rng(3).normal(size=80)[readings.patient_numbers]
    logits = readings.targets[:, 0] + alike * level + np.random.default_rng(4).normal(size=400)
    readings.probabilities[:, 0] = 1 / (1 + np.exp(-logits))
    readings.decisions[:, 0] = readings.probabilities[:, 0] > 0.6
    spread = np.std(resampled_gaps(readings, axis, 300), axis=0)
    (finding,) = evaluate_subgroups(readings, [axis])[0].findings
    for gap, error in zip((finding.auc_gap, finding.sensitivity_gap), spread, strict=True):
        assert (gap.high - gap.low) / 2 == pytest.approx(2.0 * error, rel=0.25)


def test_gaps_of_many_groups_have_wider_intervals():
    """Of forty gaps between equal groups, two would exclude 0 by chance."""
    readings, two = cohort(2, groups=2)
    more = [Axis(str(number), two.groups, np.roll(two.group, number)) for number in range(20)]
    alone, together = evaluate_subgroups(readings, [two]), evaluate_subgroups(readings, [two, *more])
    assert (alone[0].gaps.macro_auc, alone[0].gaps.auc, alone[0].gaps.sensitivity) == (1, 2, 2)
    assert (together[0].gaps.macro_auc, together[0].gaps.auc, together[0].gaps.sensitivity) == (21, 42, 42)
    one, other = alone[0], together[0]
    assert one.macro_auc == other.macro_auc  # which is not compared
    ratio = 3.04 / 1.96  # normal quantiles of 1 - .05 / 21 and of .95
    for gap, wider in (
        (one.macro_auc_gap, other.macro_auc_gap),
        (one.findings[0].auc_gap, other.findings[0].auc_gap),
        (one.findings[0].sensitivity_gap, other.findings[0].sensitivity_gap),
    ):
        assert gap.value == wider.value
        assert ratio - 0.1 < (wider.high - wider.low) / (gap.high - gap.low) < ratio + 0.35


def test_three_groups_have_three_gaps():
    readings, axis = cohort(3, groups=3)
    assert evaluate_subgroups(readings, [axis])[0].gaps.macro_auc == 3
    single = Axis("one", ("all",), np.zeros(400, dtype=np.int64))
    group = evaluate_subgroups(readings, [single])[0]
    assert group.gaps.macro_auc == 0
    assert not group.macro_auc_gap.exists


def test_a_side_of_exactly_one_has_an_interval_and_so_has_the_gap():
    readings, axis = cohort(4, findings=(EDEMA,))
    own, sick = axis.group == 0, readings.targets[:, 0] == 1
    readings.decisions[own & sick, 0] = 1
    readings.probabilities[own, 0] = np.where(sick, 0.9, 0.1)[own]
    group = evaluate_subgroups(readings, [axis])[0]
    (finding,) = group.findings
    for interval in (finding.auc, finding.sensitivity):
        assert interval.value == interval.high == 1.0
        assert 0.5 < interval.low < 1.0
    for gap in (finding.auc_gap, finding.sensitivity_gap):
        assert gap.low < gap.value < gap.high


def test_of_two_groups_each_is_the_rest_of_the_other():
    readings, axis = cohort(3)
    one, other = evaluate_subgroups(readings, [axis])
    for first, second in zip(one.findings, other.findings, strict=True):
        assert first.auc_gap.value == -second.auc_gap.value
        assert (first.auc_gap.low, first.auc_gap.high) == pytest.approx(
            (-second.auc_gap.high, -second.auc_gap.low)
        )
    assert one.macro_auc_gap.value == -other.macro_auc_gap.value


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**16))
def test_neither_order_nor_increasing_maps_matter_to_aucs(seed):
    readings, axis = cohort(4, images=200)
    order = np.random.default_rng(seed).permutation(200)
    moved = taken(readings, order)
    moved = LabeledPredictions(
        **{name: getattr(moved, name) for name in FIELDS} | {"probabilities": moved.probabilities**3}
    )
    first = evaluate_subgroups(readings, [axis])
    second = evaluate_subgroups(moved, [Axis(axis.name, axis.groups, axis.group[order])])
    assert first == second


def test_too_few_patients_are_not_available_but_counted():
    readings, _ = cohort(5)
    targets = readings.targets.copy()
    group = np.zeros(400, dtype=np.int64)
    targets[:, 0] = 0
    has_it = np.flatnonzero(readings.patient_numbers < FEWEST_PATIENTS - 1)  # nine patients, many images
    targets[has_it, 0] = 1
    group[200:] = 1
    few = LabeledPredictions(**{name: getattr(readings, name) for name in FIELDS} | {"targets": targets})
    first, _ = evaluate_subgroups(few, [Axis("half", ("one", "two"), group)])
    edema, mass = first.findings
    assert edema.num_positive > edema.num_positive_patients == 9
    assert not edema.auc.exists
    assert not edema.auc_gap.exists
    assert not edema.sensitivity.exists
    assert mass.auc.exists
    assert (first.num_findings, first.macro_auc) == (1, mass.auc)
    targets[:, 0] = np.where(targets[:, 0] == 1, 0, 1)
    turned = LabeledPredictions(**{name: getattr(readings, name) for name in FIELDS} | {"targets": targets})
    first, _ = evaluate_subgroups(turned, [Axis("half", ("one", "two"), group)])
    assert not first.findings[0].auc.exists
    assert first.findings[0].sensitivity.exists


def test_without_an_operating_point_there_is_no_sensitivity():
    readings, axis = cohort(6)
    decisions = readings.decisions.copy()
    decisions[:, 0] = NOT_LABELED
    changed = LabeledPredictions(
        **{name: getattr(readings, name) for name in FIELDS} | {"decisions": decisions}
    )
    group = evaluate_subgroups(changed, [axis])[0]
    assert not group.findings[0].sensitivity.exists
    assert group.findings[0].auc.exists
    assert group.findings[1].sensitivity.exists


def test_no_finding_is_not_in_the_mean():
    readings, axis = cohort(7, findings=(EDEMA, NO_FINDING))
    group = evaluate_subgroups(readings, [axis])[0]
    assert group.num_findings == 1
    assert group.macro_auc == group.findings[0].auc
    assert group.findings[1].auc.exists


def test_axes_divide_as_they_say():
    assert sex_axis(["F", "M", "", "F", "x"]).groups == ("female", "male")
    assert sex_axis(["F", "M", "", "F", "x"]).group.tolist() == [0, 1, -1, 0, -1]
    ages = age_axis(np.array([0.0, 19, 20, 39, 40, 59.9, 60, 79, 80, 95, np.nan]))
    assert ages.groups == AGE_BANDS
    assert ages.group.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, -1]
    assert age_axis(np.array([50.0, 70.0])).groups == ("40 to 59", "60 to 79")
    views = view_axis(["AP", "PA", "", "AP"])
    assert (views.groups, views.group.tolist()) == (("PA", "AP"), [1, 0, -1, 1])
    images = follow_up_axis(np.array([0.0, 1, 7, np.nan]))
    assert (images.groups, images.group.tolist()) == (("first image", "later image"), [0, 1, 1, -1])


def test_nothing_known_gives_no_groups():
    readings, _ = cohort(8)
    assert evaluate_subgroups(readings, [sex_axis([""] * 400)]) == ()


def test_another_number_of_images_is_refused():
    readings, _ = cohort(9)
    with pytest.raises(
        DataError, match=r"^3 images are divided by sex, but 400 were predicted; give both for"
    ):
        evaluate_subgroups(readings, [sex_axis(["F", "M", "F"])])


def test_a_real_chexnet_by_view_and_age(shared_data):
    with gzip.open(shared_data / "nih-sample" / "Data_Entry_2017_v2020.csv.gz", "rt", newline="") as file:
        labels = {row["Image Index"]: row for row in csv.DictReader(file)}
    with gzip.open(shared_data / "chexnet-predictions" / "predictions.csv.gz", "rt", newline="") as file:
        predicted = list(csv.DictReader(file))
    rows = [labels[row["Image Index"]] for row in predicted]
    probabilities = np.array([[float(row[f"prob_{finding}"]) for finding in NIH14] for row in predicted])
    readings = LabeledPredictions(
        targets=np.array(
            [[finding.name in row["Finding Labels"].split("|") for finding in NIH14] for row in rows],
            dtype=np.int8,
        ),
        probabilities=probabilities,
        decisions=binarize(probabilities, [0.1] * 14),
        patients=[row["Patient ID"] for row in rows],
        findings=NIH14,
    )
    pa, ap = evaluate_subgroups(readings, [view_axis([row["View Position"] for row in rows])])
    assert (pa.num_images, ap.num_images) == (6_886, 4_630)
    hernia = ap.findings[-1]
    assert (hernia.num_positive, hernia.auc.exists) == (2, False)
    assert pa.num_findings == ap.num_findings == 13
    ages = np.array([float(row["Patient Age"]) for row in rows])
    bands = evaluate_subgroups(readings, [age_axis(ages)])
    assert sum(band.num_images for band in bands) == 11_516
    by_name = {band.name: band for band in bands}
    assert by_name["20 to 39"].macro_auc_gap.low > 0 > by_name["60 to 79"].macro_auc_gap.high
    assert by_name["80 and over"].num_findings == 0
