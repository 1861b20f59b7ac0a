"""What only a GPU can show: run where there is one."""

import numpy as np
import pytest
import torch

from thorax.recipe.schema import Augment
from thorax.training import TrainingInterrupted, train
from thorax.training.augment import apply_augment, draw_augment
from thorax.training.batches import PartPixels
from thorax.training.logbook import read_log
from thorax.training.plan import plan_run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

DRAWN = {"flip": 0.5, "rotate": 10, "zoom": (0.8, 1.2), "contrast": 0.2, "erase": 0.5, "mixup": 0.4}


def stop(now):
    if (now.stage, now.done) == ("epoch 2 of 2", 32):  # the eighth step
        raise KeyboardInterrupt


@pytest.mark.parametrize("compiling", ["off", "on"])
def test_an_exact_run_gives_the_same_bytes_resumed_or_not(compiling, toy_store, make_recipe, tmp_path):
    recipe = make_recipe(
        augment=DRAWN,
        model={"backbone": "densenet121", "arguments": {"growth_rate": 8, "block_config": (2, 2, 2, 2)}},
        training={"ema": 0.9, "compile": compiling},
    )
    weights = []
    for name in ("one", "two", "parts"):
        if name == "parts":
            with pytest.raises(TrainingInterrupted):
                train(recipe, toy_store, tmp_path / name, device="cuda", progress=stop)
        summary = train(recipe, toy_store, tmp_path / name, device="cuda", resume=True)
        weights.append((summary.bundle / "weights.safetensors").read_bytes())
    assert weights[0] == weights[1] == weights[2]


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_a_run_in_half_precision_learns_and_resumes(precision, toy_store, make_recipe, tmp_path):
    recipe = make_recipe(training={"precision": precision, "epochs": 2})
    with pytest.raises(TrainingInterrupted):
        train(recipe, toy_store, tmp_path / "parts", device="cuda", progress=stop)
    runs = [
        train(recipe, toy_store, tmp_path / name, device="cuda", resume=True) for name in ("parts", "whole")
    ]
    first, second = ((run.bundle / "weights.safetensors").read_bytes() for run in runs)
    assert first == second
    losses = [e["train_loss"] for e in read_log(tmp_path / "whole/log.jsonl") if e["event"] == "epoch"]
    assert losses[1] < losses[0]


def test_pixels_on_the_device_are_those_of_the_store(toy_store, make_recipe):
    part, device = plan_run(make_recipe(), toy_store).train, torch.device("cuda")
    members = np.array([95, 0, 3, 3, 17])
    lying, fetched = (PartPixels(part, device, resident=each) for each in (True, False))
    assert lying.resident
    assert torch.equal(lying.fetch(members), fetched.fetch(members))
    assert np.array_equal(lying.fetch(members).cpu().numpy(), toy_store.pixels(part.rows[members]))


def test_augmentation_is_that_of_the_cpu():
    spec = Augment(flip=0.5, rotate=10, translate=0.1, gain=0.2, contrast=0.2, gamma=(0.7, 1.4), erase=0.5)
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (32, 48, 48), dtype=np.uint8))
    params = draw_augment(spec, seed=0, epoch=0, positions=np.arange(32))
    expected = apply_augment(pixels, params, spec=spec, input_size=32)
    device = torch.device("cuda")
    found = apply_augment(pixels.to(device), params.to(device), spec=spec, input_size=32)
    torch.testing.assert_close(found.cpu(), expected, atol=1e-4, rtol=0)
