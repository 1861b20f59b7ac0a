"""A small store with two findings that are easy to see, and a recipe that learns them in seconds."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from thorax.datasets.sources import read_folder
from thorax.datasets.splits import registered_sha256
from thorax.recipe.schema import Preparation, Recipe
from thorax.store import Store, build_store, open_store

PARTS = ["train"] * 96 + ["val"] * 40 + ["test"] * 8


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Nets this small gain nothing from two threads, and lose much where the cores are shared."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


def write_toy_source(folder: Path) -> Path:
    """Noise with a bright corner (Effusion) or a bright center (Mass); some labels are missing or unsure."""
    rng = np.random.default_rng(0)
    lines = []
    for number, part in enumerate(PARTS):
        effusion, mass = int(rng.random() < 0.5), int(rng.random() < 0.4)
        pixels = rng.integers(20, 120, (64, 64))
        pixels[40:, :24] += 110 * effusion
        pixels[16:40, 20:44] += 110 * mass
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
        unsure = {7: "-1", 11: ""}.get(number, str(effusion))
        lines.append([f"{number}.png", f"p{number // 2}", part, unsure, str(mass)])
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "patient", "split", "Effusion", "Mass"], *lines])
    return folder / "labels.csv"


@pytest.fixture(scope="session")
def toy_store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the store, images of 32 pixels."""
    folder = tmp_path_factory.mktemp("toy")
    source = read_folder(write_toy_source(folder))
    sums = registered_sha256(source.whole, source.dataset)
    build_store(source, folder / "store", Preparation(size=32), split_sha256=sums, workers=1)
    return folder / "store"


@pytest.fixture(scope="session")
def toy_store(toy_store_path: Path) -> Store:
    """The open store: 96 training, 40 validation and 8 test images."""
    return open_store(toy_store_path)


TOY: dict[str, Any] = {
    "name": "toy",
    "summary": "A recipe for tests.",
    "data": {"findings": ["Effusion", "Mass"], "split": "folder-official"},
    "store": {"size": 32},
    "model": {"backbone": "resnet10t", "arguments": {"channels": (8, 16, 16, 16)}, "input_size": 32},
    "training": {"epochs": 2, "batch_size": 16, "seed": 1},
}


def toy_recipe(**sections: Any) -> Recipe:
    """Return the recipe with some settings changed; a section's settings are added to its own."""
    values = dict(TOY)
    for name, value in sections.items():
        values[name] = {**values.get(name, {}), **value} if isinstance(value, dict) else value
    return Recipe.model_validate(values)


@pytest.fixture(scope="session")
def make_recipe() -> Any:
    """The function that makes the recipe."""
    return toy_recipe
