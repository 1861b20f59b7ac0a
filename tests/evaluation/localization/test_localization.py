import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from thorax.boxes import Box
from thorax.errors import DataError
from thorax.evaluation.localization.regions import (
    HITS,
    LEVELS,
    SIZES,
    BoxedFinding,
    MapOverlap,
    box_around,
    center_overlap,
    highest_pixels,
    map_overlap,
    mean_box_overlap,
    mean_boxes,
    overlaps,
    random_overlap,
    region,
    region_boxes,
)
from thorax.evaluation.localization.scores import in_fitting_half, localize
from thorax.evaluation.statistics.intervals import resample_counts, student_quantile, wilson_interval
from thorax.findings import NIH14

CARDIOMEGALY, EFFUSION, NODULE = NIH14[1], NIH14[2], NIH14[5]

MAPS = arrays.arrays(np.int8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(-1, 4))


def slow_region(attribution, level):
    """Slow and obvious: from the highest pixel, step to neighbours that are high enough."""
    exclusive_lock = np.zeros(attribution.shape, dtype=bool)
    start = np.unravel_index(np.argmax(attribution), attribution.shape)
    if attribution[start] <= 0:
        return exclusive_lock
    waiting = [start]
    while waiting:
        row, column = waiting.pop()
        inside = 0 <= row < exclusive_lock.shape[0] and 0 <= column < exclusive_lock.shape[1]
        if (
            inside
            and not exclusive_lock[row, column]
            and attribution[row, column] >= level * attribution[start]
        ):
            exclusive_lock[row, column] = True
            waiting += [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
    return exclusive_lock


def slow_iou(first, second):
    """Slow and obvious: count the unit squares of whole-numbered boxes."""
    cells = [
        set(itertools.product(range(x, x + width), range(y, y + height)))
        for x, y, width, height in (first, second)
    ]
    return len(cells[0] & cells[1]) / len(cells[0] | cells[1]), len(cells[0] & cells[1]) / len(cells[0])


def pair(*boxes, patient="p", finding=EFFUSION, side=100, image="i"):
    return BoxedFinding(
        image=image, patient=patient, finding=finding, boxes=tuple(Box(*box) for box in boxes), side=side
    )


# ---- regions --------------------------------------------------------------------------------------------


@given(MAPS)
@settings(max_examples=100, deadline=None)
def test_regions_equal_their_slow_twin(values):
    attribution = values.astype(np.float64)
    boxes = region_boxes(attribution)
    for level, edges in zip(LEVELS, boxes, strict=True):
        expected = slow_region(attribution, level)
        assert np.array_equal(region(attribution, level=level), expected)
        around = box_around(expected)
        if around is None:
            assert np.all(np.isnan(edges))
        else:
            x, y, width, height = around
            assert edges.tolist() == [x, y, x + width, y + height]


def test_a_spiral_is_one_region():
    rows = ("#######", "      #", "##### #", "#   # #", "# ### #", "#     #", "#######")
    spiral = np.array([[letter == "#" for letter in row] for row in rows], dtype=float)
    spiral[4, 2] = 2.0
    assert np.array_equal(region(spiral, level=0.5), spiral > 0)


def test_regions_do_not_touch_at_corners_and_hold_the_highest_place():
    attribution = np.array([[1.0, 0, 0, 0.9], [0, 1, 0, 0.9], [0, 0, 0, 2.0]])
    assert box_around(region(attribution, level=0.4)) == (3, 0, 1, 3)
    assert box_around(region(attribution, level=0.6)) == (3, 2, 1, 1)


def test_all_highest_places_are_told():
    attribution = np.array([[0.0, 3, 3], [1, 2, 3]])
    assert highest_pixels(attribution).tolist() == [[1.5, 0.5], [2.5, 0.5], [2.5, 1.5]]


BOX = st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(1, 6), st.integers(1, 6))


@given(BOX, st.lists(BOX, min_size=1, max_size=3))
@settings(max_examples=50, deadline=None)
def test_overlaps_equal_counting_squares(box, truth):
    x, y, width, height = box
    true = [Box(float(a), float(b), float(c), float(d)) for a, b, c, d in truth]
    iou, iobb = overlaps(np.array([[x, y, x + width, y + height]], dtype=float), true)
    counted = [slow_iou(box, other) for other in truth]
    assert iou[0] == pytest.approx(max(each for each, _ in counted))
    assert iobb[0] == pytest.approx(max(each for _, each in counted))


