"""Training runs at s3://."""

from pathlib import Path

import pytest

import thorax as package
from tests.helpers.command import SMALL, TINY, command
from tests.helpers.s3_server import Object
from thorax.bundle import load_bundle
from thorax.errors import DataError
from thorax.objects.cache import cache_folder
from thorax.training import TrainingInterrupted
from thorax.workflows.run_at import run_at
from thorax.workflows.runs import list_runs


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
    (entry,) = list_runs("s3://data")
    assert (entry.state, entry.epochs, entry.planned_epochs) == ("unfinished", 1, 2)
    shown = command("runs", "s3://data").stdout
    assert "1/2" in shown
    assert "unfinished: or trained on another machine now" in shown
    told = command("info", "s3://data/run").stdout + command("info", "s3://data/run").stderr
    assert "s3://data/run: a run that is not finished (1 epoch trained)" in told
    assert "next: thorax train --resume --store STORE --out s3://data/run\n" in told
    assert "another machine may be training it now" in told
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
    assert package.info("s3://data/run").facts == package.info(near.folder).facts


def test_whatever_is_there_is_described_as_on_this_disk(server, store, near, tmp_path, monkeypatch):
    """`info` looked for bundles and stores alone, and `runs` for folders of this disk."""
    for number in (0, 1):
        server.add("data", near.folder, f"seeds/seed-{number}")
    server.add("data", near.folder / "bundle", "bundle")
    server.add("data", store.parent / "nih", "nih")
    for name in ("plan.json", "pixels-00000.json"):
        server.buckets["data"][f"begun/{name}"] = Object(b"{}")
    image = Path(__file__).parents[2] / "test-images" / "cardiomegaly.png"
    server.buckets["data"]["scans/one.png"] = Object(image.read_bytes())
    for address, summary in (
        ("seeds", "2 runs of one recipe with other seeds, of which 2 finished"),
        ("bundle/bundle.json", "a bundle, small-cpu, that predicts 14 findings"),
        ("nih", "a data set in the layout of NIH ChestX-ray14"),
        ("scans", "a folder with 1 file"),
        ("scans/one.png", package.info(image).summary),
        ("seeds/seed-0/recipe.toml", "a recipe"),
    ):
        known = package.info(f"s3://data/{address}")
        assert known.summary == summary
        assert known.as_json()["path"].startswith("s3://data/")
        assert str(cache_folder()) not in str(known)
    assert [entry.folder for entry in list_runs("s3://data")] == [
        Path(f"s3://data/seeds/seed-{number}") for number in (0, 1)
    ]
    for words, message in (
        (("info", "s3://data/none"), "s3://data/none does not exist: no object has this name"),
        (("info", "s3://data/begun"), "s3://data/begun/plan.json"),
        (("runs", "s3://data/none"), "there is nothing below s3://data/none/"),
        (("runs", "s3://nowhere"), "NoSuchObject: s3://nowhere cannot be listed: there is no bucket nowhere"),
    ):
        assert message in command(*words, expect=3).stderr
    assert not list(cache_folder().glob("source-*"))


def test_processes_that_train_for_an_address_name_it(server, near, tmp_path, monkeypatch):
    """They named the folder of this disk, which is removed at the end."""
    alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
    for name, value in {**alone, "TORCHELASTIC_RUN_ID": "job"}.items():
        monkeypatch.setenv(name, value)
    server.add("data", near.folder, "run")
    with pytest.raises(DataError, match="s3://data/run is not empty"), run_at("s3://data/run", resume=False):
        pass
    with monkeypatch.context() as again:  # torchrun starts them again, for the run that they have begun
        again.setenv("TORCHELASTIC_RESTART_COUNT", "1")
        with run_at("s3://data/run", resume=False) as here:
            assert (here / "log.jsonl").read_bytes() == (near.folder / "log.jsonl").read_bytes()
    with monkeypatch.context() as second:  # it takes part, and leaves the address to the first
        second.setenv("RANK", "1")
        second.setattr("thorax.workflows.train._follow", lambda store, **_: store)
        asked = len(server.requests)
        assert package.train("small-cpu", "a store", "s3://data/run") == "a store"
        assert len(server.requests) == asked
    monkeypatch.setenv("THORAX_LAUNCHER", "1")
    monkeypatch.setenv("THORAX_PLACE", "s3://data/run")
    with pytest.raises(DataError) as raised, run_at(tmp_path / "work", resume=False) as here:
        raise DataError(f"{here} is full")
    assert str(raised.value) == "s3://data/run is full"


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
