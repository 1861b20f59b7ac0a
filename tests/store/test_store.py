"""Reading a store: the right pixels, and a clear word about everything that can be wrong with one."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.html import text_of
from thorax.datasets.sources import read_folder
from thorax.datasets.splits import build_split
from thorax.errors import DataError
from thorax.imaging import prepare, read_radiograph
from thorax.recipe.schema import Preparation
from thorax.store import open_store
from thorax.store.build import build

AGAIN = "; copy the whole store again, or prepare it again"


@pytest.fixture
def path(source, settings, tmp_path):
    """A store of 36 rows of which two were rejected."""
    for row in (4, 20):
        (source.root / source.table.frame["path"][row]).write_bytes(b"")
    build(source, tmp_path / "store", settings, workers=1)
    return tmp_path / "store"


def test_pixels_are_those_of_the_rows_in_their_order(source, settings, path):
    store = open_store(path)
    draws = np.random.default_rng(0)
    everything = np.arange(len(store))
    for rows in (everything, everything[::-1], draws.integers(0, 34, 100), np.array([], np.int64)):
        expected = np.zeros((len(rows), 32, 32), np.uint8)
        for place, row in enumerate(rows):
            file = source.root / store.table.frame["path"][row]
            expected[place] = prepare(read_radiograph(file), settings.preparation)
        np.testing.assert_array_equal(store.pixels(rows), expected)


def test_opening_a_store_starts_no_thread(path):
    """A thread of Arrow that lets go of a file after the interpreter's end aborts the process."""
    lines = (
        "import os, sys; from pathlib import Path; from thorax.store import open_store",
        "before = set(os.listdir('/proc/self/task'))",
        "store = open_store(Path(sys.argv[1])); store.image_sizes()",
        "new = set(os.listdir('/proc/self/task')) - before",
        "names = [Path(f'/proc/self/task/{task}/comm').read_text().strip() for task in new]",
        "print([name for name in names if not name.startswith('jemalloc')])",
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines), path], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_saying_what_will_be_read_changes_nothing(path):
    store = open_store(path)
    rows = np.array([33, 0, 0, 17])
    before = store.pixels(rows)
    store.expect(rows)
    store.expect(np.array([], np.int64))
    np.testing.assert_array_equal(store.pixels(rows), before)
    with pytest.raises(IndexError):
        store.expect(np.array([34]))


def test_sizes_are_those_of_the_files(path):
    assert open_store(path).image_sizes().tolist() == [[80, 64]] * 34


def test_pixels_are_a_copy(path):
    store = open_store(path)
    store.pixels(np.array([3]))[:] = 0
    assert store.pixels(np.array([3])).any()
    with pytest.raises(IndexError):
        store.pixels(np.array([34]))


def test_a_store_says_what_it_is(path):
    store = open_store(path)
    assert (len(store), store.num_rejected) == (34, 2)
    assert re.fullmatch("folder-[0-9a-f]{12}", store.dataset)
    assert store.preparation == Preparation(size=32)
    assert store.split_sha256 == {"nih-official": "ab" * 32}
    store.verify()


def test_reading_everything_takes_no_memory_of_its_own(images, settings, tmp_path):
    """Mapped pages are the file's: 40 MB of them leave the anonymous memory as it was."""

    def anonymous() -> int:
        (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if "RssAnon" in line]
        return int(line.split()[1]) * 1024

    csv = images(40, height=64)
    wide = settings.preparation.model_copy(update={"size": 1024})
    build(read_folder(csv), tmp_path / "store", type(settings)(preparation=wide), workers=1)
    store = open_store(tmp_path / "store")
    store.pixels(np.array([0]))
    before = anonymous()
    for row in range(40):
        store.pixels(np.array([row]))
    assert anonymous() - before < 4e6


def test_the_fingerprint_is_of_the_content(images, settings, tmp_path):
    csv = images(12)

    def fingerprint(name: str, **changes: object) -> str:
        asked = type(settings)(**(vars(settings) | changes))
        build(read_folder(csv), tmp_path / name, asked, workers=1)
        return open_store(tmp_path / name).fingerprint

    first = fingerprint("first")
    os.utime(csv.parent / "images" / "00003.png")
    assert fingerprint("touched") == first
    assert fingerprint("no-split", split_sha256={}) == first
    assert fingerprint("smaller", preparation=Preparation(size=40)) != first
    (csv.parent / "images" / "00003.png").write_bytes((csv.parent / "images" / "00004.png").read_bytes())
    other = fingerprint("other-image")
    assert other != first
    csv.write_text(csv.read_text().replace("p1,", "p9,"))
    assert fingerprint("other-patient") not in {first, other}


def test_no_store(tmp_path):
    with pytest.raises(
        DataError, match=r"is not a store: it has no store\.json; make one with `thorax prepare`"
    ):
        open_store(tmp_path)
    with pytest.raises(DataError, match=r"there is no store .*nowhere, and no file of that name; correct"):
        open_store(tmp_path / "nowhere")


