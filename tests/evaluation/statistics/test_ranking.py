from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from thorax.errors import DataError
from thorax.evaluation.statistics.ranking import (
    PARTIAL_RATE,
    auroc_score,
    average_precision_score,
    compact_points,
    count_by_threshold,
    partial_auroc_score,
    precision_recall_curve,
    rank,
    rank_pooled,
    roc_curve,
    weighted_auroc,
    weighted_scores,
)


def pairwise_auroc(target, score):
    """Slow and obvious: every positive against every negative."""
    won = [
        1.0 if positive > negative else 0.5 if positive == negative else 0.0
        for positive in score[target]
        for negative in score[~target]
    ]
    return sum(won) / len(won)


def pairs_from_ranks(target, score):
    """Mann and Whitney's statistic from mid-ranks, for more images than pairs can be listed of."""
    values, count = np.unique(score, return_counts=True)
    middle = np.cumsum(count) - (count - 1) / 2
    positives = int(np.sum(target))
    ranks = np.sum(middle[np.searchsorted(values, score[target])])
    return (ranks - positives * (positives + 1) / 2) / (positives * (len(target) - positives))


def stepwise_average_precision(target, score):
    """Slow and obvious: precision times gain in recall at every distinct threshold."""
    total, recall_before = 0.0, 0.0
    for threshold in sorted(set(score), reverse=True):
        called = score >= threshold
        recall = np.sum(called & target) / np.sum(target)
        total += (recall - recall_before) * np.sum(called & target) / np.sum(called)
        recall_before = recall
    return total


@st.composite
def labels_and_scores(draw, *, values=6):
    """Both classes, and few enough different scores that ties are the rule."""
    size = draw(st.integers(2, 30))
    target = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    target[0], target[1] = True, False
    score = draw(st.lists(st.integers(0, values), min_size=size, max_size=size))
    return np.array(target), np.array(score) / 8.0


@given(labels_and_scores())
def test_auroc_equals_its_slow_twin_and_scikit_learn(pair):
    target, score = pair
    assert auroc_score(target, score) == pytest.approx(pairwise_auroc(target, score), abs=1e-12)
    assert auroc_score(target, score) == pytest.approx(
        sklearn_metrics.roc_auc_score(target, score), abs=1e-12
    )


@given(labels_and_scores())
def test_average_precision_equals_its_slow_twin_and_scikit_learn(pair):
    target, score = pair
    assert average_precision_score(target, score) == pytest.approx(
        stepwise_average_precision(target, score), abs=1e-12
    )
    assert average_precision_score(target, score) == pytest.approx(
        sklearn_metrics.average_precision_score(target, score), abs=1e-12
    )


@given(labels_and_scores())
def test_invariances(pair):
    target, score = pair
    order = np.random.default_rng(0).permutation(len(target))
    for metric in (auroc_score, average_precision_score):
        value = metric(target, score)
        assert metric(target, np.exp(score)) == value  # any increasing map
        assert metric(target, 3 * score - 100) == value
        assert metric(target[order], score[order]) == value
        assert metric(np.tile(target, 3), np.tile(score, 3)) == pytest.approx(value, abs=1e-12)
        assert metric(target, score.astype(np.float32)) == value  # eighths are exact in both
    assert auroc_score(~target, score) == pytest.approx(1 - auroc_score(target, score), abs=1e-12)
    assert auroc_score(target, -score) == pytest.approx(1 - auroc_score(target, score), abs=1e-12)


RATES = st.one_of(st.floats(0.01, 1), st.sampled_from([0.1, 0.25, 0.5, 1.0]))


@given(labels_and_scores(), RATES)
def test_partial_auroc_equals_scikit_learn(pair, rate):
    target, score = pair
    assert partial_auroc_score(target, score, max_false_positive_rate=rate) == pytest.approx(
        sklearn_metrics.roc_auc_score(target, score, max_fpr=rate), abs=1e-9
    )


@given(labels_and_scores(), RATES)
def test_partial_auroc_is_the_area_under_the_curve_cut_at_the_rate(pair, rate):
    target, score = pair
    curve = roc_curve(target, score)
    x, y = curve.false_positive_rate, curve.true_positive_rate
    inside = x <= rate
    # Of the points at one false positive rate the curve's next step starts at the last, the highest.
    following = np.argmax(~inside) if not np.all(inside) else len(x) - 1
    last = np.flatnonzero(inside)[-1]
    rise = (rate - x[last]) / (x[following] - x[last]) if following > last else 0.0
    area = np.trapezoid(
        np.append(y[inside], y[last] + rise * (y[following] - y[last])), np.append(x[inside], rate)
    )
    standardized = 0.5 * (1 + (area - rate**2 / 2) / (rate - rate**2 / 2))
    assert partial_auroc_score(target, score, max_false_positive_rate=rate) == pytest.approx(
        standardized, abs=1e-9
    )


