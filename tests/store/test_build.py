"""What a store consists of, and that nothing but its source and settings decides it."""

import csv
import hashlib
import json
import resource
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from thorax.boxes import Box, FindingBox
from thorax.datasets.sources import read_folder
from thorax.errors import DataError
from thorax.findings import finding_or_new
from thorax.imaging import map_box, prepare, read_radiograph
from thorax.recipe.schema import Preparation
from thorax.store import build_store, open_store
from thorax.store.build import build
from thorax.store.plan import Settings

FILES = [*(f"pixels-{n:05d}.npy" for n in range(4)), "rejected.csv", "store.json", "table.parquet"]


def test_every_slot_is_the_prepared_file(source, settings, tmp_path):
    summary = build(source, tmp_path / "store", settings, workers=1)
    assert (summary.num_images, summary.num_rejected) == (36, 0)
    assert (summary.num_shards, summary.resumed_shards) == (4, 0)
    assert sorted(path.name for path in summary.path.iterdir()) == FILES
    shards = [np.load(summary.path / name) for name in FILES[:4]]
    assert [len(shard) for shard in shards] == [10, 10, 10, 6]
    for row, path in enumerate(source.table.frame["path"]):
        expected = prepare(read_radiograph(source.root / path), settings.preparation)
        np.testing.assert_array_equal(shards[row // 10][row % 10], expected)


@pytest.mark.parametrize("workers", [2, 3])
def test_the_bytes_do_not_depend_on_the_workers(source, settings, tmp_path, contents, workers):
    (source.root / source.table.frame["path"][13]).write_bytes(b"no image")
    build(source, tmp_path / "one", settings, workers=1)
    build(source, tmp_path / "several", settings, workers=workers)
    assert contents(tmp_path / "one") == contents(tmp_path / "several")


def test_the_bytes_do_not_depend_on_the_place(images, settings, tmp_path, contents):
    first = read_folder(images(12, name="here"))
    shutil.copytree(first.root, tmp_path / "elsewhere")  # keeps modification times
    build(first, tmp_path / "one", settings, workers=1)
    build(read_folder(tmp_path / "elsewhere" / "labels.csv"), tmp_path / "two", settings, workers=1)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    for content in contents(tmp_path / "one").values():
        assert str(tmp_path).encode() not in content


def test_the_table_says_where_each_row_came_from(source, settings, tmp_path):
    build(source, tmp_path / "store", settings, workers=1)
    table = pq.read_table(tmp_path / "store" / "table.parquet").to_pandas()
    path = source.root / table["path"][35]
    assert table["row"].tolist() == list(range(36))
    assert table["sha256"][35] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert table["file_bytes"][35] == path.stat().st_size
    assert table["mtime_ns"][35] == path.stat().st_mtime_ns
    assert (table["height"][35], table["width"][35]) == (80, 64)
    assert set(table["intensity"]) == {read_radiograph(path).origin.intensity}


def test_store_json_says_what_the_store_is(source, settings, tmp_path):
    build(source, tmp_path / "store", settings, workers=1)
    manifest = json.loads((tmp_path / "store" / "store.json").read_bytes())
    assert manifest["format"] == 1
    assert manifest["dataset"] == source.dataset
    assert "split_images" not in manifest
    assert manifest["preparation"] == {"size": 32, "fit": "pad"}
    assert manifest["split_sha256"] == {"nih-official": "ab" * 32}
    assert manifest["label_files"] == dict(source.label_files)
    assert (manifest["num_rows"], manifest["num_images"], manifest["num_rejected"]) == (36, 36, 0)
    for number, shard in enumerate(manifest["shards"]):
        content = (tmp_path / "store" / FILES[number]).read_bytes()
        assert shard == {
            "rows": [10, 10, 10, 6][number],
            "sha256": hashlib.sha256(content).hexdigest(),
        }


def test_files_that_cannot_be_used_are_listed_and_left_out(source, settings, tmp_path):
    paths = [source.root / path for path in source.table.frame["path"]]
    paths[0].write_bytes(paths[0].read_bytes()[:-900])
    paths[11].write_text("this is not an image, but it is long enough to be one\n" * 40)
    paths[12].write_bytes(b"")
    Image.new("L", (32, 32)).save(paths[35])
    seen = []
    summary = build(
        source, tmp_path / "store", settings, workers=2, progress=lambda *counts: seen.append(counts)
    )
    assert (summary.num_images, summary.num_rejected) == (32, 4)
    assert seen == [(done, 36) for done in range(1, 37)]
    with (summary.path / "rejected.csv").open(newline="") as file:
        rejected = list(csv.DictReader(file))
    assert [row["path"] for row in rejected] == [source.table.frame["path"][n] for n in (0, 11, 12, 35)]
    assert all(Path(row["path"]).name in row["reason"] for row in rejected)
    assert "32 x 32 pixels are too few" in rejected[3]["reason"]
    kept = [n for n in range(36) if n not in {0, 11, 12, 35}]
    pd.testing.assert_frame_equal(
        open_store(summary.path).table.frame[["image", "patient", "Effusion", "Mass"]],
        source.table.frame.iloc[kept].reset_index(drop=True)[["image", "patient", "Effusion", "Mass"]],
        check_dtype=False,
    )
    assert not np.load(summary.path / "pixels-00000.npy")[0].any()  # an unused slot stays zero
    assert not np.load(summary.path / "pixels-00003.npy")[5].any()


def test_pictures_in_doubt_are_used_listed_and_announced(source, settings, tmp_path):
    paths = [source.root / path for path in source.table.frame["path"]]
    with Image.open(paths[3]) as image:
        side, grays = image.size, np.asarray(image.convert("L"))
    Image.new("L", side, 7).save(paths[5])
    Image.fromarray(grays.astype(np.uint16) * 16).save(paths[20])
    summary = build(source, tmp_path / "store", settings, workers=2)
    assert (summary.num_images, summary.num_rejected) == (36, 0)
    with (summary.path / "doubts.csv").open(newline="") as file:
        doubtful = list(csv.DictReader(file))
    assert [row["path"] for row in doubtful] == [source.table.frame["path"][n] for n in (5, 20)]
    assert "every pixel has the same gray (7 of 255)" in doubtful[0]["doubt"]
    assert "assumed to hold values of 12 bits" in doubtful[1]["doubt"]
    (notice,) = summary.notices
    assert notice.startswith(
        "2 images were used although something about the picture is in doubt (00005.png: "
    )
    again = build(source, tmp_path / "store", settings, workers=1)
    assert again.notices == ("the store was complete already", *summary.notices)


def test_a_huge_file_is_rejected_unread(source, settings, tmp_path):
    with (source.root / source.table.frame["path"][3]).open("r+b") as file:
        file.truncate(1 << 40)  # sparse: takes no room
    build(source, tmp_path / "store", settings, workers=1)
    assert "1,099,511,627,776 bytes are too many" in (tmp_path / "store" / "rejected.csv").read_text()


def test_no_usable_file_is_an_error(source, settings, tmp_path):
    for path in source.table.frame["path"]:
        (source.root / path).write_bytes(b"")
    with pytest.raises(DataError, match=r"none of the 36 images of .*images/00000\.png: .*rejected\.csv"):
        build(source, tmp_path / "store", settings, workers=1)
    assert (tmp_path / "store" / "rejected.csv").read_text().count("\n") == 37
    with pytest.raises(DataError, match="is a store that is not finished"):
        open_store(tmp_path / "store")


def test_an_empty_source_is_an_error(source, settings, tmp_path):
    nothing = replace(source, table=source.table.take(np.array([], np.int64)))
    with pytest.raises(DataError, match="has no image to prepare; check its label file"):
        build(nothing, tmp_path / "store", settings)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
@pytest.mark.parametrize("box_side", [None, 1024])
def test_boxes_are_mapped_to_prepared_pixels(source, tmp_path, with_boxes, fit, box_side):
    mass = finding_or_new("Mass")
    preparation = Preparation(size=32, fit=fit)
    box = Box(16.0, 20.0, 24.0, 30.0)  # of 64 x 80 pixels
    given = FindingBox(mass, box)
    if box_side:
        scaled = (side * 1024 / of for side, of in zip(box, (64, 80) * 2, strict=True))
        given = FindingBox(mass, Box(*scaled))
    build_store(with_boxes(source, given, box_side=box_side), tmp_path / "store", preparation, workers=1)
    expected = map_box(box, height=80, width=64, preparation=preparation)
    (kept,) = open_store(tmp_path / "store").table.frame["boxes"][0]
    assert kept.box == pytest.approx(expected, abs=1e-12)
    assert kept.finding == mass


def test_a_box_that_the_crop_leaves_nothing_of_is_dropped(source, tmp_path, with_boxes):
    outside = with_boxes(
        source, FindingBox(finding_or_new("Mass"), Box(10.0, 0.0, 20.0, 7.0)), box_side=None
    )  # above row 8
    build_store(outside, tmp_path / "store", Preparation(size=32, fit="crop"), workers=1)
    assert open_store(tmp_path / "store").table.frame["boxes"][0] == ()


def test_a_foreign_folder_is_refused_and_left_alone(source, settings, tmp_path, contents):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(
        DataError,
        match=r"mine is not empty and is not a store \(it has thesis\.txt\); give a new or empty folder",
    ):
        build(source, tmp_path / "mine", settings)
    assert contents(tmp_path / "mine") == {"thesis.txt": b"precious"}


def test_a_file_in_place_of_the_folder_is_refused(source, settings, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file cannot be written \(Not a directory\); check the folder"):
        build(source, tmp_path / "file", settings)


def test_two_calls_never_write_to_one_folder(source, settings, tmp_path):
    def again(done: int, total: int) -> None:
        with pytest.raises(DataError, match=r"another process is preparing into .*; wait until it ends"):
            build(source, tmp_path / "store", settings, workers=1)

    build(source, tmp_path / "store", settings, workers=1, progress=again)


def stopped_at(row: int) -> Callable[[int, int], None]:
    """A progress callback that Ctrl-C meets after so many rows."""

    def stop(done: int, total: int) -> None:
        if done == row:
            raise KeyboardInterrupt

    return stop


@pytest.mark.parametrize("row", [1, 17, 20, 36])
@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_keeps_the_rows_of_an_unfinished_shard(source, settings, tmp_path, contents, row, workers):
    out, counted = tmp_path / "store", []
    with pytest.raises(KeyboardInterrupt):
        build(source, out, settings, workers=workers, progress=stopped_at(row))
    build(source, out, settings, workers=1, progress=lambda done, _total: counted.append(done))
    # With two workers rows of two shards are kept, and those of the later one count when it is opened.
    assert (len(counted), counted[-1]) == (36 - row, 36) if row < 36 else counted == []
    build(source, tmp_path / "other", settings, workers=1)
    assert contents(out) == contents(tmp_path / "other")


def test_a_kept_shard_that_was_changed_is_made_anew(source, settings, tmp_path, contents):
    out, counted = tmp_path / "store", []
    with pytest.raises(KeyboardInterrupt):
        build(source, out, settings, workers=1, progress=stopped_at(17))
    (kept,) = out.glob("pixels-*.draft")
    with kept.open("r+b") as file:
        file.seek(300)
        file.write(b"x")
    build(source, out, settings, workers=1, progress=lambda done, _total: counted.append(done))
    assert counted == list(range(11, 37))
    build(source, tmp_path / "other", settings, workers=1)
    assert contents(out) == contents(tmp_path / "other")


def test_images_that_do_not_exist_are_listed(images, settings, tmp_path):
    labels = images(6)
    (labels.parent / "images" / "00004.png").unlink()
    summary = build(read_folder(labels), tmp_path / "store", settings, workers=1)
    assert (summary.num_images, summary.num_rejected) == (5, 1)
    rejected = (tmp_path / "store" / "rejected.csv").read_text()
    assert rejected == "path,reason\nimages/00004.png,does not exist\n"
    again = build(read_folder(labels), tmp_path / "store", settings, workers=1)
    assert again.notices == ("the store was complete already",)


def test_images_of_another_view_are_not_missed(images):
    labels = images(4)
    frame = pd.read_csv(labels).assign(view=["PA", "AP", "PA", "AP"])
    frame.to_csv(labels, index=False)
    for name in ("00001.png", "00002.png"):
        (labels.parent / "images" / name).unlink()
    assert read_folder(labels).missing == ("images/00001.png", "images/00002.png")
    assert read_folder(labels, view="PA").missing == ("images/00002.png",)


@pytest.mark.parametrize("limit", [200, 5_000])
def test_a_disk_that_takes_no_more_is_an_error_and_resumable(
    source, settings, tmp_path, contents, monkeypatch, limit
):
    """A limit on the length of files stands in for a full disk: 200 bytes stop the listing, 5,000 a shard."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # it would cache half a module
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(DataError, match=r"store cannot be written \(File too large\).*resumes where it"):
            build(source, tmp_path / "store", settings, workers=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((tmp_path / "store").glob(".*.partial"))
    build(source, tmp_path / "store", settings, workers=1)
    build(source, tmp_path / "other", settings, workers=1)
    assert contents(tmp_path / "store") == contents(tmp_path / "other")


def test_nih_originals(shared_data, tmp_path):
    """The 14 originals, five of them RGBA: block means of 4 x 4 pixels, by an independent way."""
    paths = sorted((shared_data / "nih-originals").glob("*.png"))
    rows = "".join(f"{path.resolve()},0\n" for path in paths)
    (tmp_path / "labels.csv").write_text("path,Mass\n" + rows)
    summary = build(
        read_folder(tmp_path / "labels.csv"),
        tmp_path / "store",
        Settings(preparation=Preparation(size=256)),
        workers=2,
    )
    assert (summary.num_images, summary.num_rejected) == (14, 0)
    pixels = open_store(summary.path).pixels(np.arange(14))
    for image, path in zip(pixels, paths, strict=True):
        gray = np.asarray(Image.open(path).convert("RGB"))[..., 0].astype(float)
        means = gray.reshape(256, 4, 256, 4).mean(axis=(1, 3))
        assert np.abs(image - means).max() <= 0.5 + 1e-9
