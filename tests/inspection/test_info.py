"""What `info` says of bundles, runs, stores, results, tables and images."""

import gzip
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import thorax
from tests.helpers.command import command
from tests.test_packages import EXTRAS, thorax_without
from thorax import starter
from thorax.atomic_io import exclusive_lock
from thorax.errors import BundleError, DataError, ImageError
from thorax.inspection import info
from thorax.outputs import text_size
from thorax.recipe.load import load_recipe
from thorax.reporting.run_log import RunLog, read_log
from thorax.reporting.run_page import RunState, render_run
from thorax.wording import counted
from thorax.workflows.runs import list_runs

GOLDEN = Path(__file__).parents[1] / "data" / "golden"


def facts(path):
    """The facts of a path by name, as JSON has them, after checking that all of it is JSON."""
    return json.loads(json.dumps(info(path).as_json(), allow_nan=False))


def test_a_finished_run_has_the_facts_of_its_log_and_of_its_bundle():
    known = facts(GOLDEN / "run")
    assert (known["kind"], known["summary"]) == ("run", "a finished run with its bundle")
    assert (known["recipe"], known["split"], known["train_images"]) == ("small-cpu", "folder-official", 15)
    assert known["best_validation_auc"]["epoch"] == 5
    assert known["validation_auc"] == pytest.approx(0.5979166)
    assert known["findings"] == ["Effusion", "Infiltration", "Mass"]
    assert known["engines"] == ["torch", "onnx"]
    assert known["thresholds"]["rule"] == "f1-optimal"
    assert known["signed"] is False
    assert known["warnings"] == []
    lines = list(info(GOLDEN / "run").lines())
    assert max(map(len, lines[1:])) <= 80 or max(len(line.split()[-1]) for line in lines[1:]) > 60
    printed = " ".join(" ".join(lines).split())
    assert "0.598 on validation, which also chose the weights: not a result" in printed


def test_a_bundle_is_the_same_wherever_it_is_given_from():
    known = facts(GOLDEN / "run" / "bundle")
    assert known["kind"] == "bundle"
    assert known["size"] == 32
    assert known["sha256"].startswith("ca2644c779684c8d")
    assert facts(GOLDEN / "run" / "bundle" / "bundle.json")["sha256"] == known["sha256"]
    assert facts("starter")["warnings"][0].startswith("starter model, 1,382 training")


def test_a_damaged_file_of_a_bundle_is_named(tmp_path):
    shutil.copytree(GOLDEN / "run", tmp_path / "run")
    weights = tmp_path / "run" / "bundle" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    (warning,) = facts(tmp_path / "run")["warnings"]
    assert warning.startswith(f"{weights} is not the file that the manifest describes")


def test_a_run_that_is_not_finished_says_how_it_goes_on(tmp_path):
    run = tmp_path / "my run"
    run.mkdir()
    shutil.copy(GOLDEN / "run" / "recipe.toml", run)
    lines = (GOLDEN / "run" / "log.jsonl").read_bytes().splitlines(keepends=True)
    (run / "log.jsonl").write_bytes(b"".join(lines[:5]) + lines[5][:20])  # while a line is written
    known = facts(run)
    assert known["summary"] == "a run that is not finished (2 epochs trained)"
    assert shlex.split(known["next"])[1:] == ["train", "--resume", "--store", "STORE", "--out", str(run)]
    assert (known["epochs"], known["epochs_planned"]) == (2, 6)
    with exclusive_lock(run, doing="training"):
        known = facts(run)
    assert known["summary"] == "a run that is running (2 epochs trained)"
    assert known["next"] is None


