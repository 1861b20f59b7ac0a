"""Several seeds, ensembles, calibration and foreign checkpoints by hand: what a user types and reads."""

import importlib
import json
import re
import shlex
from pathlib import Path

import pytest
from safetensors.torch import save_file

from tests.helpers.command import SMALL, command
from thorax.models.backbones import timm

# Behind the shim, which makes it importable.
torchvision = importlib.import_module("torchvision")


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """Phantoms, a store, and two runs of different seeds that also record what they would do on test."""
    folder = tmp_path_factory.mktemp("work")
    command("phantom", folder / "phantoms", "--patients", "80", "--size", "64")
    command("prepare", folder / "phantoms", "--out", folder / "store", "--size", "64")
    done = command(
        "train", "small-cpu", "--store", folder / "store", "--out", folder / "runs", *SMALL,
        "--set", "selection.checkpoint=best", "--seeds", "2", "--record-test-curve",
    )  # fmt: skip
    (folder / "train.out").write_text(done.stdout)
    (folder / "train.err").write_text(done.stderr)
    return folder


def test_each_seed_has_a_run_and_the_mean_has_its_sd(work):
    scores = []
    for seed in (0, 1):
        recipe = (work / "runs" / f"seed-{seed}" / "recipe.toml").read_text()
        assert f"seed = {seed}\n" in recipe
        events = (work / "runs" / f"seed-{seed}" / "log.jsonl").read_text().splitlines()
        scores.append(json.loads(events[-1])["macro_auc"])
    mean, sd = sum(scores) / 2, abs(scores[0] - scores[1]) / 2**0.5
    told = (work / "train.out").read_text()
    epoch = r"0\.\d{4}    0\.\d{4}  (?:0\.\d{3}|  n/a)  (?:0\.\d{3} \(epoch \d\)|n/a +)"
    lines = re.findall(rf"^epoch (\d)/2  {epoch} +[\d,]+ +\d:\d\d:\d\d$", told, re.MULTILINE)
    assert lines == ["1", "2", "1", "2"]  # of two seeds
    assert re.findall(r"^folder      (\S+)", told, re.MULTILINE) == [
        str(work / "runs" / f"seed-{seed}") for seed in (0, 1)
    ]
    *_, last = told.splitlines()
    assert last.startswith("next: thorax ensemble ")
    assert command(*shlex.split(last)[2:]).stdout.startswith("2 members, mean of probabilities")
    assert f"2 seeds: mean AUC on validation {mean:.3f} (sd {sd:.3f})" in told


def test_the_premium_is_a_warning_beside_the_honest_score(work):
    told = (work / "train.err").read_text()
    assert told.count("Choosing the checkpoint on the test part would have reported") == 2
    assert "it did not affect selection" in told


def test_an_ensemble_is_fitted_measured_and_used(work, tmp_path):
    runs = [work / "runs" / f"seed-{seed}" for seed in (0, 1)]
    done = command(
        "ensemble", *runs, "--store", work / "store", "--weights", "validation", "--out", tmp_path / "both"
    )
    assert "2 members, mean of probabilities, weights " in done.stdout
    assert "fitted on the val part of folder-official" in done.stdout
    command(
        "evaluate", tmp_path / "both", "--store", work / "store", "--out", tmp_path / "report",
        "--resamples", "20",
    )  # fmt: skip
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert metrics["model"]["name"] == "ensemble"
    assert metrics["model"]["calibrated"]
    image = next((work / "phantoms" / "images").iterdir())
    (line,) = command("predict", tmp_path / "both", image, "--json").stdout.splitlines()
    assert json.loads(line)["operating_point"] == "f1-optimal"


def test_an_ensemble_without_a_store_says_that_it_is_not_calibrated(work, tmp_path):
    runs = [work / "runs" / f"seed-{seed}" for seed in (0, 1)]
    done = command("ensemble", *runs, "--mean", "logits", "--out", tmp_path / "both")
    assert "not calibrated" in done.stdout
    image = next((work / "phantoms" / "images").iterdir())
    (line,) = command("predict", tmp_path / "both", image, "--json").stdout.splitlines()
    assert not json.loads(line)["model"]["calibrated"]


