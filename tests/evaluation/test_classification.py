import csv
import gzip
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from thorax.arrays import NOT_LABELED, UNCERTAIN
from thorax.errors import DataError
from thorax.evaluation.classification import (
    AVERAGES,
    RATES,
    REPORT_RATES,
    Confusion,
    classify,
    rates_of,
)
from thorax.evaluation.decisions import LabeledPredictions, binarize
from thorax.evaluation.statistics.intervals import (
    effective_patients,
    f1_interval,
    percentile_interval,
    resample_counts,
    share_interval,
)
from thorax.findings import NIH14, NO_FINDING, find_finding

EDEMA, HERNIA, MASS = find_finding("Edema"), find_finding("Hernia"), find_finding("Mass")
THREE = (EDEMA, HERNIA, MASS)
AS_SCIKIT_LEARN = {"ppv": 0, "sensitivity": 1, "f1": 2}


def readings(seed=0, *, images=60, findings=THREE, unsure=False):
    random = np.random.default_rng(seed)
    shape = (images, len(findings))
    targets = (random.random(shape) < 0.3).astype(np.int8)
    probabilities = np.round(0.6 * random.random(shape) + 0.3 * targets, 2)
    if unsure:
        targets[random.random(shape) < 0.2] = UNCERTAIN
        targets[random.random(shape) < 0.2] = NOT_LABELED
    return LabeledPredictions(
        targets=targets,
        probabilities=probabilities,
        decisions=binarize(probabilities, [0.5] * len(findings)),
        patients=[f"p{number}" for number in random.integers(0, images // 3, images)],
        findings=findings,
    )


def replaced(these, **changes):
    fields = ("targets", "probabilities", "decisions", "patients", "findings")
    return LabeledPredictions(**{name: getattr(these, name) for name in fields} | changes)


def repeated(these, counts):
    """The images of a resample, each as often as its patient was drawn."""
    rows = np.repeat(np.arange(len(these.targets)), counts[these.patient_numbers])
    patients = np.asarray(these.patients)[rows].tolist()
    return replaced(
        these,
        targets=these.targets[rows],
        probabilities=these.probabilities[rows],
        decisions=these.decisions[rows],
        patients=patients,
    )


def values(classification):
    """Every number of a classification, by name."""
    found = {
        (each.finding.name, rate): measure.interval.value
        for each in classification.findings
        for rate, measure in each.rates.items()
    }
    for average, rates in classification.averages.items():
        found |= {(average, rate): measure.interval.value for rate, measure in rates.items()}
    return found | {
        ("exact match", ""): classification.exact_match.interval.value,
        ("hamming", ""): classification.hamming_loss.interval.value,
    }


def slow_rates(target, called):
    """Slow and obvious: count, and divide where there is something to divide by."""
    pairs = list(zip(target, called, strict=True))
    hit, alarm, miss, clear = (pairs.count(pair) for pair in ((1, 1), (0, 1), (1, 0), (0, 0)))

    def share(part, whole):
        return part / whole if whole else math.nan

    return {
        "sensitivity": share(hit, hit + miss),
        "specificity": share(clear, clear + alarm),
        "ppv": share(hit, hit + alarm),
        "npv": share(clear, clear + miss),
        "f1": share(hit, hit + (alarm + miss) / 2),
        "accuracy": share(hit + clear, len(pairs)),
        "all_negative_accuracy": share(alarm + clear, len(pairs)),
    }


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**16), st.sampled_from([4, 12, 40]))
def test_the_report_is_that_of_scikit_learn(seed, images):
    these = readings(seed, images=images)
    report = classify(these, resamples=1)
    alone = sklearn_metrics.precision_recall_fscore_support(
        these.targets, these.decisions, average=None, zero_division=np.nan
    )
    for average in AVERAGES:
        expected = sklearn_metrics.precision_recall_fscore_support(
            these.targets, these.decisions, average=average, zero_division=np.nan
        )
        for rate, column in AS_SCIKIT_LEARN.items():
            if average == "weighted" and these.targets[:, ~np.isnan(alone[column])].sum() == 0:
                continue  # scikit-learn then takes the plain mean; a mean with no weight is none
            measured = report.averages[average][rate].interval.value
            assert measured == pytest.approx(expected[column], abs=1e-12, nan_ok=True)
    for k, finding in enumerate(report.findings):
        for rate, column in AS_SCIKIT_LEARN.items():
            assert finding.rates[rate].interval.value == pytest.approx(alone[column][k], nan_ok=True)
        assert finding.rates["accuracy"].interval.value == pytest.approx(
            sklearn_metrics.accuracy_score(these.targets[:, k], these.decisions[:, k])
        )
        assert finding.rates["all_negative_accuracy"].interval.value == pytest.approx(
            1 - np.mean(these.targets[:, k])
        )
    assert report.exact_match.interval.value == pytest.approx(
        sklearn_metrics.accuracy_score(these.targets, these.decisions)
    )
    assert report.hamming_loss.interval.value == pytest.approx(
        sklearn_metrics.hamming_loss(these.targets, these.decisions)
    )
    assert report.support == these.targets.sum()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**16), st.sampled_from([3, 4, 12, 40]))
