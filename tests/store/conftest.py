"""Small data sets of real PNG files, and folders compared byte by byte."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from thorax.boxes import FindingBox
from thorax.datasets.sources import read_folder
from thorax.datasets.table import SampleTable, Source
from thorax.recipe.schema import Preparation
from thorax.store.plan import Settings

SMALL = Preparation(size=32)


@pytest.fixture
def settings() -> Settings:
    """Shards of ten rows at 32 pixels."""
    return Settings(preparation=SMALL, shard_rows=10, split_sha256={"nih-official": "ab" * 32})


@pytest.fixture
def images(tmp_path: Path) -> Callable[..., Path]:
    """Write `count` PNG files and their CSV; return the CSV's path."""

    def write(count: int, *, height: int = 80, width: int = 64, name: str = "source") -> Path:
        root = tmp_path / name
        (root / "images").mkdir(parents=True)
        draws = np.random.default_rng(count)
        names = [f"images/{number:05d}.png" for number in range(count)]
        for path in names:
            pixels = draws.integers(0, 256, (height, width), np.uint8)
            Image.fromarray(pixels).save(root / path, compress_level=1)
        frame = pd.DataFrame({"path": names, "patient": [f"p{n // 2}" for n in range(count)]})
        frame["Effusion"] = draws.integers(0, 2, count)
        frame["Mass"] = [["1", "0", "-1", ""][n % 4] for n in range(count)]
        frame.to_csv(root / "labels.csv", index=False)
        return root / "labels.csv"

    return write


@pytest.fixture
def source(images: Callable[..., Path]) -> Source:
    """Thirty-six images of 64 x 80 pixels: four shards, the last one short."""
    return read_folder(images(36))


@pytest.fixture
def with_boxes() -> Callable[..., Source]:
    """Give a source's first row one box."""

    def give(source: Source, box: FindingBox, *, box_side: int | None) -> Source:
        boxes = pd.Series([(box,), *[()] * (len(source.table) - 1)], dtype=object)
        table = SampleTable(source.table.frame.assign(boxes=boxes), source.table.findings)
        return replace(source, table=table, box_side=box_side)

    return give


@pytest.fixture
def contents() -> Callable[[Path], dict[str, bytes]]:
    """Return the content of every file of a folder, hidden ones included."""
    return lambda folder: {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