def test_a_run_that_is_fitting_its_gate_is_called_so_everywhere(tmp_path):
    run = tmp_path / "run"
    shutil.copytree(GOLDEN / "run", run)  # its bundle is written before the gate is fitted
    *lines, _ = (GOLDEN / "run" / "log.jsonl").read_text().splitlines(keepends=True)
    (run / "log.jsonl").write_text("".join(lines) + '{"event": "finishing"}\n')
    with exclusive_lock(run, doing="training"):
        known = facts(run)
        assert [entry.state for entry in list_runs(run)] == ["fitting the gate"]
    assert known["summary"] == "a run that is fitting the gate (6 epochs trained)"
    assert known["next"] is None
    page = render_run(
        RunLog(read_log(run / "log.jsonl")), load_recipe(str(run / "recipe.toml")), RunState("running"),
        folder=run, store=tmp_path / "store",
    )  # fmt: skip
    assert "the run is fitting the gate, which takes a minute or two" in page
    # Once its process is gone:
    assert facts(run)["summary"] == "a run that is not finished (6 epochs trained)"
    assert [entry.state for entry in list_runs(run)] == ["unfinished"]


def test_an_event_without_its_epoch_is_left_out(tmp_path):
    shutil.copy(GOLDEN / "run" / "recipe.toml", tmp_path)
    (tmp_path / "log.jsonl").write_text('{"event": "epoch", "macro_auc": 0.5}\n')
    assert facts(tmp_path)["summary"] == "a run that is not finished (no epoch trained)"


def test_a_folder_of_seeds_lists_its_runs(tmp_path):
    for seed in (9, 10):
        shutil.copytree(GOLDEN / "run", tmp_path / f"seed-{seed}")
    shutil.rmtree(tmp_path / "seed-10" / "bundle")
    known = facts(tmp_path)
    assert (known["runs"], known["finished"]) == (["seed-9", "seed-10"], ["seed-9"])
    assert known["summary"] == "2 runs of one recipe with other seeds, of which 1 finished"


def test_a_store_says_what_it_has_and_which_splits_it_supports():
    known = facts(GOLDEN / "store")
    assert (known["num_images"], known["num_patients"], known["size"]) == (38, 24, 32)
    assert known["positives"] == {"Effusion": 6, "Infiltration": 10, "Mass": 8}
    assert known["splits"]["folder-official"] == {"train": 15, "val": 12, "test": 11}
    assert (known["num_rejected"], known["num_in_doubt"]) == (0, 0)


def test_a_store_that_is_not_finished(tmp_path):
    manifest = json.loads((GOLDEN / "store" / "store.json").read_text())
    for name in ("num_images", "num_rejected", "content_sha256", "table_sha256", "rejected_sha256", "shards"):
        del manifest[name]
    (tmp_path / "plan.json").write_text(json.dumps(manifest | {"shard_rows": 20}))
    (tmp_path / "pixels-00000.json").write_text("{}")
    assert info(tmp_path).summary == "a store that is not finished (20 of 38 images are safe)"
    assert info(tmp_path).next_step == f"thorax prepare SOURCE --size 32 --fit pad --out {tmp_path}"


def test_a_report_has_its_headline(tmp_path):
    (tmp_path / "metrics.json").write_bytes(gzip.decompress((GOLDEN / "metrics.json.gz").read_bytes()))
    known = facts(tmp_path)
    assert (known["kind"], known["summary"]) == ("report", "an evaluation on folder-official, test part")
    assert (known["model"], known["num_images"], known["num_patients"]) == ("small-cpu", 11, 8)
    assert set(known["macro_auc"]) == {"value", "low", "high"}
    (tmp_path / "metrics.json").write_text('{"format": "other"}')
    with pytest.raises(DataError, match="JSON, but not a result of Thorax"):
        info(tmp_path)
    for auc in ('{"value": 0.5, "low": 0.1}', '{"value": "x"}', '{"value": 1, "low": [], "high": 2}'):
        (tmp_path / "metrics.json").write_text(f'{{"format": "thorax-metrics/1", "macro": {{"auc": {auc}}}}}')
        with pytest.raises(DataError, match=r"metrics\.json is damaged"):
            info(tmp_path)