def test_averages_with_zeros_are_scikit_learns_classification_report(seed, images):
    """As the projects print it: precision, recall and F1 that are undefined count as 0."""
    these = readings(seed, images=images)
    these = replaced(
        these, decisions=binarize(these.probabilities, [0.5, 1.1, 0.8])
    )  # Hernia is never called
    expected = sklearn_metrics.classification_report(
        these.targets, these.decisions, zero_division=0, output_dict=True
    )
    report = classify(these, resamples=1)
    names = {"ppv": "precision", "sensitivity": "recall", "f1": "f1-score"}
    for average in AVERAGES:
        for rate in REPORT_RATES:
            measure = report.zero_averages[average][rate]
            assert measure.interval.value == pytest.approx(
                expected[f"{average} avg"][names[rate]], abs=1e-12
            ), (average, rate)
    assert [report.zero_averages["samples"][rate].over for rate in REPORT_RATES] == [images] * 3
    assert [report.zero_averages["macro"][rate].over for rate in REPORT_RATES] == [3] * 3
    called = these.decisions.any(axis=1)
    assert report.averages["samples"]["ppv"].over == called.sum()


def test_averages_with_zeros_leave_out_what_has_no_decisions():
    these = replaced(readings(0), decisions=binarize(readings(0).probabilities, [None, 0.5, None]))
    report = classify(these, resamples=1)
    assert report.zero_averages["macro"]["ppv"].over == 1
    none = classify(replaced(these, decisions=np.full_like(these.decisions, NOT_LABELED)), resamples=1)
    for average in AVERAGES:
        assert math.isnan(none.zero_averages[average]["f1"].interval.value)


