import itertools
import math
from typing import NamedTuple, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from thorax.arrays import NOT_LABELED, UNCERTAIN
from thorax.errors import DataError
from thorax.evaluation.operating_points import (
    AtSensitivity,
    AtSpecificity,
    F1Optimal,
    Fixed,
    Youden,
    choose_threshold,
    choose_thresholds,
    parse_rule,
)
from thorax.recipe.literals import OperatingPointRule


@st.composite
def labels_and_probabilities(draw):
    size = draw(st.integers(1, 25))
    target = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    target[0] = True
    return np.array(target), np.array(draw(st.lists(st.integers(0, 8), min_size=size, max_size=size))) / 8.0


class Point(NamedTuple):
    """A threshold, and what it does on the images that chose it; None where that is undefined."""

    threshold: float | None
    f1: float | None
    precision: float | None
    recall: float | None
    specificity: float | None
    num_positive: int
    num_images: int


def judged(rule, target, probability):
    threshold = choose_threshold(rule, target, probability)
    if threshold is None:
        return Point(None, None, None, None, None, np.sum(target), len(target))
    called = probability >= threshold
    hits = np.sum(called & target)

    def share(part, whole):
        return part / whole if whole else None

    return Point(
        threshold,
        share(2 * hits, np.sum(called) + np.sum(target)),
        share(hits, np.sum(called)),
        share(hits, np.sum(target)),
        share(np.sum(~called & ~target), np.sum(~target)),
        np.sum(target),
        len(target),
    )


@given(labels_and_probabilities())
def test_no_threshold_has_a_higher_f1_and_no_higher_one_as_high(pair):
    target, probability = pair
    point = judged(F1Optimal(), target, probability)
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


def all_thresholds(probability):
    """Every way to divide the images that calls one at least, the highest first: the middles."""
    values = sorted({0.0, *probability.tolist()}, reverse=True)
    if probability.min() == 0:
        values.append(0.0)
    return [(high + low) / 2 for high, low in itertools.pairwise(values)]


def rates(target, probability, threshold):
    called = probability >= threshold
    sensitivity = np.sum(called & target) / np.sum(target)
    return sensitivity, np.sum(~called & ~target) / np.sum(~target)


def best_of(candidates, merit):
    """Slow and obvious: walk from the highest threshold down, keep one that is clearly better."""
    best, best_merit = None, 0.0
    for threshold in candidates:
        if merit(threshold) > best_merit + 1e-12:
            best, best_merit = threshold, merit(threshold)
    return best


@given(labels_and_probabilities(), st.sampled_from([0.5, 0.75, 0.9]))
def test_each_rule_equals_its_slow_twin(pair, share):
    target, probability = pair
    if target.all():
        return
    candidates = all_thresholds(probability)

    def youden(threshold):
        return sum(rates(target, probability, threshold)) - 1

    def sensitivity(threshold):
        return rates(target, probability, threshold)[0] >= share

    def specificity(threshold):
        found, no_decay = rates(target, probability, threshold)
        return found if no_decay >= share else -1.0

    for rule, merit in (
        (Youden(), youden),
        (AtSensitivity(share), sensitivity),
        (AtSpecificity(share), specificity),
    ):
        point = judged(rule, target, probability)
        assert point.threshold == best_of(candidates, merit)
        if point.threshold is not None:
            assert (point.recall, point.specificity) == pytest.approx(
                rates(target, probability, point.threshold)
            )


@given(labels_and_probabilities())
def test_halving_all_probabilities_halves_the_thresholds(pair):
    target, probability = pair
    for rule in (F1Optimal(), Youden(), AtSensitivity(0.9), AtSpecificity(0.95)):
        whole, half = (judged(rule, target, values) for values in (probability, probability / 2))
        assert half.threshold == (None if whole.threshold is None else whole.threshold / 2)
        assert (half.recall, half.specificity, half.f1) == (whole.recall, whole.specificity, whole.f1)


