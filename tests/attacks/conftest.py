"""A small trained model and its data, as files that an attack may change."""

import csv
import shutil
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "data" / "golden"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A copy of the committed run."""
    without_looks = shutil.ignore_patterns("looks.jsonl")  # of other tests
    return Path(shutil.copytree(GOLDEN / "run", tmp_path / "run", ignore=without_looks))


@pytest.fixture(scope="session")
def store() -> Path:
    """The committed store, of 11 test images."""
    return GOLDEN / "store"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the images and labels that the store was made from."""
    return Path(shutil.copytree(GOLDEN / "source", tmp_path / "source"))


@pytest.fixture(scope="session")
def rows() -> list[dict[str, str]]:
    """The rows of the label file: path, patient, split and three findings."""
    with (GOLDEN / "source" / "labels.csv").open() as file:
        return list(csv.DictReader(file))
