import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thorax.recipe.schema import Asymmetric, AucMargin, BalancedBce, Bce, Focal, WeightedBce
from thorax.training.losses import (
    asymmetric,
    auc_margin,
    balanced_bce,
    focal,
    loss_function,
    masked_bce,
    weighted_bce,
)

SPECS = [
    Bce(),
    WeightedBce(),
    WeightedBce(positive_weights=(2.0, 0.5, 3.0), negative_weights=(1.0, 4.0, 0.1)),
    BalancedBce(),
    BalancedBce(positive_weights=(2.0, 0.5, 3.0)),
    Focal(),
    Focal(gamma=0.3, alpha=0.25),
    Asymmetric(),
    Asymmetric(gamma_positive=0, gamma_negative=0.5, clip=0),
    Asymmetric(gamma_negative=2, clip=0.3),
    AucMargin(),
    AucMargin(margin=0.6, bce_part=0),
]


def named(spec, *, findings=3):
    counts = {"positives": [30, 1, 0], "negatives": [70, 999, 50]}
    tensors = {name: torch.tensor(values[:findings]).float() for name, values in counts.items()}
    return loss_function(spec, **tensors)


# ---- slow twins: one label at a time, in float64, as the formulas are printed ---------------------------


def probability(logit):
    return 1 / (1 + math.exp(-logit))


def slow_mean(each, logits, targets, known):
    values = [
        each(probability(logits[i, k]), targets[i, k], k)
        for i in range(len(logits))
        for k in range(logits.shape[1])
        if known[i, k]
    ]
    return sum(values) / max(len(values), 1)


def slow_cross_entropy(p, t, _):
    return -t * math.log(p) - (1 - t) * math.log(1 - p)


def slow_weighted(p, t, k, *, spec):
    plus = (spec.positive_weights or (70 / 30, 100, 1))[k]
    minus = (spec.negative_weights or (1, 1, 1))[k]
    return -t * plus * math.log(p) - (1 - t) * minus * math.log(1 - p)


def slow_balanced(logits, targets, known, *, spec):
    total = 0.0
    for k, (positive, negative) in enumerate([(30, 70), (1, 999), (0, 50)]):
        plus, minus = negative / (positive + negative), positive / (positive + negative)
        plus = plus if spec.positive_weights is None else spec.positive_weights[k]
        minus = minus if spec.negative_weights is None else spec.negative_weights[k]
        values = []
        for i in range(len(logits)):
            if known[i, k]:
                p, y = probability(logits[i, k]), targets[i, k]
                values.append(-(plus * y * math.log(p) + minus * (1 - y) * math.log(1 - p)))
        total += sum(values) / max(len(values), 1)
    return total


def slow_focal(p, t, _, *, alpha, gamma):
    return -alpha * (t * (1 - p) ** gamma * math.log(p) + (1 - t) * p**gamma * math.log(1 - p))


def slow_asymmetric(p, t, _, *, spec):
    shifted = max(p - spec.clip, 0)
    positive = (1 - p) ** spec.gamma_positive * math.log(p)
    negative = shifted**spec.gamma_negative * math.log(1 - shifted)
    return -(t * positive + (1 - t) * negative)


def slow_auc_margin(logits, targets, known, *, spec):
    parts = []
    for k in range(logits.shape[1]):
        rows = [(probability(logits[i, k]), targets[i, k]) for i in range(len(logits)) if known[i, k]]
        plus, minus = sum(t for _, t in rows), sum(1 - t for _, t in rows)
        if plus == 0 or minus == 0:
            continue
        a, b = sum(t * s for s, t in rows) / plus, sum((1 - t) * s for s, t in rows) / minus
        spread = sum(t * (s - a) ** 2 for s, t in rows) / plus
        spread += sum((1 - t) * (s - b) ** 2 for s, t in rows) / minus
        # The inner maximum of 2 alpha (m - a + b) - alpha^2 over alpha >= 0, by search.
        steps = np.linspace(0, 3, 30001)
        parts.append(spread + float((2 * steps * (spec.margin - a + b) - steps**2).max()))
    bce = slow_mean(slow_cross_entropy, logits, targets, known)
    return (1 - spec.bce_part) * sum(parts) / max(len(parts), 1) + spec.bce_part * bce


def slow(spec, *arrays):
    match spec:
        case Bce():
            return slow_mean(slow_cross_entropy, *arrays)
        case WeightedBce():
            return slow_mean(partial(slow_weighted, spec=spec), *arrays)
        case BalancedBce():
            return slow_balanced(*arrays, spec=spec)
        case Focal():
            return slow_mean(partial(slow_focal, alpha=spec.alpha, gamma=spec.gamma), *arrays)
        case Asymmetric():
            return slow_mean(partial(slow_asymmetric, spec=spec), *arrays)
        case AucMargin():
            return slow_auc_margin(*arrays, spec=spec)