def test_the_intervals_of_averages_with_zeros_are_those_of_a_loop_over_resamples():
    these = readings(3, unsure=True)
    these = replaced(these, decisions=binarize(these.probabilities, [0.5, 0.85, 0.8]))
    report = classify(these, resamples=25, seed=7)
    counts = resample_counts(classify(these, resamples=1).num_patients, resamples=25, seed=7)
    loop = [classify(repeated(these, row), resamples=1).zero_averages for row in counts]
    images = effective_patients(np.unique(np.asarray(these.patients), return_counts=True)[1])
    for average in ("macro", "weighted", "samples"):
        for rate in REPORT_RATES:
            measure = report.zero_averages[average][rate]
            samples = np.array([each[average][rate].interval.value for each in loop])
            expected = percentile_interval(measure.interval.value, samples, patients=images)
            assert (measure.interval.low, measure.interval.high) == pytest.approx(
                (expected.low, expected.high), abs=1e-12
            )


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**16))
def test_only_sure_labels_and_calls_count(seed):
    these = readings(seed, unsure=True)
    these = replaced(these, decisions=binarize(these.probabilities, [0.5, None, 0.4]))
    report = classify(these, resamples=1)
    for k, finding in enumerate(report.findings):
        rows = (these.targets[:, k] >= 0) & (these.decisions[:, k] >= 0)
        slow = slow_rates(these.targets[rows, k], these.decisions[rows, k])
        assert {name: measure.interval.value for name, measure in finding.rates.items()} == pytest.approx(
            slow, nan_ok=True
        )
    complete = np.all(these.targets[:, [0, 2]] >= 0, axis=1)
    right = np.all(these.targets[:, [0, 2]] == these.decisions[:, [0, 2]], axis=1)
    assert report.exact_match.over == complete.sum()
    assert report.exact_match.interval.value == pytest.approx(np.mean(right[complete]))
    assert report.averages["macro"]["sensitivity"].over == 2
    assert (
        report.hamming_loss.over
        == report.averages["micro"]["accuracy"].over
        == (these.targets[:, [0, 2]] >= 0).sum()
    )
    assert report.hamming_loss.interval.value == pytest.approx(
        1 - report.averages["micro"]["accuracy"].interval.value
    )


def test_intervals_of_averages_are_those_of_a_loop_over_resamples():
    these = readings(3, unsure=True)
    report = classify(these, resamples=25, seed=7)
    counts = resample_counts(classify(these, resamples=1).num_patients, resamples=25, seed=7)
    loop = [values(classify(repeated(these, row), resamples=1)) for row in counts]
    images = effective_patients(np.unique(np.asarray(these.patients), return_counts=True)[1])
    for average in ("macro", "weighted", "samples"):
        for rate in RATES:
            measure = report.averages[average][rate]
            samples = np.array([each[average, rate] for each in loop])
            expected = percentile_interval(measure.interval.value, samples, patients=images)
            assert (measure.interval.low, measure.interval.high) == pytest.approx(
                (expected.low, expected.high), abs=1e-12
            )
            if average == "samples":
                assert measure.undefined_resamples == np.isnan(samples).sum()


def test_intervals_of_rates_count_each_patients_images():
    these = readings(3, unsure=True)
    report = classify(these, resamples=25, seed=7)
    names = sorted(set(these.patients))
    counts = resample_counts(len(names), resamples=25, seed=7)
    loop = [values(classify(repeated(these, row), resamples=1)) for row in counts]
    for k, finding in enumerate(report.findings):
        hits, positives, called_or_ill = (dict.fromkeys(names, 0.0) for _ in range(3))
        for patient, target, called in zip(
            these.patients, these.targets[:, k], these.decisions[:, k], strict=True
        ):
            if target in (0, 1):
                hits[patient] += target == 1 and called == 1
                positives[patient] += target == 1
                called_or_ill[patient] += target == 1 or called == 1
        expected = {
            "sensitivity": share_interval(*(np.array(list(each.values())) for each in (hits, positives))),
            "f1": f1_interval(*(np.array(list(each.values())) for each in (hits, called_or_ill))),
        }
        for rate, interval in expected.items():
            shown = finding.rates[rate].interval
            assert (shown.value, shown.low, shown.high) == pytest.approx(
                (interval.value, interval.low, interval.high), nan_ok=True
            )
        for rate, measure in finding.rates.items():
            samples = [each[finding.finding.name, rate] for each in loop]
            assert measure.undefined_resamples == np.isnan(samples).sum()