def test_no_box_overlaps_with_nothing():
    iou, iobb = overlaps(np.full((1, 4), np.nan), [Box(0.0, 0.0, 1.0, 1.0)])
    assert (iou.tolist(), iobb.tolist()) == ([0], [0])


# ---- one map --------------------------------------------------------------------------------------------


def test_one_map_by_hand():
    """A map of 4 x 4 places on 100 pixels: 2 x 1 places at the full height, one more from its half down."""
    attribution = np.zeros((4, 4))
    attribution[1, 1:3] = 2.0
    attribution[2, 1] = 1.0
    found = map_overlap(attribution, pair((25.0, 25.0, 50.0, 50.0)))
    assert found.pointing == 1
    iou = found.at_level[:, 0]
    assert iou[[level <= 0.5 for level in LEVELS]] == pytest.approx(1)
    assert iou[[level > 0.5 for level in LEVELS]] == pytest.approx(0.5)
    assert found.at_level[0, 1:].tolist() == [1] * 14
    assert found.at_level[-1, 1:8].tolist() == [1, 1, 1, 1, 1, 0, 0]  # IoU .5
    assert found.at_level[-1, 8:].tolist() == [1] * 7  # IoBB 1


def test_pointing_counts_the_share_of_equally_high_places():
    attribution = np.zeros((10, 10))
    attribution[0] = 1.0
    assert map_overlap(attribution, pair((0.0, 0.0, 30.0, 100.0))).pointing == pytest.approx(0.3)
    flat = map_overlap(np.zeros((10, 10)), pair((0.0, 0.0, 50.0, 50.0)))
    assert flat.pointing == pytest.approx(0.25)
    assert not np.any(flat.at_level)


def test_the_best_of_several_boxes_counts():
    attribution = np.zeros((10, 10))
    attribution[0, 9] = 1.0
    found = map_overlap(attribution, pair((0.0, 0.0, 10.0, 10.0), (90.0, 0.0, 10.0, 10.0)))
    assert found.pointing == 1
    assert found.at_level[:, 0] == pytest.approx(1)


@pytest.mark.parametrize("times", [2, 5])
def test_resolution_does_not_matter(times):
    attribution = np.random.default_rng(0).normal(size=(8, 8))
    small = map_overlap(attribution, pair((12.5, 25.0, 40.0, 30.0)))
    large = map_overlap(np.kron(attribution, np.ones((times, times))), pair((12.5, 25.0, 40.0, 30.0)))
    np.testing.assert_allclose(large.at_level, small.at_level, atol=1e-12)
    assert large.pointing == pytest.approx(small.pointing, abs=0.5)


def test_sizes():
    for side, size in ((15.0, "small"), (15.9, "medium"), (28.2, "medium"), (28.3, "large")):
        assert pair((0.0, 0.0, side, side)).size == size
    assert pair((0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 90.0, 90.0)).size == "large"


# ---- baselines ------------------------------------------------------------------------------------------


def test_the_centre_points_at_the_centre_and_falls_evenly():
    assert center_overlap(pair((49.0, 49.0, 2.0, 2.0))).pointing == 1
    assert center_overlap(pair((0.0, 0.0, 49.0, 100.0))).pointing == 0
    # At level .5 the disc reaches half way to the edge: a box of half the side.
    level = LEVELS.index(0.5)
    assert center_overlap(pair((25.0, 25.0, 50.0, 50.0))).at_level[level, 0] > 0.95


def test_random_maps_point_anywhere():
    box = (20.0, 30.0, 40.0, 50.0)
    points = [random_overlap(pair(box, image=f"{i}"), seed=0).pointing for i in range(40)]
    # The smooth maps' edges are flat, so that a highest place is near an edge more often than elsewhere.
    assert 0.1 < np.mean(points) < 0.3
    assert random_overlap(pair(box), seed=0).pointing == random_overlap(pair(box), seed=0).pointing
    firsts = [random_overlap(pair(box, image="x"), seed=seed).at_level for seed in (0, 1)]
    assert not np.array_equal(*firsts)


