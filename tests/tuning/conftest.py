"""A small store with two findings that are easy to see, a recipe that trains in a second, and a space."""

from pathlib import Path

import pytest
import torch

from tests.training.conftest import toy_recipe, write_toy_source
from thorax.datasets.sources import read_folder
from thorax.datasets.splits import registered_sha256
from thorax.recipe.load import write_recipe
from thorax.recipe.schema import Preparation
from thorax.store import build_store

SPACE = """
[optim]
lr = { low = 1e-4, high = 1e-1, log = true }

[model.head]
dropout = { low = 0.0, high = 0.5 }

[loss]
kind = { choices = ["bce", "focal"] }
"""


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


def store_from(labels: Path, folder: Path) -> Path:
    source = read_folder(labels)
    sums = registered_sha256(source.whole, source.dataset)
    build_store(source, folder, Preparation(size=32), split_sha256=sums, workers=1)
    return folder


@pytest.fixture(scope="session")
def toy_store(tmp_path_factory):
    """The folder of 96 training, 40 validation and 8 test images of 32 pixels."""
    folder = tmp_path_factory.mktemp("toy")
    return store_from(write_toy_source(folder), folder / "store")


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """The recipe's file; three epochs."""
    path = tmp_path_factory.mktemp("recipe") / "toy.toml"
    write_recipe(toy_recipe(training={"epochs": 3}), path)
    return path


@pytest.fixture
def space(tmp_path):
    path = tmp_path / "space.toml"
    path.write_text(SPACE)
    return path
