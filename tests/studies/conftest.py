"""A store with two findings that are easy to see, and a study of two small recipes with two seeds on it."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.training.conftest import toy_recipe
from tests.tuning.conftest import store_from
from thorax.recipe.load import write_recipe
from thorax.studies.study import study

PARTS = ["train"] * 64 + ["val"] * 32 + ["test"] * 60
FINDINGS = ("Effusion", "Mass")


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """As in the processes of several devices on two cores, so that all give the same bytes."""
    count, before = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    yield
    torch.set_num_threads(count)
    if before is None:
        del os.environ["OMP_NUM_THREADS"]


@pytest.fixture(scope="session", autouse=True)
def _looks_of_these_tests_alone(tmp_path_factory):
    """A state folder of their own, so that looks can be counted exactly."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


def write_source(folder: Path) -> Path:
    """Noise with a faint bright corner (Effusion) or center (Mass), two images of each patient."""
    rng = np.random.default_rng(3)
    rows = []
    for number, part in enumerate(PARTS):
        labels = [int(rng.random() < 0.45), int(rng.random() < 0.4)]
        pixels = rng.integers(20, 120, (64, 64))
        pixels[40:, :24] += 12 * labels[0]
        pixels[16:40, 20:44] += 12 * labels[1]
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
        shown = ["" if number % 17 == 5 + k else str(label) for k, label in enumerate(labels)]
        rows.append([f"{number}.png", f"p{number // 2}", part, *shown])
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "patient", "split", *FINDINGS], *rows])
    return folder / "labels.csv"


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """The CSV of the labels."""
    return write_source(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="session")
def store(source):
    """The folder of the store."""
    return store_from(source, source.parent / "store")


MINE = """
name = "mine"
summary = "Two learning rates"
recipes = ["fast.toml", "slow.toml"]
seeds = [0, 1]
test_curve = true
resamples = 50

[data.toy]
splits = ["folder-official"]
"""


@pytest.fixture(scope="session")
def recipes(tmp_path_factory):
    """A folder with two recipes and the study of both."""
    folder = tmp_path_factory.mktemp("recipes")
    for name, lr in (("fast", 1e-2), ("slow", 1e-4)):
        recipe = toy_recipe(name=name, optim={"lr": lr}, training={"epochs": 2})
        write_recipe(recipe, folder / f"{name}.toml")
    (folder / "mine.toml").write_text(MINE)
    return folder


@pytest.fixture(scope="session")
def told():
    """What the study tells of itself on the way: its progress, and each outcome with its number."""
    return {"progress": [], "finished": []}


@pytest.fixture(scope="session")
def finished(recipes, store, told, tmp_path_factory):
    """The result of the study."""
    return study(
        recipes / "mine.toml",
        tmp_path_factory.mktemp("study") / "out",
        stores=store,
        devices=["cpu"],
        progress=told["progress"].append,
        finished=lambda outcome, number, total: told["finished"].append(
            (outcome.step, outcome.cell.name, number, total)
        ),
    )