def batch(seed, *, rows=6, mixed=False):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (rows, 3))
    targets = rng.random((rows, 3)) if mixed else (rng.random((rows, 3)) < 0.4).astype(float)
    return logits, targets, rng.random((rows, 3)) < 0.7


def tensors(logits, targets, known):
    return torch.tensor(logits).float(), torch.tensor(targets).float(), torch.tensor(known)


@pytest.mark.parametrize("spec", SPECS, ids=repr)
@given(seed=st.integers(0, 10_000), mixed=st.booleans())
@settings(max_examples=15, deadline=None)
def test_each_loss_equals_its_slow_twin(spec, seed, mixed):
    arrays = batch(seed, mixed=mixed)
    assert float(named(spec)(*tensors(*arrays))) == pytest.approx(slow(spec, *arrays), rel=2e-5, abs=1e-6)


# ---- numbers worked out by hand ---------------------------------------------------------------------------

THREE = (torch.tensor([[math.log(3)], [0.0], [-math.log(3)]]), torch.tensor([[1.0], [0.0], [0.0]]))
"""Probabilities 3/4, 1/2, 1/4; the first is a positive."""
ALL = torch.ones(3, 1, dtype=torch.bool)


def test_the_mean_is_over_known_labels_by_hand():
    logits = torch.tensor([[0.0, 2.0], [math.log(3), 50.0]])
    targets = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    known = torch.tensor([[True, False], [True, False]])
    # -log(1/2) and -log(1 - 3/4).
    assert float(masked_bce(logits, targets, known)) == pytest.approx((math.log(2) + math.log(4)) / 2)


def test_positive_weights_by_hand():
    found = weighted_bce(*THREE, ALL, positive_weight=torch.tensor([5.0]), negative_weight=torch.ones(1))
    assert float(found) == pytest.approx((5 * math.log(4 / 3) + math.log(2) + math.log(4 / 3)) / 3)


@pytest.mark.parametrize("kind", [WeightedBce, BalancedBce])
def test_weights_of_one_s_own_replace_the_frequencies(kind):
    logits = torch.tensor([[0.3, -1.0], [2.0, 0.5]])
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    known = torch.ones(2, 2, dtype=torch.bool)
    spec = kind(positive_weights=(2.0, 3.0), negative_weights=(0.5, 0.25))
    counts = {"positives": torch.tensor([30.0, 1.0]), "negatives": torch.tensor([70.0, 999.0])}
    found = loss_function(spec, **counts)(logits, targets, known)
    losses = [
        2.0 * math.log1p(math.exp(-0.3)),
        0.25 * math.log1p(math.exp(-1.0)),
        0.5 * math.log1p(math.exp(2.0)),
        3.0 * math.log1p(math.exp(-0.5)),
    ]
    assert float(found) == pytest.approx(sum(losses) / (4 if kind is WeightedBce else 2))


def test_balanced_by_hand_is_a_sum_over_findings():
    logits = torch.tensor([[0.0, math.log(3)], [0.0, 7.0]])
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    known = torch.tensor([[True, True], [True, False]])
    plus, minus = torch.tensor([0.9, 0.6]), torch.tensor([0.1, 0.4])
    found = balanced_bce(logits, targets, known, positive_weight=plus, negative_weight=minus)
    assert float(found) == pytest.approx((0.9 * math.log(2) + 0.1 * math.log(2)) / 2 + 0.4 * math.log(4))


def test_focal_by_hand():
    expected = 0.5 * (math.log(4 / 3) / 16 + math.log(2) / 4 + math.log(4 / 3) / 16) / 3
    assert float(focal(*THREE, ALL, alpha=0.5, gamma=2.0)) == pytest.approx(expected)


def test_asymmetric_by_hand():
    # p_m of the negatives: 1/4 and 0; the easier one counts nothing.
    found = asymmetric(*THREE, ALL, gamma_positive=1.0, gamma_negative=2.0, clip=0.25)
    assert float(found) == pytest.approx((math.log(4 / 3) / 4 + math.log(4 / 3) / 16) / 3)


def test_auc_margin_by_hand():
    # Mean of positives 3/4; of negatives 3/8, variance 1/64; margin 1 is missed by 5/8.
    found = auc_margin(*THREE, ALL, margin=1.0, bce_weight=0.0)
    assert float(found) == pytest.approx(1 / 64 + (5 / 8) ** 2)
    # A margin of 3/8 is met.
    assert float(auc_margin(*THREE, ALL, margin=3 / 8, bce_weight=0.0)) == pytest.approx(1 / 64)