def test_tables_are_told_apart_and_no_row_is_shown(tmp_path):
    file = tmp_path / "p.csv"
    file.write_text("Image Index,prob_Mass,ward\nDOE^JANE.png,0.25,3\nb.png,,4\n")
    known = facts(file)
    assert (known["kind"], known["findings"], known["num_images"]) == ("predictions", ["Mass"], 1)
    assert (known["num_rows_left_out"], known["columns_not_used"]) == (1, ["ward"])
    assert "DOE" not in json.dumps(known)
    file.write_text("path,patient,Mass\nDOE^JANE.png,1,-1\n")
    assert facts(file)["kind"] == "labels"
    file.write_text("path,patient,Mass,Edema\nDOE^JANE.png,1,1,0\nb.png,2,0,\n")
    assert facts(file)["summary"] == "labels of 2 findings for 2 images, with their paths"
    assert facts(file)["next"].startswith("thorax prepare")
    file.write_text(
        "Image Index,Mass,path\nDOE^JANE.png,0.25,DOE^JANE.png\n"
    )  # as `predict --wide` prints it
    assert facts(file)["kind"] == "predictions"
    file.write_text("Image Index,Finding Labels\nDOE^JANE.png,Mass\n")
    assert facts(file)["summary"] == "NIH's label file, of 1 image"
    file.write_text("name,age\nDOE^JANE,40\n")
    assert facts(file)["kind"] == "table"
    assert "DOE" not in json.dumps(facts(file))
    file.write_text("DOE^JANE,1961-03-04,Pneumonia\nROE^JOHN,1962-03-04,Mass\n")  # without a header
    assert "DOE" not in json.dumps(facts(file))


def test_an_image_is_described_as_it_is_read(tmp_path):
    pixels = np.tile(np.arange(0, 4096, 32, np.uint16), (80, 1))
    Image.fromarray(pixels).save(tmp_path / "a.png")
    known = facts(tmp_path / "a.png")
    assert (known["width"], known["height"], known["bits"], known["view"]) == (128, 80, 16, None)
    image = starter.test_images()[0].path
    assert facts(image)["kind"] == "image"
    (tmp_path / "b.png").write_bytes(b"")
    with pytest.raises(ImageError, match="the file is empty"):
        info(tmp_path / "b.png")


def test_what_else_there_is(tmp_path):
    assert facts(GOLDEN / "run" / "recipe.toml")["backbone"] == "resnet10t"
    (tmp_path / "x.pth").write_bytes(b"PK\x03\x04")
    assert facts(tmp_path / "x.pth")["kind"] == "weights"
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match=r"notes\.txt is nothing that Thorax reads"):
        info(tmp_path / "notes.txt")
    assert facts(tmp_path)["endings"] == {".pth": 1, ".txt": 1}
    (tmp_path / "IM0001.Doe Jane 1961-03-04").touch()  # as disks of DICOM files have them
    (tmp_path / "IM0002").touch()
    endings = {".pth": 1, ".txt": 1, "another ending": 1, "no ending": 1}
    assert facts(tmp_path)["endings"] == endings
    with pytest.raises(DataError, match="nowhere does not exist; correct the path"):
        info(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("prepared", "said"),
    [
        ("nothing", "/given does not exist; give a bundle"),
        ("store", "/given is a store, which has images and labels, and holds no bundle"),
        (
            "run",
            "/given holds no bundle: its run is not finished; continue with `thorax train --resume .*given`",
        ),
        ("seeds", "/given holds no bundle itself but 1 runs with other seeds; give one of them, such as"),
        ("file", "/given is a file and holds no bundle"),
        ("report", "/given is a report and holds no bundle"),
    ],
)
def test_what_holds_no_bundle_gets_a_sentence_of_its_own(tmp_path, prepared, said):
    given = tmp_path / "given"
    if prepared == "file":
        given.write_text("")
    elif prepared != "nothing":
        given.mkdir()
    if prepared == "store":
        shutil.copy(GOLDEN / "store" / "store.json", given)
    elif prepared == "report":
        (given / "metrics.json").write_text("{}")
    elif prepared in {"run", "seeds"}:
        run = given / "seed-0" if prepared == "seeds" else given
        run.mkdir(exist_ok=True)
        for name in ("recipe.toml", "log.jsonl"):
            shutil.copy(GOLDEN / "run" / name, run)
    done = command("card", given, "--metrics", tmp_path / "m.json", "--out", tmp_path / "c.md", expect=5)
    assert re.search(said, done.stderr)


