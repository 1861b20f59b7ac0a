"""Training runs at s3://."""

from pathlib import Path

import pytest

import thorax as package
from tests.helpers.command import SMALL, TINY, command
from thorax.bundle import load_bundle
from thorax.errors import DataError
from thorax.objects.cache import cache_folder
from thorax.training import TrainingInterrupted


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    package.phantom(folder / "nih", patients=40, size=64)
    return package.prepare(folder / "nih", folder / "store", size=64, workers=1).path


@pytest.fixture(scope="module")
def near(store, tmp_path_factory):
    """The same run on this disk."""
    return package.train("small-cpu", store, tmp_path_factory.mktemp("near") / "run", settings=TINY)


def test_a_run_is_written_there_whole_and_used_from_there(server, store, near):
    done = command("train", "small-cpu", "--store", store, "--out", "s3://data/runs/one", *SMALL)
    assert "bundle: s3://data/runs/one/bundle" in done.stdout
    assert "next: thorax evaluate s3://data/runs/one" in done.stdout
    names = {key.removeprefix("runs/one/") for key in server.keys("data") if not key.endswith("/")}
    assert names == {str(f.relative_to(near.folder)) for f in near.folder.rglob("*") if f.is_file()}
    there = server.buckets["data"]["runs/one/bundle/bundle.json"].content
    assert there == (near.bundle / "bundle.json").read_bytes()
    assert load_bundle("s3://data/runs/one").sha256 == load_bundle(near.bundle).sha256
    assert not [file for file in (cache_folder() / "work").rglob("*") if file.is_file()]
    with pytest.raises(DataError, match=r"s3://data/runs/one is not empty .*; set `resume`"):
        package.train("small-cpu", store, "s3://data/runs/one", settings=TINY)


def test_another_machine_continues_a_run(server, store, near, monkeypatch, tmp_path):
    def stop(progress):
        if progress.stage == "epoch 2 of 2":
            raise KeyboardInterrupt

    with pytest.raises(TrainingInterrupted, match=r"--out s3://data/run\b"):
        package.train("small-cpu", store, "s3://data/run", settings=TINY, progress=stop)
    assert "run/checkpoints/last.safetensors" in server.keys("data")
    assert "run/bundle/bundle.json" not in server.keys("data")
    monkeypatch.setenv("THORAX_CACHE", str(tmp_path / "another machine"))
    run = package.train(None, store, "s3://data/run", resume=True)
    assert run.epochs == 2
    there = server.buckets["data"]["run/bundle/bundle.json"].content
    assert there == (near.bundle / "bundle.json").read_bytes()


def test_a_storage_that_fails_at_the_end_leaves_the_run_here(server, store):
    def fail(progress):
        if progress.stage == "epoch 2 of 2":
            server.fault = lambda *_: "error"

    with pytest.raises(DataError, match="until then the run is in"):
        package.train("small-cpu", store, "s3://data/run", settings=TINY, progress=fail)
    server.fault = lambda *_: ""
    package.train(None, store, "s3://data/run", resume=True)
    assert load_bundle("s3://data/run").manifest.findings


def test_what_is_there_is_described_before_anything_else_has_copied_it(server, store, near):
    """`info` copies no shard, names the address, and says how large the store is there."""
    server.add("data", near.folder, "run")
    server.add("data", store, "store")
    told = command("info", "s3://data/store").stdout
    assert told.startswith("s3://data/store: a store of ")
    assert "thorax train RECIPE --store s3://data/store --out RUN" in told
    assert not list(cache_folder().rglob("*.npy"))
    facts = {fact.name: fact.value for fact in package.info("s3://data/store").facts}
    assert facts == {fact.name: fact.value for fact in package.info(store).facts}
    assert "next: thorax predict s3://data/run IMAGE" in command("info", "s3://data/run").stdout


def test_only_stores_and_runs_are_written_there_and_no_copy_is_changed(
    server, store, near, tmp_path, monkeypatch
):
    """Results were written to a folder of this disk named s3:, and the command said that they were there."""
    server.add("data", near.folder, "run")
    server.add("data", store, "store")
    monkeypatch.chdir(tmp_path)
    run, data, out = "s3://data/run", ("--store", "s3://data/store"), ("--out", "s3://data/out")
    image = Path(__file__).parents[2] / "test-images" / "cardiomegaly.png"
    for words in (
        ("evaluate", run, *data, *out),
        ("predict", image, *out),
        ("predict", image, "--dicom-out", "s3://data/out"),
        ("explain", image, "--out", "s3://data/map.png"),
        ("calibrate", run, *data, *out),
        ("export", run, *data, *out),
        ("sheet", "s3://data/store", "--out", "s3://data/sheet.png"),
        ("tune", "small-cpu", *data, *out),
    ):
        said = command(*words, expect=3).stderr
        assert (
            "is in object storage, where only stores and runs are written; name a path on this disk" in said
        )
    for words in (("export", run, *data), ("gate", run, *data)):
        assert "a bundle in object storage stays as it is" in command(*words, expect=5).stderr
    assert not list(tmp_path.glob("s3*"))
    assert not [key for key in server.keys("data") if "out" in key]
    command("verify", run)


def test_what_is_there_is_evaluated_described_and_verified(server, store, near, tmp_path):
    server.add("data", near.folder, "run")
    server.add("data", store, "store")
    command(
        "evaluate", "s3://data/run", "--store", "s3://data/store", "--out", tmp_path / "far", "--no-gallery"
    )
    command("evaluate", near.folder, "--store", store, "--out", tmp_path / "near", "--no-gallery")
    far, here = ((tmp_path / name / "predictions.csv").read_bytes() for name in ("far", "near"))
    assert far == here
    assert "a store of" in command("info", "s3://data/store").stdout
    assert "s3://data/run" in command("info", "s3://data/run").stdout
    assert command("verify", "s3://data/store").stdout
    shard = server.buckets["data"]["store/pixels-00000.npy"]
    shard.content = shard.content[:-1] + bytes([shard.content[-1] ^ 1])
    (copy,) = cache_folder().rglob("pixels-00000.npy")
    copy.unlink()
    assert "is damaged" in command("verify", "s3://data/store", expect=3).stderr