def test_worked_by_hand():
    these = LabeledPredictions(
        targets=np.array([[1, 0], [1, 1], [0, 0], [0, 0]], dtype=np.int8),
        probabilities=np.array([[0.9, 0.1], [0.2, 0.2], [0.8, 0.1], [0.1, 0.1]]),
        decisions=np.array([[1, 0], [0, 0], [1, 0], [0, 0]], dtype=np.int8),
        patients=["a", "a", "b", "c"],
        findings=(EDEMA, HERNIA),
    )
    report = classify(these, resamples=10)
    edema, hernia = report.findings
    assert edema.confusion == Confusion(1, 1, 1, 1)
    assert {measure.interval.value for measure in edema.rates.values()} == {0.5}
    assert [measure.over for measure in edema.rates.values()] == [2, 2, 2, 2, 3, 4, 4]
    assert hernia.confusion == Confusion(0, 0, 1, 3)
    assert not hernia.rates["ppv"].interval.exists  # nothing is called
    assert hernia.rates["ppv"].undefined_resamples == 10
    assert (hernia.rates["f1"].interval.value, hernia.rates["npv"].interval.value) == (0.0, 0.75)
    assert report.averages["macro"]["ppv"].interval.value == 0.5
    assert report.averages["macro"]["ppv"].over == 1
    assert report.averages["macro"]["sensitivity"].interval.value == 0.25
    assert report.averages["weighted"]["sensitivity"].interval.value == pytest.approx(1 / 3)
    assert report.averages["micro"]["sensitivity"].interval.value == pytest.approx(1 / 3)
    # By image: 1 of 1, 0 of 2; the other two have no positive.
    assert report.averages["samples"]["sensitivity"].interval.value == 0.5
    assert report.averages["samples"]["sensitivity"].over == 2
    assert (report.exact_match.interval.value, report.hamming_loss.interval.value) == (0.5, 3 / 8)
    assert (report.support, report.num_images, report.num_patients) == (3, 4, 3)


def test_no_finding_is_in_no_average():
    these = readings(5, findings=(EDEMA, NO_FINDING, MASS))
    report = classify(these, resamples=30)
    two = [0, 2]
    without = classify(
        replaced(
            these,
            targets=these.targets[:, two],
            probabilities=these.probabilities[:, two],
            decisions=these.decisions[:, two],
            findings=(EDEMA, MASS),
        ),
        resamples=30,
    )
    assert report.averages == without.averages
    assert (report.exact_match, report.hamming_loss, report.support) == (
        without.exact_match,
        without.hamming_loss,
        without.support,
    )
    assert report.findings[1].rates["accuracy"].interval.exists


def test_without_calls_everything_is_undefined():
    these = readings(6)
    report = classify(replaced(these, decisions=binarize(these.probabilities, [None] * 3)), resamples=5)
    assert all(math.isnan(value) for value in values(report).values())
    assert report.averages["macro"]["f1"].over == 0
    assert report.averages["macro"]["f1"].undefined_resamples == 5


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**16))
def test_neither_order_nor_labels_turned_round_surprise(seed):
    these = readings(8)
    order = np.random.default_rng(seed).permutation(60)
    moved = replaced(
        these,
        targets=these.targets[order],
        probabilities=these.probabilities[order],
        decisions=these.decisions[order],
        patients=[these.patients[row] for row in order],
    )
    first, second = classify(these, resamples=20), classify(moved, resamples=20)
    assert values(first) == pytest.approx(values(second), abs=1e-12)
    assert first.findings == second.findings
    turned = classify(replaced(these, targets=1 - these.targets, decisions=1 - these.decisions), resamples=20)
    for one, other in zip(first.findings, turned.findings, strict=True):
        assert one.rates["sensitivity"] == other.rates["specificity"]
        assert one.rates["ppv"] == other.rates["npv"]
        assert one.rates["accuracy"] == other.rates["accuracy"]


def test_twice_each_image_changes_no_number():
    these = readings(9, unsure=True)
    twice = replaced(
        these,
        targets=np.tile(these.targets, (2, 1)),
        probabilities=np.tile(these.probabilities, (2, 1)),
        decisions=np.tile(these.decisions, (2, 1)),
        patients=[*these.patients, *these.patients],
    )
    one, two = classify(these, resamples=20), classify(twice, resamples=20)
    for first, second in zip(one.findings, two.findings, strict=True):
        for rate in RATES:
            single, double = first.rates[rate].interval, second.rates[rate].interval
            # Images count at most as what they are: where patients seem to agree less than chance has it,
            # twice as many images may count for a little more.
            assert single.low - 1e-9 <= double.low <= double.high <= single.high + 1e-9
            assert double.high - double.low >= 0.85 * (single.high - single.low)
    assert values(one) == pytest.approx(values(two))


