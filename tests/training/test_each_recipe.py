"""Each shipped recipe, cut down: it trains two steps on phantoms, and its bundle gives the same numbers."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from thorax.bundle import load_bundle
from thorax.datasets.nih import read_nih
from thorax.datasets.phantom import write_phantoms
from thorax.errors import RecipeError
from thorax.inference.predictor import Predictor
from thorax.inference.torch_engine import TorchEngine, load_member
from thorax.models import measure_feature_grid
from thorax.models.backbones import timm
from thorax.recipe.load import load_recipe, shipped_recipes
from thorax.recipe.schema import Preparation
from thorax.store import build_store, open_store
from thorax.training import train
from thorax.training.batches import known_labels
from thorax.training.logbook import read_log
from thorax.training.losses import loss_function
from thorax.training.plan import plan_run
from thorax.training.validation import measure

PRETRAINED = [name for name in shipped_recipes() if load_recipe(name).model.weights != "none"]

SMALL = [
    "model.weights=none", "model.input_size=64", "store.size=64", "training.epochs=1",
    "schedule.warmup_epochs=0", "freeze.unfreeze_epochs=[]", "data.sample=none", "selection.metric=loss",
    "early_stopping=none",
]  # fmt: skip

FEWER_BLOCKS = ["model.arguments.block_config=[2,2,2,2]"]
FEWER_LAYERS = {
    "vit-b16": ["model.arguments={depth=2, embed_dim=96, num_heads=3}"],
    "modern": ["model.arguments={depths=[1,1,2,1], dims=[24,48,96,192]}"],
    **dict.fromkeys(
        ("chestxpert", "custom-densenet121", "dannynet", "densenet121-512", "densenet121-last-block"),
        FEWER_BLOCKS,
    ),
}
"""Millions of weights and their two moments are no help to a test; chexnet's DenseNet keeps all of them."""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Some 32 phantoms."""
    folder = tmp_path_factory.mktemp("phantoms")
    source = read_nih(write_phantoms(folder / "source", patients=10, size=64).folder)
    build_store(source, folder / "store", Preparation(size=64), workers=1)
    return open_store(folder / "store")


@pytest.fixture(scope="module")
def split(store):
    """Half of the patients to learn from, the others to validate on: so few that a hash would be unfair."""
    frame = store.table.frame
    patients = sorted(set(frame["patient"]))
    parts = ["train" if patient in patients[: len(patients) // 2] else "val" for patient in frame["patient"]]
    lines = [f"{image},{part}" for image, part in zip(frame["image"], parts, strict=True)]
    path = store.path.parent / "split.csv"
    path.write_text("\n".join(["image,part", *lines]))
    return [f"data.split=file:{path}", f"training.batch_size={parts.count('train') // 2}"]


def validation_loss(recipe, plan):
    """The recipe's loss, weighted by the frequencies among its training rows."""
    present, known = known_labels(torch.from_numpy(plan.train.targets), recipe.data.uncertain)
    return loss_function(
        recipe.loss,
        positives=present.sum(dim=0).float(),
        negatives=(known & ~present).sum(dim=0).float(),
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped_recipes())
def test_each_recipe_trains_saves_and_predicts_the_same_again(name, store, split, tmp_path):
    recipe = load_recipe(name, [*SMALL, *split, *FEWER_LAYERS.get(name, [])])
    summary = train(recipe, store, tmp_path / "run")
    steps = [event for event in read_log(tmp_path / "run" / "log.jsonl") if event["event"] == "steps"]
    assert steps[-1]["step"] == 2
    assert np.isfinite(steps[-1]["loss"])
    bundle = load_bundle(summary.bundle)
    assert bundle.findings == recipe.data.finding_tuple()
    # What the net in memory gave on validation, and what the bundle gives from the disk.
    plan = plan_run(recipe, store)
    logits = Predictor(bundle, TorchEngine(bundle, device="cpu")).logits(store.pixels(plan.val.rows))
    loss = validation_loss(recipe, plan)
    validation = measure(logits, plan.val.targets, plan.findings, loss=loss)
    assert validation.loss == pytest.approx(summary.loss, rel=1e-6)
    # Where its places look was measured, of the delivered weights; a transformer's are equal squares.
    (member,) = bundle.manifest.members
    assert member.places == measure_feature_grid(load_member(bundle, member), 64)
    assert (member.places is None) == member.model.backbone.startswith("vit")


@pytest.mark.parametrize("name", PRETRAINED)
def test_without_a_network_a_pretrained_recipe_stops_at_once_and_names_the_file(
    name, store, split, tmp_path, monkeypatch
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    recipe = load_recipe(name, [*(each for each in SMALL if each != "model.weights=none"), *split])
    with pytest.raises(
        RecipeError, match=r"download model.safetensors from https://huggingface.co/timm/.*file:PATH"
    ):
        train(recipe, store, tmp_path / "run")
    # Nothing stands in the way of the same command with the file.
    torch.manual_seed(0)
    small = timm.create_model("resnet10t", num_classes=1000, channels=(8, 8, 16, 16))
    save_file(small.state_dict(), tmp_path / "model.safetensors")
    weights = [
        f"model.weights=file:{tmp_path / 'model.safetensors'}", "model.backbone=resnet10t",
        "model.arguments={channels=[8, 8, 16, 16]}", "freeze.trained=none", "model.drop_path=0",
    ]  # fmt: skip
    train(load_recipe(name, [*SMALL, *split, *weights]), store, tmp_path / "run")