def test_auc_margin_without_both_classes_is_its_part_of_cross_entropy():
    logits, _ = THREE
    none = torch.zeros(3, 1)
    expected = 0.25 * float(masked_bce(logits, none, ALL))
    assert float(auc_margin(logits, none, ALL, margin=1.0, bce_weight=0.25)) == pytest.approx(expected)


# ---- what holds for all -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "same",
    [
        Focal(gamma=0, alpha=1),
        Asymmetric(gamma_positive=0, gamma_negative=0, clip=0),
        AucMargin(bce_part=1),
        WeightedBce(max_weight=1),
    ],
    ids=repr,
)
def test_settings_that_are_cross_entropy(same):
    arrays = batch(3, rows=40, mixed=True)
    # Findings with as many positives as negatives, or none: their weight is 1.
    equal = torch.tensor([5.0, 1.0, 0.0])
    loss = loss_function(same, positives=equal, negatives=equal)
    torch.testing.assert_close(loss(*tensors(*arrays)), masked_bce(*tensors(*arrays)))


def test_balanced_equals_scaled_cross_entropy_where_classes_are_even():
    logits, targets, known = tensors(*batch(5, rows=40))
    known[:] = True
    loss = loss_function(BalancedBce(), positives=torch.full((3,), 8.0), negatives=torch.full((3,), 8.0))
    torch.testing.assert_close(loss(logits, targets, known), 3 * 0.5 * masked_bce(logits, targets, known))


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_an_unknown_label_never_matters(spec):
    logits, targets, known = tensors(*batch(0, rows=20))
    plain, spoilt = logits.clone().requires_grad_(), logits.clone()
    spoilt[~known] = torch.tensor([math.nan, math.inf]).repeat(40)[: int((~known).sum())]
    spoilt.requires_grad_()
    loss = named(spec)
    first = loss(plain, targets, known)
    second = loss(spoilt, torch.where(known, targets, 1 - targets), known)
    first.backward()
    second.backward()
    assert torch.equal(first, second)
    assert torch.equal(plain.grad, spoilt.grad)
    assert bool((plain.grad[~known] == 0).all())
    assert bool((plain.grad[known] != 0).any())


@pytest.mark.parametrize("spec", SPECS, ids=repr)
@pytest.mark.parametrize("logit", [1e30, -5.0, math.nan])
def test_nothing_known_is_zero_with_a_zero_gradient(spec, logit):
    logits = torch.full((2, 3), logit, requires_grad=True)
    loss = named(spec)(logits, torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_extreme_logits_have_a_finite_loss_and_gradient(spec):
    values = [-100.0, -20.0, 0.0, 20.0, 100.0]
    for target in (0.0, 0.3, 1.0):
        logits = torch.tensor(values).repeat(3, 1).T.clone().requires_grad_()
        targets = torch.full((5, 3), target)
        targets[0] = 1 - target
        loss = named(spec)(logits, targets, torch.ones(5, 3, dtype=torch.bool))
        loss.backward()
        assert bool(torch.isfinite(loss))
        assert bool(torch.isfinite(logits.grad).all())


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_a_better_net_has_a_lower_loss(spec):
    _, targets, known = tensors(*batch(1, rows=20))
    right = 4 * targets - 2
    assert named(spec)(right, targets, known) < named(spec)(-right, targets, known)


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_half_precision_logits_are_lifted(spec):
    logits, targets, known = tensors(*batch(2, rows=20))
    half = logits.bfloat16()
    found = named(spec)(half, targets, known)
    assert found.dtype == torch.float32
    assert torch.equal(found, named(spec)(half.float(), targets, known))


@pytest.mark.parametrize("spec", [WeightedBce(), BalancedBce()], ids=repr)
def test_findings_without_a_class_have_finite_weights(spec):
    counts = {"positives": torch.tensor([0.0, 9.0, 0.0]), "negatives": torch.tensor([9.0, 0.0, 0.0])}
    arrays = tensors(*batch(4, rows=20))
    assert bool(torch.isfinite(loss_function(spec, **counts)(*arrays)))


def test_the_largest_weight_is_a_limit():
    counts = {"positives": torch.tensor([1.0]), "negatives": torch.tensor([999.0])}
    loss = loss_function(WeightedBce(max_weight=7), **counts)
    one = torch.ones(1, 1, dtype=torch.bool)
    assert float(loss(torch.zeros(1, 1), torch.ones(1, 1), one)) == pytest.approx(7 * math.log(2))