def test_a_bundle_of_another_version_names_the_version_that_wrote_it(tmp_path):
    shutil.copytree(GOLDEN / "run" / "bundle", tmp_path / "bundle")
    file = tmp_path / "bundle" / "bundle.json"
    manifest = json.loads(file.read_text()) | {"format": 9}
    manifest["members"][0]["provenance"]["versions"]["thorax"] = "3.1.4"
    file.write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"use the version of Thorax that wrote it, '3\.1\.4', or train"):
        info(tmp_path / "bundle")


def test_a_damaged_manifest_is_called_so(tmp_path):
    shutil.copytree(GOLDEN / "run" / "bundle", tmp_path / "bundle")
    file = tmp_path / "bundle" / "bundle.json"
    text = file.read_text()
    file.write_text(text[:-100])
    with pytest.raises(
        BundleError, match=r"bundle\.json is damaged: it is not JSON .*; copy the whole bundle"
    ):
        info(tmp_path / "bundle")
    manifest = json.loads(text)
    del manifest["findings"]
    manifest["members"][0]["provenance"]["versions"]["thorax"] = thorax.__version__
    file.write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"\(findings: Field required\); it is damaged: copy the whole"):
        info(tmp_path / "bundle")


def test_the_command_prints_lines_or_json():
    done = command("info", GOLDEN / "store")
    assert re.search(r"^  Images +38$", done.stdout, re.MULTILINE)
    assert done.stdout.splitlines()[-1].startswith("next: thorax train RECIPE --store")
    assert json.loads(command("info", GOLDEN / "store", "--json").stdout)["num_images"] == 38


def test_bundles_and_images_need_no_package_of_an_extra():
    for path, kind in ((GOLDEN / "run", "run"), (starter.test_images()[0].path, "image")):
        done = thorax_without(EXTRAS, "info", path, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["kind"] == kind
    assert "thorax info needs p" in thorax_without(EXTRAS, "info", GOLDEN / "store").stderr


def test_a_store_is_verified_and_a_flipped_bit_is_named(tmp_path):
    store = tmp_path / "store"
    shutil.copytree(GOLDEN / "store", store)
    (store / "notes.txt").write_text("mine")
    done = command("verify", store)
    assert f"4 files, with 38 images of 24 patients, are as {store}/store.json describes" in done.stdout
    assert "not part of it, and not verified: notes.txt" in done.stderr
    # A key proves nothing about a store, also of one that has a bundle beside it.
    done = command("verify", store, "--key", tmp_path / "no.pem", expect=3)
    assert "stores are not signed; leave out --key" in done.stderr
    for file in starter.folder().iterdir():
        if file.is_file():
            shutil.copy(file, store)
    done = command("verify", store, "--key", tmp_path / "no.pem", expect=3)
    assert "no.pem" in done.stderr
    (store / "bundle.json").unlink()
    shard = store / "pixels-00000.npy"
    content = bytearray(shard.read_bytes())
    content[5000] ^= 1
    shard.write_bytes(content)
    done = command("verify", store, expect=3)
    assert f"DataError: {shard} is not the file that store.json describes" in done.stderr


def test_numbers_for_people():
    assert [counted(1, "image"), counted(2300, "image")] == ["1 image", "2,300 images"]
    sizes = [text_size(n) for n in (1, 999, 1500, 2_340_000, 7e9, 5e12)]
    assert sizes == ["1 byte", "999 bytes", "1.5 kB", "2.34 MB", "7 GB", "5 TB"]
