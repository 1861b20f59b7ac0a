import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve, roc_curve

from thorax.evaluation.curves import Curves, ScoredFinding, draw_curves
from thorax.evaluation.statistics.intervals import resample_counts


def finding(seed=0, *, images=400, patients=130):
    random = np.random.default_rng(seed)
    target = random.random(images) < 0.3
    return ScoredFinding(
        target, random.normal(size=images) + 1.2 * target, random.integers(0, patients, images), np.inf
    )


def drawn(each, *, resamples=200, seed=3):
    (curves,) = draw_curves([each], num_patients=130, resamples=resamples, seed=seed)
    return curves


def test_the_curves_are_those_of_scikit_learn():
    each = finding()
    curves = drawn(each, resamples=2)
    false_positive_rate, sensitivity, _ = roc_curve(each.target, each.score, drop_intermediate=False)
    assert set(curves.roc) <= set(zip(false_positive_rate.tolist(), sensitivity.tolist(), strict=True))
    precision, recall, _ = precision_recall_curve(each.target, each.score)
    assert set(curves.precision_recall) <= set(zip(recall.tolist(), precision.tolist(), strict=True))


def slow_band(each, *, rate, resamples, seed):
    """Repeat each patient's images as often as drawn, and read the curve of scikit-learn at the rate."""
    counts = resample_counts(130, resamples=resamples, seed=seed)
    values = []
    for resample in counts:
        rows = np.repeat(np.arange(len(each.target)), resample[each.patient])
        x, y, _ = roc_curve(each.target[rows], each.score[rows], drop_intermediate=False)
        values.append(np.interp(rate, x, y))
    return np.quantile(values, [0.025, 0.975])


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.7])
def test_the_band_is_where_resampled_curves_lie(rate):
    each = finding(1)
    _, low, high = next(point for point in drawn(each).roc_band if point[0] == pytest.approx(rate))
    # 64 thresholds follow the curve to about a step between two of them.
    assert (low, high) == pytest.approx(slow_band(each, rate=rate, resamples=200, seed=3), abs=0.02)


def test_the_band_holds_the_curve():
    curves = drawn(finding(2), resamples=400)
    x, y = np.array(curves.roc).T
    for rate, low, high in curves.roc_band[1:-1]:
        assert low - 0.02 <= np.interp(rate, x, y) <= high + 0.02
    assert curves.roc_band[-1] == (1.0, 1.0, 1.0)
    assert all(0 <= low <= high <= 1 for _, low, high in curves.precision_recall_band)


def test_without_a_class_there_is_no_curve_and_others_stay_in_place():
    whole = finding(3)
    empty = ScoredFinding(np.zeros(400, dtype=bool), whole.score, whole.patient, np.nan)
    curves = draw_curves([empty, whole, empty], num_patients=130, resamples=20, seed=3)
    assert (curves[0], curves[2]) == (Curves(), Curves())
    assert curves[1] == drawn(whole, resamples=20)


def test_a_single_patient_with_the_finding_has_a_curve_and_no_band():
    whole = finding(4)
    alone = ScoredFinding(whole.patient == 5, whole.score, whole.patient, 1.0)
    curves = drawn(alone, resamples=30)
    assert curves.roc
    assert curves.roc_band == ()
