import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from thorax.errors import RecipeError
from thorax.training.compute import pick_compute
from thorax.training.learner import Learner

STEPS = 3
TWO = np.array([3.0, 5.0])


def learner(recipe, *, dtype=torch.float32, **settings):
    compute = replace(pick_compute("cpu", "auto"), dtype=dtype)
    return Learner(recipe, positives=TWO, negatives=2 * TWO, steps=STEPS, compute=compute, **settings)


def train(subject, epochs, *, lr=0.01):
    """Random images and labels, the same for each step of the run."""
    for epoch in epochs:
        subject.begin_epoch(epoch)
        for epoch_step in range(STEPS):
            step = epoch * STEPS + epoch_step
            rng = np.random.default_rng(step)
            images = torch.from_numpy(rng.random((4, 1, 32, 32), dtype=np.float32))
            targets = torch.from_numpy((rng.random((4, 2)) < 0.5).astype(np.float32))
            known = torch.ones(4, 2, dtype=torch.bool)
            subject.step(images, targets, known, lr=lr, epoch_step=epoch_step, step=step)
        # As after validation.
        subject.classifier.eval()
        subject.classifier.train()


def stored(subject):
    """A copy of everything, as a checkpoint keeps it."""
    return {name: tensor.detach().clone().contiguous() for name, tensor in subject.tensors().items()}


