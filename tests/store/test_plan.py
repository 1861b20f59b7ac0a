"""A changed source or setting is noticed and refused, never mixed."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from thorax.datasets.sources import read_folder
from thorax.datasets.table import SampleTable
from thorax.errors import DataError
from thorax.recipe.schema import Preparation
from thorax.store import open_store
from thorax.store.build import build, build_store


class StoppedError(Exception):
    """The run is stopped here."""


def stop_at(row):
    def progress(done, total):
        if done == row:
            raise StoppedError

    return progress


@pytest.fixture(params=["unfinished", "finished"])
def store(request, source, settings, tmp_path):
    """A store of `source`, stopped in its third shard or finished."""
    if request.param == "finished":
        build(source, tmp_path / "store", settings, workers=1)
    else:
        with pytest.raises(StoppedError):
            build(source, tmp_path / "store", settings, workers=1, progress=stop_at(24))
    return tmp_path / "store"


def refusal(source, store, settings, contents):
    """Return the message; check that nothing in the store changed."""
    before = contents(store)
    with pytest.raises(DataError) as caught:
        build(source, store, settings, workers=1)
    assert contents(store) | {".lock": b""} == before | {".lock": b""}
    message = str(caught.value)
    assert message.endswith(f"; prepare into another folder, or delete {store} to start again")
    return message.removesuffix(f"; prepare into another folder, or delete {store} to start again")


def test_unchanged_goes_on_or_does_nothing(source, store, settings, tmp_path, contents):
    before = {path.name: path.stat().st_mtime_ns for path in store.iterdir()}
    finished = "store.json" in before
    summary = build(source, store, settings, workers=1)
    assert summary.resumed_shards == (4 if finished else 2)
    if finished:
        assert {path.name: path.stat().st_mtime_ns for path in store.iterdir()} == before
    build(source, tmp_path / "fresh", settings, workers=1)
    assert contents(store) == contents(tmp_path / "fresh")


@pytest.mark.parametrize(
    ("preparation", "said"),
    [
        (Preparation(size=64), "size 32, which is now 64"),
        (Preparation(size=32, fit="crop"), "fit pad, which is now crop"),
    ],
)
def test_other_preparation(source, store, settings, contents, preparation, said):
    message = refusal(source, store, replace(settings, preparation=preparation), contents)
    assert message == f"{store} was started with {said}"


def test_other_settings(source, store, settings, contents):
    message = refusal(source, store, replace(settings, shard_rows=12), contents)
    assert message == f"{store} was started with rows per shard 10, which is now 12"
    message = refusal(source, store, replace(settings, split_sha256={}), contents)
    assert (
        message
        == f"{store} was started with split nih-official with SHA-256 {'ab' * 32}, which is now absent"
    )
    message = refusal(replace(source, dataset="other"), store, settings, contents)
    assert message == f"{store} was started with data set folder, which is now other"
    message = refusal(replace(source, box_side=1024), store, settings, contents)
    assert message == f"{store} was started with side of the boxes' square absent, which is now 1024"


def test_other_labels(source, store, settings, contents):
    labels = source.root / "labels.csv"
    labels.write_text(labels.read_text().replace("p1,", "p9,"))
    message = refusal(read_folder(labels), store, settings, contents)
    assert message.startswith(f"{store} was started with label file labels.csv with SHA-256 ")


def test_other_rows_of_the_same_label_files(source, store, settings, contents):
    frame = source.table.frame.copy()
    frame.loc[7, "Mass"] = 1 - frame["Effusion"][7]
    changed = replace(source, table=SampleTable(frame, source.table.findings))
    message = refusal(changed, store, settings, contents)
    assert message == f"column 'Mass' of the source's table has changed since {store} was started"


def test_changed_file(source, store, settings, contents):
    path = source.root / source.table.frame["path"][17]
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() + b"\0")
    message = refusal(source, store, settings, contents)
    assert (
        message
        == f"images/00017.png has changed since {store} was started ({size:,} bytes, now {size + 1:,})"
    )


def test_touched_file(source, store, settings, contents):
    os.utime(source.root / source.table.frame["path"][17])
    message = refusal(source, store, settings, contents)
    assert message == f"images/00017.png has changed since {store} was started (another modification time)"


def test_other_files(source, store, settings, contents):
    fewer = replace(source, table=source.table.take(np.arange(30)))
    assert refusal(fewer, store, settings, contents) == "images/00030.png is no longer in the source"
    other = replace(source, table=source.table.take(np.delete(np.arange(36), 5)))
    message = refusal(other, store, settings, contents)
    assert message == "the source's image 6 was images/00005.png and is now images/00006.png"


def test_added_file(source, settings, tmp_path, contents):
    whole, part = source, replace(source, table=source.table.take(np.arange(30)))
    with pytest.raises(StoppedError):
        build(part, tmp_path / "store", settings, workers=1, progress=stop_at(24))
    message = refusal(whole, tmp_path / "store", settings, contents)
    assert message == f"images/00030.png is new in the source since {tmp_path / 'store'} was started"
    build(part, tmp_path / "store", settings, workers=1)
    message = refusal(whole, tmp_path / "store", settings, contents)
    assert message == (
        f"files have been added since {tmp_path / 'store'} was made, "
        "or one of those in its rejected.csv has changed"
    )


def test_damaged_listing(source, store, settings, contents):
    fewer = replace(source, table=source.table.take(np.arange(30)))
    for name in ("listing.csv", "table.parquet"):
        (store / name).unlink(missing_ok=True)
    message = refusal(fewer, store, settings, contents)
    assert message == f"the image files have changed since {store} was started, and its listing is damaged"


def test_finished_store_that_lost_a_file(source, settings, tmp_path):
    build(source, tmp_path / "store", settings, workers=1)
    (tmp_path / "store" / "pixels-00002.npy").unlink()
    with pytest.raises(DataError, match=r"pixels-00002\.npy cannot be read .*prepare it again"):
        build(source, tmp_path / "store", settings, workers=1)


def test_missing_file(source, store, settings):
    (source.root / source.table.frame["path"][20]).unlink()
    with pytest.raises(DataError, match=r"00020\.png cannot be found \(No such file or directory\)"):
        build(source, store, settings, workers=1)


@pytest.mark.parametrize("workers", [1, 2])
def test_file_that_changes_meanwhile(source, settings, tmp_path, workers):
    path = source.root / source.table.frame["path"][35]

    def progress(done, total):
        if done == 1:
            path.write_bytes(path.read_bytes()[:-5])

    with pytest.raises(
        DataError, match=r"00035\.png changed while the store was being made \(5,\d\d\d bytes"
    ):
        build(source, tmp_path / "store", settings, workers=workers, progress=progress)


def test_file_that_vanishes_meanwhile(source, settings, tmp_path):
    path = source.root / source.table.frame["path"][35]
    with pytest.raises(DataError, match=r"00035\.png vanished while the store was being made; put it back"):
        build(
            source,
            tmp_path / "store",
            settings,
            workers=1,
            progress=lambda *_: path.unlink(missing_ok=True),
        )


@pytest.mark.parametrize("workers", [1, 2])
def test_file_that_becomes_a_pipe_meanwhile_is_not_waited_for(source, settings, tmp_path, workers):
    """It would never end, and its worker would outlive a killed parent."""
    path = source.root / source.table.frame["path"][35]

    def progress(done, total):
        if done == 1:
            path.unlink()
            os.mkfifo(path)

    with pytest.raises(DataError, match=r"00035\.png changed while the store was being made"):
        build(source, tmp_path / "store", settings, workers=workers, progress=progress)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux's /proc")
def test_files_of_the_system_are_rejected_like_empty_ones(images, tmp_path):
    """They are listed with 0 bytes and a new time at each look, and the first cannot be read at all."""
    labels = images(1)
    with labels.open("a") as file:
        file.write("/proc/self/mem,p1,1,1\n/proc/self/environ,p2,1,1\n")
    source = read_folder(labels)
    summary = build_store(source, tmp_path / "store", Preparation(size=32))
    assert (summary.num_images, summary.num_rejected) == (1, 2)
    reasons = (tmp_path / "store" / "rejected.csv").read_text().splitlines()[1:]
    assert all("the file is empty (0 bytes)" in reason for reason in reasons)


def test_a_shard_that_was_damaged_meanwhile_is_made_again(source, settings, tmp_path, contents):
    build(source, tmp_path / "whole", settings, workers=1)
    with pytest.raises(StoppedError):
        build(source, tmp_path / "store", settings, workers=1, progress=stop_at(24))
    shard = tmp_path / "store" / "pixels-00000.npy"
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x01")
    (tmp_path / "store" / "pixels-00001.json").write_text("{")
    assert build(source, tmp_path / "store", settings, workers=1).resumed_shards == 0
    assert contents(tmp_path / "store") == contents(tmp_path / "whole")
    open_store(tmp_path / "store").verify()
