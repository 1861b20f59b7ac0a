"""What an earlier version wrote: today's code opens it, finds the same in it, and writes the same again."""

import gzip
import json
import math
import os
import shutil
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from thorax.bundle import load_bundle
from thorax.datasets.sources import read_folder
from thorax.datasets.splits import registered_sha256
from thorax.inference.engines import open_predictor
from thorax.recipe.load import load_recipe
from thorax.recipe.schema import Preparation
from thorax.reporting.metrics import metrics
from thorax.run_files import FINISHING
from thorax.store import build_store, open_store
from thorax.training import train
from thorax.workflows.evaluate import evaluate

GOLDEN = Path(__file__).parent / "data" / "golden"
WRITTEN = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
SUMS = 1e-6
"""How far floating-point sums of two machines may lie apart."""


def without_ends(value):
    """A report's values without the ends of its intervals, which Student's quantile moved since.

    Whether a finding keeps its probabilities is compared, not the wording of the reason.
    """
    if isinstance(value, dict):
        return {
            key: bool(inner) if key == "kept" else without_ends(inner)
            for key, inner in value.items()
            if key not in {"low", "high"}
        }
    return [without_ends(inner) for inner in value] if isinstance(value, list) else value


REPLACED = {"auc_delong", "intervals"}
"""What a report said then and says in another way today."""


def since_then(ours, theirs):
    """What a report says today, without what it did not say then; what was replaced is as it was."""
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return [since_then(one, other) for one, other in zip(ours, theirs, strict=True)]
    if not (isinstance(ours, dict) and isinstance(theirs, dict)):
        return ours
    return {
        key: inner if key in REPLACED or key == "warnings" else since_then(ours.get(key, "absent"), inner)
        for key, inner in theirs.items()
    }


def without_resamples(value):
    """Groups of patients without the number of resamples, which they no longer need."""
    if isinstance(value, dict):
        return {key: without_resamples(inner) for key, inner in value.items() if key != "undefined_resamples"}
    return [without_resamples(inner) for inner in value] if isinstance(value, list) else value


def differences(ours, theirs, *, path="", tolerance):
    """Where two JSON values differ, floats by more than a tolerance."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in ours.keys() | theirs.keys():
            if key not in ours or key not in theirs:
                yield f"{path}/{key} is only in one"
            else:
                yield from differences(ours[key], theirs[key], path=f"{path}/{key}", tolerance=tolerance)
    elif isinstance(theirs, list) and isinstance(ours, list) and len(ours) == len(theirs):
        for place, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(one, other, path=f"{path}/{place}", tolerance=tolerance)
    elif isinstance(theirs, float) and isinstance(ours, float):
        if not math.isclose(ours, theirs, rel_tol=tolerance, abs_tol=tolerance):
            yield f"{path}: {ours} is not {theirs}"
    elif ours != theirs:
        yield f"{path}: {ours!r} is not {theirs!r}"


@pytest.fixture(scope="module")
def store():
    return open_store(GOLDEN / "store")


def test_the_same_files_make_the_same_store(store, tmp_path):
    shutil.copytree(GOLDEN / "source", tmp_path / "source")
    for path in (tmp_path / "source").iterdir():
        os.utime(path, (WRITTEN, WRITTEN))  # a store remembers how old its files are
    source = read_folder(tmp_path / "source" / "labels.csv", dataset="golden")
    sums = registered_sha256(source.whole, source.dataset)
    build_store(source, tmp_path / "store", Preparation(size=32), split_sha256=sums, workers=1)
    for name in ("pixels-00000.npy", "rejected.csv"):
        assert (tmp_path / "store" / name).read_bytes() == (GOLDEN / "store" / name).read_bytes()
    again = open_store(tmp_path / "store")
    assert again.fingerprint == store.fingerprint
    pd.testing.assert_frame_equal(again.table.frame, store.table.frame)
    software = json.loads((GOLDEN / "store" / "store.json").read_text())["software"]
    if (
        all(version(name) == software[name] for name in ("numpy", "pillow"))
        and version("pyarrow") == "26.0.1"
    ):
        for name in ("table.parquet", "store.json"):
            assert (tmp_path / "store" / name).read_bytes() == (GOLDEN / "store" / name).read_bytes()


@pytest.mark.parametrize("engine", ["torch", "onnx"])
def test_the_bundle_gives_the_same_probabilities(engine):
    expected = json.loads((GOLDEN / "predictions.json").read_text())[engine]
    predictor = open_predictor(load_bundle(GOLDEN / "run"), device="cpu", engine=engine, threads=1)
    ours = {
        Path(prediction.source).name: {
            result.finding.name: result.probability for result in prediction.findings
        }
        for prediction in predictor.predict_files([GOLDEN / "source" / name for name in expected])
    }
    assert list(differences(ours, expected, tolerance=SUMS)) == []


def test_the_run_has_the_same_metrics(tmp_path):
    expected = json.loads(gzip.decompress((GOLDEN / "metrics.json.gz").read_bytes()))
    run = shutil.copytree(GOLDEN / "run", tmp_path / "run")  # which notes every look at its test part
    result = evaluate(run, GOLDEN / "store", rules=["youden"], gallery=False, resamples=50, device="cpu")
    ours = json.loads(json.dumps(metrics(result.evaluation, result.context)))
    assert ours.pop("history")["looks"] >= 1
    for each in (ours, expected):
        del each["versions"], each["made"]["Computed by"]
    reason = "the bundle has none; calibrate it on validation to set them"
    assert ours.pop("abstention") == {"level": None, "absent": reason, "findings": {}}
    assert ours["warnings"][: len(expected["warnings"])] == expected["warnings"]
    expected["subgroups"] = without_resamples(expected["subgroups"])
    ours, expected = without_ends(since_then(ours, expected)), without_ends(expected)
    assert list(differences(ours, expected, tolerance=SUMS)) == []


def test_the_same_recipe_on_the_same_store_learns_the_same(store, tmp_path):
    train(load_recipe(str(GOLDEN / "run" / "recipe.toml")), store, tmp_path / "run")
    logs = [
        [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        for folder in (tmp_path / "run", GOLDEN / "run")
    ]
    ours, theirs = logs
    # What an epoch says today and did not say then is not compared, nor events of today.
    ours = [event for event in ours if event["event"] != FINISHING]
    logs[0] = [
        {name: value for name, value in event.items() if name in before}
        for event, before in zip(ours, theirs, strict=True)
    ]
    for log in logs:
        for event in log:
            for name in ("time", "seconds", "images_per_second", "device", "threads", "torch"):
                event.pop(name, None)
    # A last bit of a sum grows with every step.
    assert list(differences(*logs, tolerance=1e-4)) == []
    names = [load_bundle(folder).manifest for folder in (tmp_path / "run", GOLDEN / "run")]
    assert names[0].members[0].provenance.trained_on == names[1].members[0].provenance.trained_on
    recipe = (tmp_path / "run" / "recipe.toml").read_text()
    # A setting of today, at its default.
    assert recipe.replace("sync_batch_norm = false\n", "") == (GOLDEN / "run" / "recipe.toml").read_text()


def test_the_pixels_are_those_that_the_files_hold(store):
    pixels = store.pixels(np.arange(len(store.table.frame)))
    assert (pixels.shape, pixels.dtype) == ((38, 32, 32), np.uint8)
    assert pixels.sum() == np.load(GOLDEN / "store" / "pixels-00000.npy").sum(dtype=np.int64)