def test_the_mean_box_by_hand():
    boxes = mean_boxes(
        [
            pair((0.0, 0.0, 20.0, 40.0)),
            pair((40.0, 20.0, 40.0, 20.0), side=200),
            pair((80.0, 80.0, 10.0, 10.0), finding=NODULE),
        ]
    )
    assert boxes[EFFUSION] == pytest.approx((0.1, 0.05, 0.2, 0.25))
    found = mean_box_overlap(boxes, pair((10.0, 5.0, 20.0, 25.0)))
    assert (found.pointing, found.at_level[0, 0]) == (1, pytest.approx(1))
    assert np.array_equal(found.at_level[0], found.at_level[-1])
    # A finding that the fitting half lacks gets the mean of all boxes.
    other = mean_box_overlap(boxes, pair((33.0, 30.0, 1.0, 1.0), finding=CARDIOMEGALY))
    middle = np.mean([[0.1, 0.2], [0.3, 0.15], [0.85, 0.85]], axis=0)
    assert other.pointing == float(0.33 <= middle[0] < 0.34 and 0.30 <= middle[1] < 0.31)


# ---- all of it ------------------------------------------------------------------------------------------


def cohort(patients=14, seed=0):
    """Boxed findings of some patients, one to three each, some with two images."""
    rng = np.random.default_rng(seed)
    found = []
    for patient in range(patients):
        for image in range(rng.integers(1, 3)):
            for finding in rng.permutation(3)[: rng.integers(1, 3)]:
                x, y = rng.uniform(0, 60, 2)
                width, height = rng.uniform(5, 40, 2)
                found.append(
                    pair(
                        (x, y, width, height),
                        patient=f"{patient}",
                        finding=(CARDIOMEGALY, EFFUSION, NODULE)[finding],
                        image=f"{patient}-{image}",
                    )
                )
    return found


def perfect(each, size=50):
    """A map that is 1 within the box and fades outside."""
    x, y, width, height = (np.array(edge) * size / each.side for edge in each.boxes[0])
    centers = np.arange(size) + 0.5
    across = np.maximum(np.maximum(x - centers, centers - x - width), 0)
    down = np.maximum(np.maximum(y - centers, centers - y - height), 0)
    return np.maximum(1 - np.hypot(down[:, None], across[None, :]) / 10, 0)


def test_a_perfect_map_beats_every_baseline():
    pairs = cohort()
    result = localize(pairs, {"perfect": [map_overlap(perfect(each), each) for each in pairs]}, resamples=50)
    (method,) = result.methods
    assert [each.name for each in result.baselines] == ["random", "center", "mean-box"]
    assert method.mean.pointing.value == 1
    assert method.mean.iou.value > 0.75  # whole places of 2 x 2 pixels, boxes as small as 5
    assert method.level > 0.9
    for baseline in result.baselines:
        assert baseline.mean.pointing.value < 0.6
        assert baseline.mean.iou.value < 0.5
    assert result.baselines[2].level is None


def test_the_level_is_fitted_on_one_half_and_the_figures_are_of_the_other():
    pairs = cohort()
    fitting = [in_fitting_half(each.patient) for each in pairs]
    table = np.zeros((len(LEVELS), 15))

    def of_half(fits):
        """In the fitting half the third level is best, in the other the fifth."""
        filled = table.copy()
        filled[2 if fits else 4, 0] = 0.8
        filled[2, 0] = max(filled[2, 0], 0.3)
        return MapOverlap(1.0, filled)

    result = localize(pairs, {"made up": [of_half(fits) for fits in fitting]}, resamples=10)
    (method,) = result.methods
    assert method.level == LEVELS[2]
    assert method.pooled.iou.value == pytest.approx(0.3)
    assert result.num_fitting == sum(fitting)
    assert result.num_pairs == len(pairs) - sum(fitting)
    left = {each.patient for each, fits in zip(pairs, fitting, strict=True) if not fits}
    assert result.num_patients == len(left)
    assert sum(each.num_pairs for each in method.by_finding.values()) == result.num_pairs
    assert sum(each.num_pairs for each in method.by_size.values()) == result.num_pairs
    assert list(method.by_size) == [size for size in SIZES if size in method.by_size]


