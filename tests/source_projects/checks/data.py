"""Label files, layouts and splits."""

import csv
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.source_projects.rows import Row
from tests.source_projects.workshop import Workshop
from thorax.datasets.nih import read_nih
from thorax.datasets.splits import build_split
from thorax.datasets.table import SampleTable
from thorax.findings import NIH14
from thorax.recipe.load import load_recipe
from thorax.store import Store, open_store

REAL = Path(__file__).parents[4] / "shared" / "data" / "nih-labels"
HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)


def label_file(row: Row, workshop: Workshop) -> None:
    """A label file of the source's size is read whole."""
    images, patients = row.source["images"], row.source["patients"]
    folder = workshop.folder / "labels-only"
    if not folder.exists():
        (folder / "images").mkdir(parents=True)
        counts = [images // patients + (number < images % patients) for number in range(patients)]
        names = [
            (f"{patient:08d}_{image:03d}.png", patient, image)
            for patient, count in enumerate(counts, 1)
            for image in range(count)
        ]
        lines = [
            f"{name},No Finding,{image},{patient},50,M,PA,1024,1024,0.1,0.1" for name, patient, image in names
        ]
        (folder / "Data_Entry_2017_v2020.csv").write_text("\n".join([HEADER, *lines]) + "\n")
        (folder / "images" / names[0][0]).touch()
    source = read_nih(folder)
    assert len(source.whole.images) == len(set(source.whole.images)) == images
    assert len(set(source.whole.patients)) == patients


def all_read(row: Row, workshop: Workshop) -> None:
    """Every image of the phantoms is in the store."""
    counts = re.search(r"(\d+) of (\d+) labeled images", workshop.show(row))
    assert counts is not None
    assert int(counts[1]) == int(counts[2]) == len(labels(workshop)) == len(made(row, workshop).table)


def part_read(row: Row, workshop: Workshop) -> None:
    """The images that are there are in the store, and how many are missing is printed."""
    counts = re.search(r"(\d+) of (\d+) labeled images", workshop.show(row))
    assert counts is not None
    there = {path.name for path in (workshop.folder / "part" / "images").iterdir()}
    assert (int(counts[1]), int(counts[2])) == (len(there), len(labels(workshop)))
    assert set(made(row, workshop).table.frame["image"]) == there
    assert len(there) < len(labels(workshop))


def parts_read(row: Row, workshop: Workshop) -> None:
    """The split is that of the folders."""
    workshop.show(row)
    store = made(row, workshop)
    split = build_split("folder-official", store.table, dataset=store.dataset, whole_sha256={})
    for part in row.source["folders"]:
        there = {path.name for path in (workshop.folder / "parts" / part).iterdir()}
        names = store.table.frame["image"].iloc[split.parts[part]]
        assert {Path(name).name for name in names} == there


def as_from_nih(row: Row, workshop: Workshop) -> None:
    """The store has the pixels and labels that it has when made from NIH's own layout."""
    workshop.show(row)
    ours, theirs = made(row, workshop), open_store(workshop.folder / "store")
    images = list(theirs.table.frame["image"])
    order = [list(ours.table.frame["image"]).index(image) for image in images]
    assert len(order) == len(ours.table)
    rows = np.arange(len(images))
    assert np.array_equal(ours.pixels(np.array(order)), theirs.pixels(rows))
    names = [finding.name for finding in NIH14]
    pd.testing.assert_frame_equal(
        ours.table.frame[names].iloc[order].reset_index(drop=True), theirs.table.frame[names]
    )


def several_labels(row: Row, workshop: Workshop) -> None:
    """Each image has a label for each finding, and several findings where the label file says so."""
    workshop.show(row)
    table = open_store(workshop.folder / "store").table.frame
    names = [finding.name for finding in NIH14]
    assert len(names) == row.source["findings"]
    written = {
        line["Image Index"]: set(line["Finding Labels"].split("|")) - {"No Finding"}
        for line in labels(workshop)
    }
    positive = {line["image"]: {name for name in names if line[name] == 1} for _, line in table.iterrows()}
    assert positive == written
    assert Counter(map(len, written.values()))[2] > 0


def split_by_patient(row: Row, workshop: Workshop) -> None:
    """No patient is in two parts."""
    store = open_store(workshop.folder / "store")
    split = build_split(row.source["split"], store.table, dataset=store.dataset, whole_sha256={})
    patients = [set(store.table.frame["patient"].iloc[rows]) for rows in split.parts.values()]
    assert sum(map(len, patients)) == len(set.union(*patients)) == 80
    assert sum(map(len, split.parts.values())) == len(store.table)


def split_shares(row: Row, workshop: Workshop) -> None:
    """Of 5,000 patients each part has the source's share; the recipe's own split is another."""
    patients = [f"patient-{number}" for number in range(5000)]
    table = SampleTable(pd.DataFrame({"image": patients, "patient": patients, "official": ""}), ())
    split = build_split(row.source["split"], table, dataset="any", whole_sha256={})
    shares = [len(split.parts[part]) / len(patients) for part in ("train", "val", "test")]
    assert shares == pytest.approx(row.source["shares"], abs=0.02)
    recipe = load_recipe(row.recipe, [f"data.split={row.source['split']}"])
    assert recipe.data.split == row.source["split"] != load_recipe(row.recipe).data.split


def labels(workshop: Workshop) -> list[dict[str, str]]:
    """The lines of the phantoms' label file."""
    with (workshop.folder / "nih" / "Data_Entry_2017_v2020.csv").open() as file:
        return list(csv.DictReader(file))


def made(row: Row, workshop: Workshop) -> Store:
    """The store that the row's command made."""
    out = re.search(r"--out (\S+)", row.run[-1])
    assert out is not None
    return open_store(workshop.folder / out[1])