def test_unfinished_store(path):
    (path / "store.json").rename(path / "plan.json")
    with pytest.raises(
        DataError, match=r"is a store that is not finished; run the same `thorax prepare` again: it resumes"
    ):
        open_store(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is damaged: it is not JSON"),
        ("[]", "is damaged or not a store's file: its top level"),
        ('{"format": 1}', "is damaged or not a store's file: dataset: Field required"),
        ('{"format": 7}', "has format 7 and this version of Thorax reads 1; update Thorax"),
    ],
)
def test_damaged_manifest(path, text, said):
    (path / "store.json").write_text(text)
    with pytest.raises(DataError, match=said):
        open_store(path)


def test_binary_manifest(path):
    (path / "store.json").write_bytes(bytes(range(256)))
    with pytest.raises(DataError, match="is damaged: it is not JSON"):
        open_store(path)


def refused(path):
    with pytest.raises(DataError) as caught:
        open_store(path)
    message = str(caught.value)
    assert message.endswith(AGAIN)
    return message.removesuffix(AGAIN)


def test_missing_shard(path):
    (path / "pixels-00002.npy").unlink()
    assert refused(path) == (f"{path / 'pixels-00002.npy'} cannot be read (No such file or directory)")


@pytest.mark.parametrize("length", [0, 50, 128, 10_000])
def test_truncated_shard(path, length):
    os.truncate(path / "pixels-00001.npy", length)
    assert refused(path) == f"{path / 'pixels-00001.npy'} has {length:,} bytes, but 10,368 were written"


@pytest.mark.parametrize("place", [0, 8, 30, 60, 127])
def test_damaged_header(path, place):
    shard = bytearray((path / "pixels-00001.npy").read_bytes())
    shard[place] ^= 0x11
    (path / "pixels-00001.npy").write_bytes(shard)
    assert refused(path) == f"{path / 'pixels-00001.npy'} does not have the header of the shard in store.json"


def test_pickled_shard(path):
    """A shard is never unpickled."""
    np.save(path / "pixels-00003.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with (path / "pixels-00003.npy").open("r+b") as file:
        file.truncate(6 * 1024 + 128)
    assert "pixels-00003.npy does not have the header of the shard" in refused(path)


def test_shard_of_another_shape(path):
    np.save(path / "pixels-00003.npy", np.zeros((6 * 1024,), np.uint8))
    assert "pixels-00003.npy does not have the header of the shard" in refused(path)


@pytest.mark.parametrize("damage", [slice(0, -9), slice(0, 0), slice(4, None)])
def test_damaged_table(path, damage):
    (path / "table.parquet").write_bytes((path / "table.parquet").read_bytes()[damage])
    assert refused(path).startswith(f"{path / 'table.parquet'} is not the file that store.json describes")
    (path / "table.parquet").unlink()
    assert refused(path) == f"{path / 'table.parquet'} cannot be read (No such file or directory)"


@pytest.mark.parametrize("name", ["pixels-00000.npy", "pixels-00003.npy", "rejected.csv"])
def test_verify_finds_a_flipped_bit(path, name):
    content = bytearray((path / name).read_bytes())
    content[-3] ^= 1
    (path / name).write_bytes(content)
    store = open_store(path)
    with pytest.raises(DataError, match=rf"{name} is not the file that store\.json describes \(SHA-256"):
        store.verify()


def test_a_manifest_that_contradicts_itself(path):
    manifest = json.loads((path / "store.json").read_bytes())
    manifest["shard_rows"] = 9
    (path / "store.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="has 10,368 bytes, but 9,344 were written"):
        open_store(path)


def test_a_store_shows_what_it_holds(images, settings, tmp_path):
    build(read_folder(images(12)), tmp_path / "store", settings, workers=1)
    store = open_store(tmp_path / "store")
    assert repr(store).endswith("store': 12 images of 6 patients, 32 pixels a side, 2 findings)")
    assert len(repr(store)) < 150
    html = store._repr_html_()
    assert {"12 of 6 patients", "32 a side, pad", "nih-official", "Effusion"} <= set(text_of(html))
    mass = text_of(html).index("Mass")
    assert text_of(html)[mass + 1 : mass + 4] == ["3", "50.0 %", "6"]  # unsure ones and those without one
    assert not any("described images" in text for text in text_of(html))
    noticed = replace(store, notices=("12 of 12 described images exist",))
    assert "12 of 12 described images exist." in text_of(noticed._repr_html_())


def test_a_store_is_a_table_with_the_parts_of_a_split(path):
    store = open_store(path)
    frame = store.to_frame()
    assert list(frame.columns) == [
        "image", "patient", "age", "sex", "view", "follow_up", *map(str, store.table.findings),
    ]  # fmt: skip
    assert frame["image"].tolist() == list(store.table.images)
    name = "patient-70-15-15"
    parts = store.to_frame(split=name)
    split = build_split(name, store.table, dataset=store.dataset, whole_sha256=store.split_sha256)
    for part, rows in split.parts.items():
        assert np.flatnonzero((parts["part"] == part).to_numpy()).tolist() == rows.tolist()
    assert parts.drop(columns="part").equals(frame)
    assert "part" not in store.table.frame