def test_means_and_intervals_equal_a_loop_over_resamples():
    pairs = cohort(seed=4)
    rng = np.random.default_rng(1)
    found = [MapOverlap(float(rng.random() < 0.5), rng.random((len(LEVELS), 15))) for _ in pairs]
    result = localize(pairs, {"made up": found}, resamples=200, seed=3)
    (method,) = result.methods
    level = LEVELS.index(method.level)
    kept = [
        (each, overlap)
        for each, overlap in zip(pairs, found, strict=True)
        if not in_fitting_half(each.patient)
    ]
    patients = sorted({each.patient for each, _ in kept})
    counts = resample_counts(len(patients), resamples=200, seed=3)

    def mean_of(weights):
        """Mean over findings of the mean over pairs, each as often as its patient was drawn."""
        means = []
        for finding in (CARDIOMEGALY, EFFUSION, NODULE):
            values = [
                overlap.at_level[level, 0]
                for each, overlap in kept
                if each.finding == finding
                for _ in range(weights[patients.index(each.patient)])
            ]
            if values:
                means.append(np.mean(values))
        return np.mean(means)

    assert method.mean.iou.value == pytest.approx(mean_of(np.ones(len(patients), dtype=int)))
    samples = [mean_of(counts[resample]) for resample in range(200)]
    # The interval is the percentiles of these, moved out for the number of patients.
    low, high = np.quantile(samples, [0.025, 0.975])
    assert method.mean.iou.low <= low < high <= method.mean.iou.high
    spread = method.mean.iou.high - method.mean.iou.low
    assert spread < 2 * (high - low)
    assert min(samples) <= method.mean.iou.low
    assert method.mean.iou.high <= max(samples)
    assert method.mean.iou_hits[0].value == pytest.approx(
        np.mean(
            [
                np.mean([overlap.at_level[level, 1] for each, overlap in kept if each.finding == finding])
                for finding in (CARDIOMEGALY, EFFUSION, NODULE)
            ]
        )
    )
    assert len(method.mean.iobb_hits) == len(HITS)


def test_the_order_of_pairs_does_not_matter():
    pairs = cohort(patients=8)
    overlaps_ = [map_overlap(perfect(each), each) for each in pairs]
    first = localize(pairs, {"perfect": overlaps_}, resamples=20)
    again = localize(pairs[::-1], {"perfect": overlaps_[::-1]}, resamples=20)
    for one, other in zip(
        (*first.methods, *first.baselines), (*again.methods, *again.baselines), strict=True
    ):
        assert one.level == other.level
        assert one.mean.iou.value == pytest.approx(other.mean.iou.value)
        assert one.pooled.pointing.low == pytest.approx(other.pooled.pointing.low)


def test_half_of_the_patients_fit():
    share = np.mean([in_fitting_half(f"{number:08}") for number in range(4000)])
    assert share == pytest.approx(0.5, abs=0.03)


def test_hits_in_all_or_none_have_the_interval_of_so_many_patients():
    names = [f"{number}" for number in range(50)]
    left = [name for name in names if not in_fitting_half(name)]
    pairs = [pair((10.0, 10.0, 30.0, 30.0), patient=name) for name in names]
    found = [map_overlap(perfect(each), each) for each in pairs]
    (method,) = localize(pairs, {"perfect": found}, resamples=10).methods
    few = len(left) * (student_quantile(0.975, math.inf) / student_quantile(0.975, len(left) - 1.0)) ** 2
    expected = wilson_interval(1.0, count=few)
    assert method.mean.pointing.high == 1
    assert method.mean.pointing.low == pytest.approx(expected.low)
    missed = [map_overlap(1 - perfect(each), each) for each in pairs]
    (method,) = localize(pairs, {"never": missed}, resamples=10).methods
    assert method.pooled.pointing.high == pytest.approx(1 - expected.low)


def test_one_patient_says_little_and_one_half_is_refused():
    names = [f"{number}" for number in range(50)]
    fits, left = (next(name for name in names if in_fitting_half(name) is half) for half in (True, False))
    box = (10.0, 10.0, 30.0, 30.0)
    pairs = [pair(box, patient=fits), pair(box, patient=left)]
    found = [map_overlap(perfect(each), each) for each in pairs]
    (method,) = localize(pairs, {"perfect": found}, resamples=10).methods
    assert method.mean.pointing == wilson_interval(1.0, count=1.0)
    with pytest.raises(DataError, match=r"0 of the 1 boxed findings.*choose a part with more boxes"):
        localize(pairs[1:], {"perfect": found[1:]}, resamples=10)
    with pytest.raises(DataError, match="1 of the 1 boxed findings"):
        localize(pairs[:1], {"perfect": found[:1]}, resamples=10)
