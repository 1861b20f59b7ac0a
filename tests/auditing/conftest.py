"""A clean store of phantoms, and tables made by hand."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from thorax.auditing.lists import Locator, locate_parts
from thorax.datasets.nih import read_nih
from thorax.datasets.phantom import write_phantoms
from thorax.datasets.splits import NIH_DATASET, registered_sha256
from thorax.datasets.table import SampleTable
from thorax.findings import finding_or_new
from thorax.recipe.schema import Preparation
from thorax.store import Store, build_store, open_store


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory) -> Path:
    """120 phantom patients in NIH's layout."""
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantoms(folder / "source", patients=120, size=64)
    return folder / "source"


@pytest.fixture(scope="session")
def clean(phantoms) -> Store:
    """Their store."""
    source = read_nih(phantoms)
    sums = registered_sha256(source.whole, source.dataset)
    out = phantoms.parent / "store"
    build_store(source, out, Preparation(size=64), split_sha256=sums, workers=1)
    return open_store(out)


@pytest.fixture(scope="session")
def real(nih_sample, tmp_path_factory) -> Store:
    """The real sample's store."""
    source = read_nih(nih_sample)
    sums = registered_sha256(source.whole, source.dataset)
    out = tmp_path_factory.mktemp("real") / "store"
    build_store(source, out, Preparation(size=256), split_sha256=sums, workers=1)
    return open_store(out)


def _table(images: Sequence[str], patients: Sequence[str] = (), **findings: Sequence[int]) -> SampleTable:
    """Return a table of these images; patients are told by NIH's names where not given."""
    count = len(images)
    owners = list(patients) or [name.split("/")[-1][:8].lstrip("0") for name in images]
    frame = pd.DataFrame(
        {
            "image": list(images),
            "path": list(images),
            "patient": owners,
            "age": pd.array([50] * count, dtype="Int16"),
            "sex": "F",
            "view": "PA",
            "follow_up": pd.array([7] * count, dtype="Int16"),
            "official": "",
            "boxes": pd.Series([()] * count, dtype=object),
        }
    )
    labels = findings or {"Mass": [0] * count}
    for name, values in labels.items():
        frame[name] = pd.array(np.asarray(values, dtype=np.int8), dtype="Int8")
    return SampleTable(frame, tuple(finding_or_new(name) for name in labels))


@pytest.fixture
def table() -> Callable[..., SampleTable]:
    """Make a table."""
    return _table


@pytest.fixture
def lists() -> Callable[..., object]:
    """Make lists of a table's images: lists(table, train=[...], test=[...])."""

    def make(table, *, dataset=NIH_DATASET, **parts):
        return locate_parts("lists", parts, Locator(table, dataset))

    return make