def changed(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


FREEZING = {
    "freeze": {"trained": ["stage4"], "unfreeze_epochs": [1, 2]},
    "training": {"epochs": 4, "ema": 0.9, "gradient_clip": 1.0},
}
OPTIMIZERS = [
    {"kind": "adam", "weight_decay": 0.1, "decay_norms": True},
    {"kind": "adamw", "weight_decay": 0.1},
    {"kind": "adamw", "weight_decay": 0.1, "layer_decay": 0.6},
    {"kind": "sgd", "weight_decay": 0.1, "momentum": 0.9},
]


@pytest.mark.parametrize("optim", OPTIMIZERS, ids=str)
def test_what_is_frozen_stays_the_same_to_the_byte(optim, make_recipe):
    subject = learner(make_recipe(optim=optim, **FREEZING))
    before = {}
    for epoch, learns in enumerate([("layer4",), ("layer4", "layer3"), ("layer4", "layer3", "layer2")]):
        before = stored(subject)
        train(subject, [epoch])
        parts = [f"{of}backbone.{stage}." for of in ("net.", "average.") for stage in learns]
        parts += ["net.head.", "average.head."]
        moved = {name for name in changed(before, stored(subject)) if not name.startswith("optimiser.")}
        expected = {name for name in before if name.startswith(tuple(parts))} | {"losses"}
        # Batch statistics and their counts too, and the average with them.
        assert moved == expected
    moments = [name for name in stored(subject) if name.startswith("optimiser.")]
    trained = sum(parameter.requires_grad for parameter in subject.classifier.parameters())
    assert len({name.split(".")[1] for name in moments}) == trained


@pytest.mark.parametrize("optim", OPTIMIZERS, ids=str)
def test_resuming_across_an_unfreezing_is_invisible(optim, make_recipe):
    recipe = make_recipe(optim=optim, model={"head": {"dropout": 0.3}}, **FREEZING)
    whole = learner(recipe)
    train(whole, range(4))
    expected = stored(whole)
    for cut in (1, 2, 3):
        first = learner(recipe)
        train(first, range(cut))
        second = learner(recipe, pretrained=False)
        second.restore(stored(first), first.extra())
        train(second, range(cut, 4))
        found = stored(second)
        assert found.keys() == expected.keys()
        assert changed(found, expected) == set()


def test_without_freezing_everything_learns(make_recipe):
    subject = learner(make_recipe())
    before = stored(subject)
    train(subject, [0])
    still = before.keys() - changed(before, stored(subject))
    assert still == {"net.mean", "net.std"}


def test_layers_move_in_proportion_to_their_distance(make_recipe):
    """Sign-like first steps of Adam are as long as the learning rate, whatever the gradient."""
    optim = {"kind": "adam", "layer_decay": 0.5, "betas": [0.0, 0.0]}
    subject = learner(make_recipe(optim=optim))
    before = stored(subject)
    subject.losses.zero_()
    images = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    known = torch.ones(4, 2, dtype=torch.bool)
    subject.step(images, torch.eye(4, 2), known, lr=0.01, epoch_step=0, step=0)
    after = stored(subject)

    def moved(name):
        return float((after[name] - before[name]).abs().max())

    # resnet10t has a stem and four blocks.
    assert moved("net.head.weight") == pytest.approx(0.01, rel=1e-3)
    for stage in (1, 2, 3, 4):
        name = f"net.backbone.layer{stage}.0.bn2.weight"
        assert moved(name) == pytest.approx(0.01 * 0.5 ** (5 - stage), rel=1e-2)
    assert moved("net.backbone.conv1.0.weight") == pytest.approx(0.01 * 0.5**5, rel=1e-2)


def test_the_loss_knows_the_frequencies_of_the_findings(make_recipe):
    subject = learner(make_recipe(loss={"kind": "weighted-bce"}))
    with torch.no_grad():
        subject.classifier.head.weight.zero_()
        subject.classifier.head.bias.zero_()
    known = torch.ones(4, 2, dtype=torch.bool)
    subject.step(torch.rand(4, 1, 32, 32), torch.ones(4, 2), known, lr=0.0, epoch_step=0, step=0)
    # Twice as many negatives as positives; the net says 1/2.
    assert float(subject.losses[0]) == pytest.approx(2 * math.log(2))


def test_a_stage_that_is_not_there_is_refused_before_the_first_step(make_recipe):
    with pytest.raises(RecipeError, match=r"freeze.trained names block4, which this backbone does not have"):
        learner(make_recipe(freeze={"trained": ["block4"]}))


# ---- float16: on a GPU in use, here on a CPU, whose GradScaler is the same class --------------------------


@pytest.mark.parametrize("optim", [{"kind": "adamw"}, {"kind": "adam"}, {"kind": "sgd"}], ids=str)
@pytest.mark.parametrize("clip", [None, 1.0])
def test_float16_with_scaled_gradients_learns_as_float32_does(optim, clip, make_recipe):
    recipe = make_recipe(optim=optim, training={"gradient_clip": clip})
    exact, half = learner(recipe), learner(recipe, dtype=torch.float16)
    before = stored(half)
    # Low enough for the gradients of this net, so that no step is skipped.
    half.restore(before, {"scaler": half.extra()["scaler"] | {"scale": 256.0}})
    for subject in (exact, half):
        train(subject, [0], lr=1e-3)
    assert (half.extra()["scaler"]["scale"], half.extra()["scaler"]["_growth_tracker"]) == (256.0, STEPS)
    assert exact.extra()["scaler"] == {}
    assert float(half.losses[0]) == pytest.approx(float(exact.losses[0]), abs=5e-3)
    moved, reached = (
        stored(subject)["net.head.weight"] - before["net.head.weight"] for subject in (exact, half)
    )
    similarity = torch.nn.functional.cosine_similarity(moved.flatten(), reached.flatten(), dim=0)
    assert float(similarity) > 0.95
    assert float(reached.norm()) == pytest.approx(float(moved.norm()), rel=0.1)


def test_a_step_whose_scaled_gradients_overflow_is_skipped_and_the_scale_halved(make_recipe):
    subject = learner(make_recipe(optim={"kind": "adamw"}), dtype=torch.float16)
    train(subject, [0])
    extra = subject.extra()["scaler"] | {"scale": 2.0**126}
    subject.restore(stored(subject), {"scaler": extra})
    before = {name: tensor for name, tensor in stored(subject).items() if "running" not in name}
    train(subject, [1])
    after = stored(subject)
    assert subject.extra()["scaler"]["scale"] == 2.0**123  # each of three steps overflows
    assert {name for name in changed(before, {name: after[name] for name in before}) if name != "losses"} <= {
        name for name in before if "num_batches" in name
    }
    assert bool(torch.isfinite(subject.losses).all())


def test_a_resumed_run_in_float16_has_the_scale_of_an_uninterrupted_one(make_recipe):
    recipe = make_recipe(optim={"kind": "adamw"}, training={"gradient_clip": 1.0})
    whole, parts = learner(recipe, dtype=torch.float16), learner(recipe, dtype=torch.float16)
    train(whole, range(3))
    train(parts, range(2))
    resumed = learner(recipe, dtype=torch.float16)
    resumed.restore(stored(parts), parts.extra())
    train(resumed, [2])
    assert changed(stored(whole), stored(resumed)) == set()
    assert whole.extra() == resumed.extra()
