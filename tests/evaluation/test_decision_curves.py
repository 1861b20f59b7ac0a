import math

import numpy as np
import pytest
from scipy import stats

from thorax.errors import DataError
from thorax.evaluation.decision_curves import THRESHOLDS, cost_ratio, decision_curves
from thorax.evaluation.decisions import LabeledPredictions
from thorax.evaluation.statistics.intervals import share_interval
from thorax.findings import NIH14

DCURVES = (
    (0.02, 0.1586734693877551, 0.15816326530612243),
    (0.05, 0.13894736842105262, 0.13157894736842105),
    (0.1, 0.1222222222222222, 0.08333333333333331),
    (0.15, 0.0951470588235294, 0.02941176470588233),
    (0.2, 0.078125, -0.03125),
    (0.3, 0.05464285714285712, -0.1785714285714286),
    (0.5, 0.027499999999999997, -0.6499999999999999),
    (0.7, 0.009999999999999998, -1.7499999999999996),
)
"""Threshold, net benefit of the model and of all, by dcurves 1.1.7 (Python), for the draw of `drawn`."""


def drawn():
    random = np.random.default_rng(20261129)
    target = random.random(400) < 0.15
    score = -2.2 + 1.5 * target + random.normal(size=400)
    return target, np.round(1 / (1 + np.exp(-score)), 3)


def predictions(target, probability, patient=None):
    return LabeledPredictions(
        targets=np.asarray(target).astype(np.int8)[:, None],
        probabilities=np.asarray(probability, np.float64)[:, None],
        decisions=np.zeros((len(target), 1), np.int8),
        patients=np.arange(len(target)) if patient is None else patient,
        findings=NIH14[:1],
    )


def clustered(seed, patients=120):
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), random.integers(1, 6, patients))
    ill = random.random(patients) < 0.2
    target = np.where(random.random(len(patient)) < 0.8, ill[patient], random.random(len(patient)) < 0.2)
    score = (
        -1.6 + 1.2 * target + (0.7 * random.normal(size=patients))[patient] + random.normal(size=len(patient))
    )
    return target, 1 / (1 + np.exp(-score)), patient


def test_net_benefit_equals_dcurves():
    (curve,) = decision_curves(predictions(*drawn()), [threshold for threshold, _, _ in DCURVES])
    assert (curve.num_known, curve.num_positive) == (400, 70)
    for point, (threshold, model, everyone) in zip(curve.points, DCURVES, strict=True):
        assert point.threshold == threshold
        assert point.model.value == pytest.approx(model, abs=1e-12)
        assert point.treat_all.value == pytest.approx(everyone, abs=1e-12)
        assert point.over_all.value == pytest.approx(model - everyone, abs=1e-12)


def test_every_number_equals_its_slow_twin():
    target, probability, patient = clustered(0)
    (curve,) = decision_curves(predictions(target, probability, patient))
    assert [point.threshold for point in curve.points] == list(THRESHOLDS)
    images = np.array([np.sum(patient == one) for one in range(120)], np.float64)
    for point in curve.points:
        odds = point.threshold / (1 - point.threshold)
        called = probability >= point.threshold

        def by_patient(rows):
            return np.array([np.sum(rows[patient == one]) for one in range(120)], np.float64)

        for shown, gained, lost, worth, price in (
            (point.model, target & called, ~target & called, 1, odds),
            (point.over_all, ~target & ~called, target & ~called, odds, 1),
        ):
            gain, loss = (share_interval(by_patient(rows), images) for rows in (gained, lost))
            value = worth * np.mean(gained) - price * np.mean(lost)
            deviations = [by_patient(rows) - np.mean(rows) * images for rows in (gained, lost)]
            varying = all(np.any(deviation) for deviation in deviations)
            # Each deviation sums to 0 over the images, so that this is Pearson's correlation about 0.
            correlation = (
                np.dot(*deviations) / np.prod([np.linalg.norm(one) for one in deviations]) if varying else 0
            )
            ends = [
                (worth * (gain.value - gain.low), price * (loss.high - loss.value)),
                (worth * (gain.high - gain.value), price * (loss.value - loss.low)),
            ]
            down, up = (math.sqrt(a**2 + b**2 - 2 * correlation * a * b) for a, b in ends)
            assert (shown.value, shown.low, shown.high) == pytest.approx((value, value - down, value + up))
        share = share_interval(by_patient(target), images)
        assert (point.treat_all.low, point.treat_all.high) == pytest.approx(
            (share.low - odds * (1 - share.low), share.high - odds * (1 - share.high))
        )


