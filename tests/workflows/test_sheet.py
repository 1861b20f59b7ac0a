"""Contact sheets: which images, where, with which words; and what cannot be drawn."""

import sys

import numpy as np
import pytest
from PIL import Image

from tests.helpers.command import command
from thorax.datasets.sources import open_source
from thorax.errors import DataError
from thorax.recipe.schema import Preparation
from thorax.reporting.contact_sheet import CELL, SheetImage, _wrapped, contact_sheet
from thorax.store import build_store, open_store
from thorax.workflows.sheet import _labeled_cell, sheet

SHADES = (40, 90, 140, 190, 240)
LABELS = ("1,0,p1,58,M,PA", "0,0,p2,,,", "-1,1,p3,7,F,AP", ",,p4,,,", "0,1,p5,,,")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Five gray images with two findings, and their store."""
    folder = tmp_path_factory.mktemp("data")
    for number, shade in enumerate(SHADES):
        Image.new("L", (96, 96), shade).save(folder / f"{number}.png")
    lines = [f"{number}.png,{labels}" for number, labels in enumerate(LABELS)]
    (folder / "labels.csv").write_text("\n".join(["path,Mass,Edema,patient,age,sex,view", *lines, ""]))
    source = open_source(folder)
    build_store(
        source, folder.parent / f"{folder.name}-store", Preparation(size=64), split_sha256={}, workers=1
    )
    return folder, folder.parent / f"{folder.name}-store"


def shades_of(path, columns):
    """The gray in the middle of each cell that has one, in reading order."""
    pixels = np.asarray(Image.open(path).convert("L")).astype(int)
    found = []
    step = CELL + 18
    for top in range(54, pixels.shape[0] - CELL, 1):
        row = [int(pixels[top + CELL // 2, 28 + column * step + CELL // 2]) for column in range(columns)]
        cell = pixels[top : top + CELL, 28 : 28 + CELL]
        if cell.min() == cell.max() != 255 and pixels[top - 1, 28] == 255:
            found += [shade for shade in row if shade != 255]
    return found


@pytest.mark.parametrize("kind", ["data set", "store"])
def test_every_image_is_there_once(kind, data, tmp_path):
    summary = sheet(data[kind == "store"], tmp_path / "sheet.png", count=25)
    assert (summary.num_shown, summary.num_images, summary.num_failed) == (5, 5, 0)
    assert sorted(shades_of(tmp_path / "sheet.png", 3)) == list(SHADES)


def test_the_seed_chooses_and_the_same_seed_draws_the_same_bytes(data, tmp_path):
    drawn = []
    for number, seed in enumerate((0, 0, 1, 2, 3)):
        path = tmp_path / f"{number}.png"
        sheet(data[1], path, count=2, seed=seed)
        drawn.append((path.read_bytes(), tuple(shades_of(path, 2))))
    assert drawn[0] == drawn[1]
    assert len({shades for _, shades in drawn}) > 1
    assert all(len(set(shades)) == 2 for _, shades in drawn)


@pytest.mark.parametrize(("findings", "shades"), [(["Mass"], [40]), (["mass", "Edema"], [40, 140, 240])])
def test_only_images_with_a_finding(findings, shades, data, tmp_path):
    for number, source in enumerate(data):
        path = tmp_path / f"{number}.png"
        assert sheet(source, path, findings=findings).num_images == len(shades)
        assert sorted(shades_of(path, 1 if len(shades) == 1 else 2)) == shades


def test_the_words_are_the_labels(data):
    table, pixels = open_store(data[1]).table, np.zeros((CELL, CELL), np.uint8)
    cells = [_labeled_cell(table, row, pixels) for row in range(5)]
    assert [(cell.note, tuple(cell.labels)) for cell in cells] == [
        ("0.png, M58, PA", ("Mass",)),
        ("1.png", ("none of 2 findings",)),
        ("2.png, F7, AP", ("Mass?", "Edema")),
        ("3.png", ("not labeled",)),
        ("4.png", ("Edema",)),
    ]
    assert _labeled_cell(table, 0, None).labels == ["cannot be read"]


def test_a_folder_without_labels_needs_no_pandas(tmp_path, monkeypatch):
    (tmp_path / "images/deep").mkdir(parents=True)
    for name in ("a.png", "deep/b.png"):
        Image.new("L", (80, 80), 99).save(tmp_path / "images" / name)
    (tmp_path / "images/bad.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    for name in ("pandas", "pyarrow", "torch", "scipy", "matplotlib"):
        monkeypatch.setitem(sys.modules, name, None)
    summary = sheet(tmp_path / "images", tmp_path / "sheet.png")
    assert (summary.num_shown, summary.num_failed) == (3, 1)
    assert "bad.png" in summary.notices[0]
    with pytest.raises(DataError, match="no CSV, so Mass is not labeled there"):
        sheet(tmp_path / "images", tmp_path / "other.png", findings=["Mass"])


def test_labels_wrap_into_lines_that_fit():
    assert _wrapped(["Mass"]) == ["Mass"]
    many = [
        "Effusion",
        "Infiltration",
        "Pneumonia",
        "Edema",
        "Pleural Thickening",
        "Mass",
        "Nodule",
    ]
    lines = _wrapped(many)
    assert len(lines) == 3
    assert ", ".join(line.rstrip(",") for line in lines) == ", ".join(many)


def test_a_sheet_of_one_image_has_one_cell():
    pixels = np.full((CELL, CELL), 7, np.uint8)
    content = contact_sheet([SheetImage(pixels=pixels, labels=["Mass"], note="a.png")], title="t")
    assert content.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"out": "sheet.jpg"}, "does not end in .png"),
        ({"count": 0}, "`count` is 0; give a number of images from 1 to 400"),
        ({"count": 401}, "from 1 to 400"),
        ({"findings": ["Hernia"]}, "Hernia is not labeled in this data set"),
        ({"findings": ["Msas"]}, "Msas"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_refused(settings, message, data, tmp_path):
    with pytest.raises(DataError, match=message):
        sheet(data[1], tmp_path / settings.pop("out", "sheet.png"), **settings)


def test_the_command_says_what_it_drew(data, tmp_path):
    out = tmp_path / "sheet.png"
    done = command("sheet", data[1], "--out", out, "--findings", "edema,Mass", "--count", "1")
    assert done.stdout == f"1 of 3 images are in {out}\n"
    again = command("sheet", data[1], "--out", out, expect=3)
    assert "set --overwrite to replace it" in again.stderr
    command("sheet", data[1], "--out", out, "--overwrite")