def test_partial_auroc_by_hand():
    target = np.array([True, False, True, False])
    score = np.array([0.9, 0.5, 0.5, 0.1])
    # Up at once to 1/2, then along the tie to (1/2, 1): the area up to 1/4 is 1/4 * (1/2 + 3/4) / 2.
    area, random, perfect = 0.25 * 0.625, 0.25**2 / 2, 0.25
    assert partial_auroc_score(target, score, max_false_positive_rate=0.25) == pytest.approx(
        0.5 * (1 + (area - random) / (perfect - random))
    )


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.5, np.nan])
def test_a_rate_that_bounds_nothing_is_refused(rate):
    with pytest.raises(
        DataError, match=r"^a false positive rate of .* bounds no area under a ROC curve; give one"
    ):
        partial_auroc_score(np.array([True, False]), np.array([0.2, 0.1]), max_false_positive_rate=rate)


def test_worked_by_hand():
    target = np.array([True, False, True, False])
    score = np.array([0.9, 0.5, 0.5, 0.1])
    # Pairs: .9 wins twice; the .5 ties once and wins once: 3.5 of 4.
    assert auroc_score(target, score) == 0.875
    # Precision 1 at the first; the two at .5 come together: 2 of 3.
    assert average_precision_score(target, score) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


@pytest.mark.parametrize("target", [[True, True], [False, False], []])
@pytest.mark.parametrize(
    "metric",
    [auroc_score, average_precision_score, partial(partial_auroc_score, max_false_positive_rate=0.1)],
)
def test_a_class_that_is_absent_gives_nan(target, metric):
    assert np.isnan(metric(np.array(target, dtype=bool), np.linspace(0, 1, len(target))))


def test_infinite_scores_tie_among_themselves():
    target = np.array([True, False, True, False])
    score = np.array([np.inf, np.inf, -np.inf, -np.inf])
    assert auroc_score(target, score) == 0.5
    assert len(roc_curve(target, score).threshold) == 3


@pytest.mark.parametrize(
    "function", [auroc_score, average_precision_score, roc_curve, precision_recall_curve]
)
def test_a_score_that_is_no_number_is_refused(function):
    with pytest.raises(DataError, match=r"^1 of 3 scores are not a number \(first: position 1\); leave"):
        function(np.array([True, False, True]), np.array([0.2, np.nan, 0.1]))


@given(labels_and_scores(), st.integers(0, 2**32 - 1))
def test_weights_count_images_as_often_as_they_say(pair, seed):
    target, score = pair
    weights = np.random.default_rng(seed).integers(0, 4, (3, len(target))).astype(np.int32)
    ranked = rank(target, score, np.arange(len(target)))
    scores = weighted_scores(ranked, weights)
    partial_auroc = weighted_auroc(ranked, weights, max_false_positive_rate=0.3)
    np.testing.assert_array_equal(weighted_auroc(ranked, weights), scores.auroc)
    for resample in range(3):
        rows = np.repeat(np.arange(len(target)), weights[resample])
        drawn = target[rows], score[rows]
        for found, expected in (
            (scores.auroc, auroc_score(*drawn)),
            (scores.average_precision, average_precision_score(*drawn)),
            (scores.partial_auroc, partial_auroc_score(*drawn, max_false_positive_rate=PARTIAL_RATE)),
            (partial_auroc, partial_auroc_score(*drawn, max_false_positive_rate=0.3)),
        ):
            assert found[resample] == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_units_share_their_weight():
    target = np.array([True, False, False, True])
    score = np.array([0.7, 0.6, 0.8, 0.1])
    ranked = rank(target, score, np.array([0, 0, 1, 1]))
    auroc = weighted_auroc(ranked, np.array([[1, 1], [2, 0]], dtype=np.int32))
    assert auroc.tolist() == [0.25, 1.0]  # without the second unit only .7 against .6 is left


