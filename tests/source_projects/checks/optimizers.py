"""Optimizers and schedules of the recipes beside torch's, with the source's settings."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from tests.helpers.toy_nets import build, images
from tests.source_projects.checks.losses import labels
from tests.source_projects.rows import Row
from tests.source_projects.workshop import Workshop
from thorax.findings import NIH14
from thorax.recipe.load import load_recipe
from thorax.training.learner import PlateauState, build_optimizer, learning_rate
from thorax.training.losses import loss_function
from thorax.training.validation import measure


def steps(row: Row, workshop: Workshop) -> None:
    """After 20 steps the weights are those of torch's optimizer with the source's settings."""
    settings = {name: value for name, value in row.source.items() if name != "optimizer"}
    spec = load_recipe(row.recipe).optim
    ours = build().double()
    theirs = copy.deepcopy(ours)
    optimizers = [
        build_optimizer(spec, ours, distances=None),
        getattr(torch.optim, row.source["optimizer"])(theirs.parameters(), **settings),
    ]
    shown = images(4).double()
    targets = (torch.rand(4, 3, generator=torch.Generator().manual_seed(0)) < 0.5).double()
    start = copy.deepcopy(ours.state_dict())
    for _ in range(20):
        for net, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            torch.autograd.backward(nn.BCEWithLogitsLoss()(net(shown), targets))
            optimizer.step()
    for name, expected in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], expected, rtol=1e-6, atol=1e-8)
    assert not torch.equal(ours.state_dict()["head.weight"], start["head.weight"])


def plateau(row: Row, workshop: Workshop) -> None:
    """The rate of torch's ReduceLROnPlateau with the source's settings, over 20 courses of losses."""
    recipe = load_recipe(row.recipe)
    peak = recipe.optim.lr
    for seed in range(20):
        rng = np.random.default_rng(seed)
        losses = np.linspace(0.9, 0.5, 60) + rng.normal(0, 0.1, 60)
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=peak)
        theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="min", **row.source)
        state = PlateauState()
        for loss in losses:
            theirs.step(float(loss))
            state = state.after_epoch(recipe.schedule, float(loss), peak=peak)
            assert state.scale * peak == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        assert state.scale < 1


def plateau_of_own_loss(row: Row, workshop: Workshop) -> None:
    """As above; and what a run follows on validation is the recipe's own loss."""
    plateau(row, workshop)
    logits, targets = labels()
    known = torch.ones_like(targets, dtype=torch.bool)
    loss = loss_function(
        load_recipe(row.recipe).loss, positives=targets.sum(0), negatives=(1 - targets).sum(0)
    )
    watched = measure(logits.double().numpy(), targets.numpy().astype(np.int8), NIH14, loss=loss).loss
    assert watched == pytest.approx(float(loss(logits, targets, known)), rel=1e-5)
    assert watched != pytest.approx(float(nn.BCEWithLogitsLoss()(logits, targets)), rel=0.1)


def warm_restarts(row: Row, workshop: Workshop) -> None:
    """The rate at the start of each epoch is that of torch's CosineAnnealingWarmRestarts."""
    recipe, source = load_recipe(row.recipe), row.source
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=source["lr"])
    theirs = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(
        optimizer, T_0=source["T_0"], T_mult=source["T_mult"], eta_min=source["eta_min"]
    )
    assert recipe.training.epochs == source["epochs"]
    for epoch in range(source["epochs"]):
        rate = learning_rate(
            recipe.schedule, peak=recipe.optim.lr, step=7 * epoch, steps_per_epoch=7, epochs=source["epochs"]
        )
        assert rate == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        theirs.step()
