import math

import numpy as np
import pytest
import torch
from torch import nn

from thorax.recipe.schema import Adam, AdamW, Constant, Cosine, Plateau, Sgd, WarmRestarts
from thorax.training.learner import PlateauState, build_optimizer, learning_rate


def rates(spec, steps, *, steps_per_epoch=4, epochs=3):
    return [
        learning_rate(spec, peak=0.1, step=step, steps_per_epoch=steps_per_epoch, epochs=epochs)
        for step in range(steps)
    ]


def test_warm_up_rises_evenly_to_the_peak():
    found = rates(Constant(warmup_epochs=1), 6)
    assert found == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1])


def test_half_an_epoch_of_warm_up():
    assert rates(Constant(warmup_epochs=0.5), 3) == pytest.approx([0.05, 0.1, 0.1])


def test_a_cosine_goes_from_the_peak_to_its_final_value():
    found = rates(Cosine(final=0.1), 12)
    assert found[0] == pytest.approx(0.1)
    assert found[-1] == pytest.approx(0.01)
    assert found[5] + found[6] == pytest.approx(0.11)
    assert found == sorted(found, reverse=True)
    by_hand = 0.01 + 0.09 * (1 + math.cos(math.pi * 3 / 11)) / 2
    assert found[3] == pytest.approx(by_hand)


def test_a_cosine_after_warm_up_ends_at_the_last_step():
    found = rates(Cosine(warmup_epochs=1), 12)
    assert found[3] == found[4] == pytest.approx(0.1)
    assert found[-1] == pytest.approx(0)


def test_warm_restarts_grow():
    found = rates(WarmRestarts(first_epochs=1, factor=2), 13, epochs=9)
    starts = [step for step, rate in enumerate(found) if rate == pytest.approx(0.1)]
    assert starts == [0, 4, 12]
    assert found[2] == found[8] == pytest.approx(0.05)


def test_warm_restarts_of_equal_length():
    found = rates(WarmRestarts(first_epochs=1, factor=1, final=0.5), 12)
    assert found[0:4] == found[4:8] == found[8:12]
    assert found[2] == pytest.approx(0.075)


def test_a_plateau_by_hand():
    spec, state = Plateau(patience=1, factor=0.5), PlateauState()
    scales = []
    for loss in (1.0, 0.9, 0.95, 0.92, 0.91, 0.8, 0.8, 0.8):
        state = state.after_epoch(spec, loss, peak=0.1)
        scales.append(state.scale)
    # Lowered after the second epoch that is not better than 0.9, and again after two that only equal 0.8.
    assert scales == [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25]
    assert state.best == 0.8


def test_other_schedules_have_no_plateau():
    assert PlateauState().after_epoch(Constant(), 5.0, peak=0.1) == PlateauState()


def losses_near_the_threshold(rng, epochs):
    """Losses that fall by about 1e-4 of the best, stay, rise, jump, or are not a number."""
    loss, losses = 1.0, []
    for _ in range(epochs):
        change = rng.choice([-2e-4, -1.01e-4, -1e-4, -0.99e-4, -1e-6, 0.0, 1e-3, 0.1])
        loss *= 1 + change
        losses.append(float("nan") if rng.random() < 0.01 else loss)
        loss = min(loss, 2.0)
    return losses


@pytest.mark.parametrize("patience", [0, 1, 3, 5])
@pytest.mark.parametrize(("peak", "factor"), [(1e-3, 0.1), (5e-5, 0.1), (0.5, 0.5), (3e-3, 0.95)])
def test_a_plateau_is_torch_s(patience, peak, factor):
    spec = Plateau(patience=patience, factor=factor)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=peak)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=patience, factor=factor)
    state = PlateauState()
    lowered = set()
    for loss in losses_near_the_threshold(np.random.default_rng(patience), 2000):
        scheduler.step(loss)
        state = state.after_epoch(spec, loss, peak=peak)
        assert peak * state.scale == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        assert (state.best, state.waited) == (scheduler.best, scheduler.num_bad_epochs)
        lowered.add(state.scale)
    assert len(lowered) > 3
    assert peak * state.scale * (1 - factor) <= 1e-8  # where torch stays too


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        (Adam(lr=0.1, weight_decay=0.2), torch.optim.Adam),
        (AdamW(lr=0.1, weight_decay=0.2, betas=(0.8, 0.9)), torch.optim.AdamW),
        (Sgd(lr=0.1, weight_decay=0.2, momentum=0.0), torch.optim.SGD),
    ],
)
def test_biases_and_norms_are_spared_weight_decay(spec, kind):
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 3))
    optimizer = build_optimizer(spec, net)
    assert type(optimizer) is kind
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    found = {name: decay[id(parameter)] for name, parameter in net.named_parameters()}
    assert found == {"0.weight": 0.2, "0.bias": 0, "1.weight": 0, "1.bias": 0, "2.weight": 0.2, "2.bias": 0}


def groups_of(spec, net, **further):
    """Weight decay and learning-rate factor of each parameter."""
    groups = build_optimizer(spec, net, **further).param_groups
    found = {id(p): (group["weight_decay"], group["lr_scale"]) for group in groups for p in group["params"]}
    return {name: found[id(parameter)] for name, parameter in net.named_parameters()}


@pytest.mark.parametrize("spec", [Adam, AdamW, Sgd])
def test_biases_and_norms_decay_too_where_asked(spec):
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    found = groups_of(spec(weight_decay=0.2, decay_norms=True), net)
    assert set(found.values()) == {(0.2, 1.0)}


def test_layers_away_from_the_head_learn_more_slowly():
    net = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1), nn.Linear(1, 1))
    distances = {"0.weight": 3, "0.bias": 3, "1.weight": 1, "1.bias": 1}
    spec = AdamW(lr=0.1, weight_decay=0.2, layer_decay=0.5)
    assert groups_of(spec, net, distances=distances) == {
        "0.weight": (0.2, 0.125),
        "0.bias": (0, 0.125),
        "1.weight": (0.2, 0.5),
        "1.bias": (0, 0.5),
        "2.weight": (0.2, 1),
        "2.bias": (0, 1),
    }


def test_what_never_learns_is_left_out():
    net = nn.Linear(2, 2)
    net.bias.requires_grad_(False)
    groups = build_optimizer(Sgd(), net).param_groups
    assert [p for group in groups for p in group["params"]] == [net.weight]
