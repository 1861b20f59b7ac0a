import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from thorax.errors import DataError
from thorax.evaluation.operating_points import OperatingPoint, f1_optimal_threshold


@st.composite
def labels_and_probabilities(draw):
    size = draw(st.integers(1, 25))
    target = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    target[0] = True
    return np.array(target), np.array(draw(st.lists(st.integers(0, 8), min_size=size, max_size=size))) / 8.0


@given(labels_and_probabilities())
def test_no_threshold_has_a_higher_f1_and_no_higher_one_as_high(pair):
    target, probability = pair
    point = f1_optimal_threshold(target, probability)
    # Slow and obvious: the middle between each two neighbours among 0, the probabilities and above 1.
    values = sorted({-0.125, *probability.tolist(), 1.125})
    f1 = {
        threshold: f1_score(target, probability >= threshold, zero_division=0.0)
        for threshold in ((low + high) / 2 for low, high in itertools.pairwise(values))
    }
    assert point.f1 == pytest.approx(max(f1.values()), abs=1e-12)
    assert f1_score(target, probability >= point.threshold) == pytest.approx(point.f1, abs=1e-12)
    assert all(
        value < point.f1 - 1e-12 for threshold, value in f1.items() if threshold > point.threshold + 0.07
    )
    assert point.f1 == pytest.approx(2 * point.precision * point.recall / (point.precision + point.recall))
    assert (point.num_positive, point.num_images) == (np.sum(target), len(target))


def test_the_threshold_lies_between_two_probabilities():
    point = f1_optimal_threshold(np.array([True, True, False, False]), np.array([0.9, 0.6, 0.2, 0.1]))
    assert point == OperatingPoint("f1-optimal", 0.4, 1.0, 1.0, 1.0, 2, 4)


def test_calling_everything_leaves_room_below_the_lowest():
    point = f1_optimal_threshold(np.array([False, True]), np.array([0.8, 0.2]))
    assert point.threshold == 0.1
    assert point.f1 == pytest.approx(2 / 3)
    everything_zero = f1_optimal_threshold(np.array([False, True]), np.array([0.0, 0.0]))
    assert everything_zero.threshold == 0.0


def test_of_two_thresholds_with_equal_f1_the_higher_is_taken():
    # {.9}: P 1, R 1/2: F1 2/3. {.9 .5 .4 .3}: P 1/2, R 1: F1 2/3 too.
    point = f1_optimal_threshold(np.array([True, False, False, True]), np.array([0.9, 0.5, 0.4, 0.3]))
    assert point.threshold == pytest.approx(0.7)
    assert point.f1 == pytest.approx(2 / 3)


def test_neighbouring_floats_are_still_divided():
    upper = float(np.nextafter(0.5, 1.0))
    point = f1_optimal_threshold(np.array([True, False]), np.array([upper, 0.5]))
    assert point.threshold == upper


def test_the_order_of_images_does_not_matter():
    random = np.random.default_rng(0)
    target, probability = random.random(500) < 0.2, random.random(500).round(2).astype(np.float32)
    order = random.permutation(500)
    assert f1_optimal_threshold(target, probability) == f1_optimal_threshold(
        target[order], probability[order]
    )


@pytest.mark.parametrize("size", [0, 3])
def test_without_a_positive_there_is_no_threshold(size):
    point = f1_optimal_threshold(np.zeros(size, dtype=bool), np.full(size, 0.3))
    assert point == OperatingPoint("f1-optimal", None, None, None, None, 0, size)


@pytest.mark.parametrize("wrong", [1.5, -0.1, float("nan")])
def test_what_is_no_probability_is_refused(wrong):
    with pytest.raises(
        DataError, match=rf"^1 of 2 probabilities are not in \[0, 1\] \(first: {wrong} at position 1\); pass"
    ):
        f1_optimal_threshold(np.array([True, False]), np.array([0.5, wrong]))