def test_rules_worked_by_hand():
    target = np.array([True, False, True, True, False, False, True, False, False, False])
    probability = np.array([0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    # Falling: + - + + - - + - - -. Sensitivity after each .25 .25 .5 .75 .75 .75 1; specificity 1 5/6 5/6 5/6
    # 4/6 3/6 3/6. Youden: .25 ... .5833 after the fourth, .5 after the seventh.
    assert judged(Youden(), target, probability).threshold == pytest.approx(0.65)
    ninety = judged(AtSensitivity(0.9), target, probability)
    assert ninety == Point((0.4 + 0.3) / 2, 8 / 11, 4 / 7, 1.0, 0.5, 4, 10)
    assert judged(AtSensitivity(0.75), target, probability).threshold == pytest.approx(0.65)
    assert judged(AtSpecificity(0.95), target, probability).threshold == pytest.approx(0.925)
    assert judged(AtSpecificity(0.83), target, probability).threshold == pytest.approx(0.65)
    one_half = judged(parse_rule("one-half"), target, probability)
    assert one_half == Point(0.5, 0.6, 0.5, 0.75, 0.5, 4, 10)


def test_a_share_that_is_met_exactly_is_met():
    target = np.arange(130) < 125
    probability = np.concatenate([np.linspace(0.9, 0.5, 125), np.full(5, 0.1)])
    point = judged(parse_rule("sensitivity-92.8"), target, probability)
    assert point.recall == 116 / 125  # not 117


def test_a_rule_that_nothing_serves_gives_no_threshold():
    worse_than_chance = np.array([False, False, True]), np.array([0.9, 0.8, 0.1])
    point = judged(Youden(), *worse_than_chance)
    assert point == Point(None, None, None, None, None, 1, 3)
    assert judged(AtSpecificity(0.95), *worse_than_chance).threshold is None
    assert judged(AtSensitivity(0.9), *worse_than_chance).threshold == 0.05
    tied = np.array([True, False]), np.array([0.5, 0.5])
    assert judged(Youden(), *tied).threshold is None
    only_positives = np.array([True, True]), np.array([0.5, 0.7])
    assert judged(Youden(), *only_positives).threshold is None
    assert judged(AtSpecificity(0.9), *only_positives).threshold is None
    assert judged(AtSensitivity(0.9), *only_positives) == Point(0.25, 1.0, 1.0, 1.0, None, 2, 2)


def test_an_own_threshold_is_taken_as_it_is():
    nobody = judged(Fixed(0.99), np.array([False, False]), np.array([0.5, 0.7]))
    assert nobody == Point(0.99, None, None, None, 1.0, 0, 2)
    everyone = judged(Fixed(0.0), np.array([True, False]), np.array([0.0, 0.7]))
    assert (everyone.recall, everyone.specificity) == (1.0, 0.0)


def test_each_finding_is_chosen_on_its_sure_labels():
    targets = np.array([[1, 0], [0, UNCERTAIN], [1, 1], [UNCERTAIN, 0]], dtype=np.int8)
    targets = np.vstack([targets, np.full((1, 2), NOT_LABELED, dtype=np.int8)])
    probabilities = np.array([[0.9, 0.1], [0.2, 0.9], [0.6, 0.7], [0.0, 0.3], [math.nan, math.nan]])
    assert choose_thresholds(Youden(), targets, probabilities) == (0.4, 0.5)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("f1-optimal", F1Optimal()),
        ("youden", Youden()),
        ("one-half", Fixed(0.5, "one-half")),
        ("sensitivity-90", AtSensitivity(0.9)),
        ("sensitivity-92.5", AtSensitivity(0.925)),
        ("specificity-95", AtSpecificity(0.95)),
    ],
)
def test_rules_have_names(name, rule):
    assert parse_rule(name) == rule
    assert rule.name == name


def test_every_rule_of_a_recipe_is_one():
    assert [parse_rule(name).name for name in get_args(OperatingPointRule)] == list(
        get_args(OperatingPointRule)
    )
    assert parse_rule("0.3") == Fixed(0.3)
    assert parse_rule("0.50") == parse_rule("one-half")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("best", r"^no rule for thresholds is called 'best'; choose f1-optimal, youden, one-half, sens"),
        ("sensitivity-100", r"^a sensitivity of 1.0 cannot be asked for; give a share between 0 and 1"),
        ("specificity-0", r"^a specificity of 0.0 cannot be asked for"),
        ("2", r"^the threshold 2.0 is not in \[0, 1\]; thresholds are on probabilities, pass those on"),
    ],
)
def test_what_is_no_rule_is_refused(name, message):
    with pytest.raises(DataError, match=message):
        parse_rule(name)


def test_the_threshold_lies_between_two_probabilities():
    point = judged(F1Optimal(), np.array([True, True, False, False]), np.array([0.9, 0.6, 0.2, 0.1]))
    assert point == Point(0.4, 1.0, 1.0, 1.0, 1.0, 2, 4)


def test_calling_everything_leaves_room_below_the_lowest():
    point = judged(F1Optimal(), np.array([False, True]), np.array([0.8, 0.2]))
    assert point.threshold == 0.1
    assert point.f1 == pytest.approx(2 / 3)
    everything_zero = judged(F1Optimal(), np.array([False, True]), np.array([0.0, 0.0]))
    assert everything_zero.threshold == 0.0


def test_of_two_thresholds_with_equal_f1_the_higher_is_taken():
    # {.9}: P 1, R 1/2: F1 2/3. {.9 .5 .4 .3}: P 1/2, R 1: F1 2/3 too.
    point = judged(F1Optimal(), np.array([True, False, False, True]), np.array([0.9, 0.5, 0.4, 0.3]))
    assert point.threshold == pytest.approx(0.7)
    assert point.f1 == pytest.approx(2 / 3)


def test_neighbouring_floats_are_still_divided():
    upper = float(np.nextafter(0.5, 1.0))
    point = judged(F1Optimal(), np.array([True, False]), np.array([upper, 0.5]))
    assert point.threshold == upper


def test_the_order_of_images_does_not_matter():
    random = np.random.default_rng(0)
    target, probability = random.random(500) < 0.2, random.random(500).round(2).astype(np.float32)
    order = random.permutation(500)
    assert judged(F1Optimal(), target, probability) == judged(F1Optimal(), target[order], probability[order])


@pytest.mark.parametrize("size", [0, 3])
def test_without_a_positive_there_is_no_threshold(size):
    point = judged(F1Optimal(), np.zeros(size, dtype=bool), np.full(size, 0.3))
    assert point == Point(None, None, None, None, None, 0, size)


@pytest.mark.parametrize("wrong", [1.5, -0.1, float("nan")])
def test_what_is_no_probability_is_refused(wrong):
    with pytest.raises(
        DataError, match=rf"^1 of 2 probabilities are not in \[0, 1\] \(first: {wrong} at position 1\); pass"
    ):
        judged(F1Optimal(), np.array([True, False]), np.array([0.5, wrong]))