def test_other_views_are_calibrated_anew(work, tmp_path):
    run = work / "runs" / "seed-0"
    done = command(
        "calibrate", run, "--store", work / "store", "--out", tmp_path / "flipped", "--rule", "one-half",
        "--test-time", "flip=true", "--test-time", "scales=[1.0, 1.1]",
    )  # fmt: skip
    assert "14 of 14 thresholds (one-half)" in done.stdout
    manifest = json.loads((tmp_path / "flipped" / "bundle.json").read_text())
    assert manifest["members"][0]["test_time"]["flip"] is True
    assert manifest["members"][0]["test_time"]["scales"] == [1.0, 1.1]


@pytest.fixture(scope="module")
def foreign(work) -> Path:
    """A checkpoint that this system did not make."""
    net = timm.create_model("resnet10t", num_classes=2, in_chans=1, channels=(8, 8, 16, 16))
    save_file(net.state_dict(), work / "theirs.safetensors")
    return work / "theirs.safetensors"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("ensemble", "RUN", "--out", "new"), 5, "at least two bundles"),
        (("ensemble", "RUN", "RUN", "--weights", "validation", "--out", "new"), 2, "needs --store"),
        (("ensemble", "RUN", "RUN", "--out", "STORE"), 3, "is not empty"),
        (("ensemble", "RUN", "RUN", "--out", "BUNDLE"), 3, "is a source of the new bundle"),
        (("ensemble", "RUN", "RUN", "--out", "OTHER"), 3, "--overwrite"),
        (("calibrate", "RUN", "--store", "STORE", "--out", "new", "--test-time", "flop=1"), 2, "flop"),
        (("calibrate", "RUN", "--store", "STORE", "--out", "new", "--split", "x"), 3, "no split 'x'"),
        (("calibrate", "RUN", "--store", "STORE", "--out", "new", "--rule", "best"), 2, "--rule"),
        (("calibrate", "nowhere", "--store", "STORE", "--out", "new"), 5, "nowhere does not exist"),
        (("import", "nowhere", "--as", "timm", "--out", "new"), 5, "nowhere"),
        (("import", "FOREIGN", "--as", "timm", "--out", "new"), 2, "--backbone"),
        (("import", "FOREIGN", "--as", "keras", "--out", "new"), 5, "is not an HDF5 file"),
        (("import", "FOREIGN", "--as", "tensorflow", "--out", "new"), 2, "--as"),
        (("train", "small-cpu", "--store", "STORE", "--out", "new", "--seeds", "0"), 2, "--seeds"),
    ],
)
def test_wrong_input_gets_a_message_and_its_exit_code(work, foreign, tmp_path, arguments, code, message):
    arguments = [str(tmp_path / each) if each in {"new", "nowhere"} else each for each in arguments]
    run = work / "runs" / "seed-0"
    other = work / "runs" / "seed-1" / "bundle"
    places = {
        "RUN": str(run),
        "BUNDLE": str(run / "bundle"),
        "OTHER": str(other),
        "STORE": str(work / "store"),
        "FOREIGN": str(foreign),
    }
    done = command(*(places.get(each, each) for each in arguments), expect=code)
    assert message in done.stderr
    assert not (tmp_path / "new").exists()


def test_a_checkpoint_is_imported_with_the_outputs_that_are_named(tmp_path):
    net = torchvision.models.resnet18(num_classes=3)
    save_file(net.state_dict(), tmp_path / "theirs.safetensors")
    done = command(
        "import", tmp_path / "theirs.safetensors", "--as", "torchvision", "--findings", "Mass,,Nodule",
        "--input-size", "64", "--out", tmp_path / "bundle",
    )  # fmt: skip
    assert "torchvision's resnet18, from theirs.safetensors: 2 findings (Mass, Nodule)" in done.stdout
    assert json.loads((tmp_path / "bundle" / "bundle.json").read_text())["findings"] == ["Mass", "Nodule"]