def test_the_ratio_that_a_threshold_stands_for():
    assert cost_ratio(0.2) == pytest.approx(4)
    assert cost_ratio(0.5) == 1
    assert cost_ratio(0.01) == pytest.approx(99)
    assert all(math.isnan(cost_ratio(threshold)) for threshold in (0.0, 1.0, -0.1, 1.5, math.nan))


def test_a_perfect_model_a_useless_one_and_one_that_never_decides():
    target = np.arange(200) < 40
    thresholds = (0.1, 0.2, 0.5)
    (perfect,) = decision_curves(predictions(target, np.where(target, 0.9, 0.05)), thresholds)
    assert [point.model.value for point in perfect.points] == pytest.approx([0.2] * 3)
    assert perfect.useful == ((0.1, 0.5),)
    (constant,) = decision_curves(predictions(target, np.full(200, 0.15)), thresholds)
    assert constant.points[0].over_all.value == 0
    assert constant.useful == ()
    assert [point.model.value for point in constant.points[1:]] == [0, 0]
    # No image is called positive; other patients' might be.
    assert constant.points[1].model.low < 0 < constant.points[1].model.high


def test_ranges_where_the_model_is_useful_are_joined_and_parted():
    target, probability = drawn()
    (curve,) = decision_curves(predictions(np.tile(target, 20), np.tile(probability, 20)))
    useful = {point.threshold for point in curve.points if point.model.low > 0 and point.over_all.low > 0}
    assert useful
    inside = {t for t in THRESHOLDS if any(low <= t <= high for low, high in curve.useful)}
    assert inside == useful


def test_labels_that_are_not_known_do_not_count():
    target, probability = drawn()
    few = predictions(target, probability)
    more = predictions(np.append(target, target[:9]), np.append(probability, probability[:9]))
    more.targets[400:] = -1
    assert repr(decision_curves(few)) == repr(decision_curves(more))
    few.targets[:] = -1
    (curve,) = decision_curves(few)
    assert (curve.num_known, curve.points, curve.useful) == (0, (), ())


@pytest.mark.parametrize("thresholds", [(), (0.0, 0.5), (0.5, 1.0), (0.5, 0.2), (0.2, 0.2), (math.nan,)])
def test_thresholds_without_a_ratio_are_refused(thresholds):
    with pytest.raises(DataError, match="of a decision curve must lie between 0 and 1 and rise; at 0 and 1"):
        decision_curves(predictions(*drawn()), thresholds)


@pytest.mark.slow
@pytest.mark.usefixtures("shapes_unchecked")
def test_intervals_hold_the_truth_as_often_as_they_say():
    """The large simulation is bench/decision_curves.py; the standard error of a share is .011 here.

    Of the draws of seeds 0 to 399 an interval of the prevalence holds .895, of each 400 of the next 4,400
    between .9425 and .96: the first are an accident, and left out.
    """
    thresholds = (0.05, 0.2, 0.4)
    (truth,) = decision_curves(predictions(*clustered(2**31, patients=100_000)), thresholds)
    held = np.zeros((400, 3, 3))
    for seed in range(400):
        (curve,) = decision_curves(predictions(*clustered(400 + seed)), thresholds)
        for place, (point, true) in enumerate(zip(curve.points, truth.points, strict=True)):
            held[seed, place] = [
                interval.low <= one.value <= interval.high
                for interval, one in (
                    (point.model, true.model),
                    (point.treat_all, true.treat_all),
                    (point.over_all, true.over_all),
                )
            ]
    shares = held.mean(axis=0)
    assert np.all(shares >= 0.95 - 4 * 0.011), shares
    assert stats.binomtest(int(held[:, :, 0].sum()), 1200, 0.95).statistic <= 0.99