def test_many_rows_are_scored_as_each_alone():
    random = np.random.default_rng(4)
    target, score = random.random(9000) < 0.2, np.round(random.random(9000), 2)
    ranked = rank(target, score, np.arange(9000) // 3)
    weights = random.integers(0, 3, (50, 3000)).astype(np.int32)  # more than are scored together
    scores = weighted_scores(ranked, weights)
    for resample in (0, 21, 22, 49):
        rows = np.repeat(np.arange(9000), weights[resample, np.arange(9000) // 3])
        alone, by_hand = auroc_score(target[rows], score[rows]), pairs_from_ranks(target[rows], score[rows])
        assert scores.auroc[resample] == alone == pytest.approx(by_hand, abs=1e-12)
        assert scores.average_precision[resample] == pytest.approx(
            average_precision_score(target[rows], score[rows]), abs=1e-12
        )


def test_pooled_pairs_give_scikit_learns_micro_averages():
    random = np.random.default_rng(5)
    target = random.random((300, 4)) < [0.4, 0.1, 0.2, 0.02]
    score = np.round(random.random((300, 4)) + 0.3 * target, 1)
    once = np.ones((1, 100), dtype=np.int32)
    everything = rank_pooled(target, score, known=np.ones_like(target), unit=np.repeat(np.arange(100), 3))
    scores = weighted_scores(everything, once)
    expected = sklearn_metrics.roc_auc_score(target, score, average="micro")
    assert scores.auroc[0] == pytest.approx(expected, abs=1e-12)
    assert scores.average_precision[0] == pytest.approx(
        sklearn_metrics.average_precision_score(target, score, average="micro"), abs=1e-12
    )


def test_pooled_pairs_keep_their_patients_and_leave_out_what_is_not_known():
    random = np.random.default_rng(6)
    patient = np.repeat(np.arange(20), 3)
    target, known = random.random((60, 3)) < 0.3, random.random((60, 3)) < 0.7
    score = np.where(known, random.random((60, 3)), np.nan)
    weights = random.integers(0, 3, (5, 20)).astype(np.int32)
    pooled = weighted_auroc(rank_pooled(target, score, known=known, unit=patient), weights)
    for resample in range(5):
        rows = np.repeat(np.arange(60), weights[resample, patient])
        expected = auroc_score(target[rows][known[rows]], score[rows][known[rows]])
        assert pooled[resample] == pytest.approx(expected, abs=1e-12)


@given(labels_and_scores())
def test_curves_equal_scikit_learn(pair):
    target, score = pair
    roc = roc_curve(target, score)
    expected = sklearn_metrics.roc_curve(target, score, drop_intermediate=False)
    for ours, theirs in zip(
        (roc.false_positive_rate, roc.true_positive_rate, roc.threshold), expected, strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
    curve = precision_recall_curve(target, score)
    precision, recall, threshold = sklearn_metrics.precision_recall_curve(target, score)
    np.testing.assert_allclose(curve.precision, precision[::-1], atol=1e-12)
    np.testing.assert_allclose(curve.recall, recall[::-1], atol=1e-12)
    np.testing.assert_array_equal(curve.threshold[1:], threshold[::-1])


@given(labels_and_scores())
def test_areas_under_the_curves_are_the_scores(pair):
    target, score = pair
    roc = roc_curve(target, score)
    assert np.trapezoid(roc.true_positive_rate, roc.false_positive_rate) == pytest.approx(
        auroc_score(target, score), abs=1e-12
    )
    curve = precision_recall_curve(target, score)
    steps = np.sum(np.diff(curve.recall) * curve.precision[1:])
    assert steps == pytest.approx(average_precision_score(target, score), abs=1e-12)


@given(labels_and_scores())
def test_calls_are_what_the_threshold_says(pair):
    target, score = pair
    counts = count_by_threshold(target, score)
    for threshold, true_positives, false_positives in zip(
        counts.threshold, counts.true_positives, counts.false_positives, strict=True
    ):
        assert true_positives == np.sum(target & (score >= threshold))
        assert false_positives == np.sum(~target & (score >= threshold))


def test_curves_without_a_class_are_nan_where_they_do_not_exist():
    roc = roc_curve(np.array([True, True]), np.array([0.1, 0.2]))
    assert np.all(np.isnan(roc.false_positive_rate))
    assert roc.true_positive_rate.tolist() == [0.0, 0.5, 1.0]


def test_compact_points_are_points_of_the_curve_and_follow_it():
    random = np.random.default_rng(3)
    target = random.random(5000) < 0.1
    roc = roc_curve(target, random.random(5000) + 0.5 * target)
    points = compact_points(roc.false_positive_rate, roc.true_positive_rate)
    every = set(zip(roc.false_positive_rate, roc.true_positive_rate, strict=True))
    assert len(points) <= 200 < len(every)
    assert set(points) <= every
    assert points[0] == (0.0, 0.0)
    assert points[-1] == (1.0, 1.0)
    x, y = np.array(points).T
    # The curve is at most 2 long, and each of its points at most one step along it from a kept one.
    distances = np.abs(roc.false_positive_rate[:, None] - x) + np.abs(roc.true_positive_rate[:, None] - y)
    assert np.max(np.min(distances, axis=1)) <= 2 / 199
    assert np.trapezoid(y, x) == pytest.approx(
        np.trapezoid(roc.true_positive_rate, roc.false_positive_rate), abs=2e-3
    )


def test_a_short_curve_is_kept_whole():
    assert compact_points(np.array([0.0, 0.5, 1.0]), np.array([0.0, 1.0, 1.0])) == ((0, 0), (0.5, 1), (1, 1))