def test_rates_of_nothing_are_undefined():
    assert np.isnan(rates_of(np.zeros(4))).all()


def test_calls_reach_their_thresholds():
    probabilities = np.array([[0.5, 0.2, 0.9], [0.4, 0.3, 0.8]])
    assert binarize(probabilities, [0.5, 0.25, None]).tolist() == [[1, 0, NOT_LABELED], [0, 1, NOT_LABELED]]
    with pytest.raises(DataError, match=r"^2 thresholds do not fit 3 findings; give one per finding"):
        binarize(probabilities, [0.5, 0.5])
    with pytest.raises(DataError, match=r"^threshold 1 of 3 is not a number; give None where there is none"):
        binarize(probabilities, [0.5, math.nan, 0.5])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"patients": ["a"]},
            r"^targets, probabilities and decisions of shape \(60, 3\), .* do not fit 1 im",
        ),
        (
            {"probabilities": np.full((60, 3), 2.5)},
            r"^Edema: 180 probabilities are not in \[0, 1\] \(first:",
        ),
        ({"probabilities": np.full((60, 3), math.nan)}, r"^Edema: 180 .* \(first: nan in row 0\); give"),
    ],
)
def test_readings_that_do_not_fit_are_refused(change, message):
    with pytest.raises(DataError, match=message):
        replaced(readings(), **change)


def test_nothing_to_measure_is_refused():
    with pytest.raises(DataError, match=r"^there is nothing to measure: 0 images, 1 findings; choose a part"):
        LabeledPredictions(
            targets=np.zeros((0, 1), dtype=np.int8),
            probabilities=np.zeros((0, 1)),
            decisions=np.zeros((0, 1), dtype=np.int8),
            patients=[],
            findings=(EDEMA,),
        )


def test_a_real_chexnet_at_a_tenth(shared_data):
    with gzip.open(shared_data / "nih-sample" / "Data_Entry_2017_v2020.csv.gz", "rt", newline="") as file:
        labels = {row["Image Index"]: row for row in csv.DictReader(file)}
    with gzip.open(shared_data / "chexnet-predictions" / "predictions.csv.gz", "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    present = [labels[row["Image Index"]]["Finding Labels"].split("|") for row in rows]
    probabilities = np.array([[float(row[f"prob_{finding}"]) for finding in NIH14] for row in rows])
    these = LabeledPredictions(
        targets=np.array([[finding.name in names for finding in NIH14] for names in present], dtype=np.int8),
        probabilities=probabilities,
        decisions=binarize(probabilities, [0.1] * 14),
        patients=[labels[row["Image Index"]]["Patient ID"] for row in rows],
        findings=NIH14,
    )
    report = classify(these, resamples=200)
    assert (report.num_images, report.num_patients) == (11_516, 3_093)
    text = sklearn_metrics.classification_report(
        these.targets, these.decisions, output_dict=True, zero_division=np.nan
    )
    names = {"sensitivity": "recall", "ppv": "precision", "f1": "f1-score"}
    for average in AVERAGES:
        for rate, name in names.items():
            measure = report.averages[average][rate]
            assert measure.interval.value == pytest.approx(text[f"{average} avg"][name], abs=1e-12)
            assert measure.interval.low < measure.interval.value < measure.interval.high
    # "94 % accuracy" is what calling nothing gives.
    accuracy, baseline = (report.averages["macro"][each] for each in ("accuracy", "all_negative_accuracy"))
    assert accuracy.interval.high < 0.94 < baseline.interval.low
