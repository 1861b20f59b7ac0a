"""The same image everywhere: one file through the store and from the disk gives the same numbers."""

from dataclasses import replace

import numpy as np
import pytest

from thorax.bundle import (
    Bundle,
    Manifest,
    Member,
    OperatingPoints,
    load_bundle,
    write_bundle,
)
from thorax.calibration import Temperature, sigmoid
from thorax.datasets.nih import read_nih
from thorax.datasets.phantom import write_phantoms
from thorax.imaging import prepare, read_radiograph
from thorax.inference.predictor import Failure, Predictor
from thorax.inference.torch_engine import TorchEngine
from thorax.models import build_classifier, weights_as_bytes
from thorax.prediction import Prediction
from thorax.radiograph import Origin, Radiograph, ViewPosition
from thorax.recipe.schema import Network, Preparation
from thorax.store import Store, build_store, open_store

MODEL = Network(backbone="resnet10t", arguments={"channels": (8, 8, 16, 16)}, input_size=64)


def part() -> dict[str, object]:
    return {
        "dataset": "toy", "split": "toy", "part": "val", "sha256": "", "images_sha256": "",
        "num_images": 1, "num_patients": 1,
    }  # fmt: skip


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_phantoms(tmp_path_factory.mktemp("phantoms") / "source", patients=20, size=100).folder


@pytest.fixture(scope="module")
def store(images) -> Store:
    build_store(read_nih(images), images.parent / "store", Preparation(size=64), workers=1)
    return open_store(images.parent / "store")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    classifier = build_classifier(MODEL, 3)
    provenance = {
        "kind": "trained", "recipe": "toy", "recipe_sha256": "", "seed": 0, "dataset": "toy",
        "store_fingerprint": "",
        "trained_on": part(), "selected_on": part(), "selected_by": "", "epoch": 1, "versions": {},
    }  # fmt: skip
    thresholds = {"Mass": 0.0, "Nodule": 1.0, "Edema": None}
    manifest = Manifest(
        name="toy",
        findings=tuple(thresholds),
        preparation=Preparation(size=64),
        members=(
            Member.model_validate(
                {
                    "weights": "weights.safetensors",
                    "sha256": "",
                    "model": MODEL,
                    "exact_cam": True,
                    "findings": tuple(thresholds),
                    "provenance": provenance,
                }
            ),
        ),
        calibration=Temperature.model_validate({"temperature": 2.0, "fitted_on": part()}),
        operating_points=OperatingPoints.model_validate(
            {"rule": "f1-optimal", "thresholds": thresholds, "chosen_on": part()}
        ),
        patients_sha256="",
    )
    weights = {"weights.safetensors": weights_as_bytes(classifier.state_dict())}
    return write_bundle(tmp_path_factory.mktemp("bundle"), manifest, weights=weights, patients={})


@pytest.fixture(scope="module")
def predictor(bundle) -> Predictor:
    return Predictor(load_bundle(bundle.folder), TorchEngine(bundle, device="cpu"))


def test_sigmoid_is_exact_at_the_ends():
    logits = np.array([[-1000.0, -1.0, 0.0, 1.0, 1000.0]])
    expected = [[0.0, 1 / (1 + np.e), 0.5, 1 / (1 + 1 / np.e), 1.0]]
    assert np.allclose(sigmoid(logits), expected, rtol=1e-15)
    assert np.allclose(sigmoid(-logits), 1 - sigmoid(logits), rtol=1e-15)


def test_one_file_both_ways(images, store, predictor):
    rows = np.arange(len(store.table))
    from_store = predictor.predict_rows(store.pixels, rows)
    paths = [images / path for path in store.table.frame["path"]]
    for row, path in enumerate(paths):
        pixels = prepare(read_radiograph(path), store.preparation)
        assert np.array_equal(pixels, store.pixels(rows[row : row + 1])[0])
    from_disk = [
        [each.probability for each in prediction.findings]
        for prediction in predictor.predict_files(paths)
        if isinstance(prediction, Prediction)
    ]
    assert np.array_equal(np.array(from_disk), from_store)
    # One at a time the sums inside a convolution may be ordered otherwise.
    alone = np.concatenate([predictor.predict_rows(store.pixels, rows[row : row + 1]) for row in rows[:5]])
    assert np.abs(alone - from_store[:5]).max() < 1e-6


def test_the_pipeline_is_temperature_then_sigmoid(bundle, store, predictor):
    rows = np.arange(4)
    (logits,) = TorchEngine(bundle, device="cpu").logits(store.pixels(rows))
    expected = 1 / (1 + np.exp(-logits[0] / 2.0))
    assert np.allclose(predictor.predict_rows(store.pixels, rows), expected, rtol=1e-12)


def test_thresholds_and_identity(images, predictor, bundle):
    path = next((images / "images").iterdir())
    prediction = next(iter(predictor.predict_files([path])))
    assert isinstance(prediction, Prediction)
    assert [each.positive for each in prediction.findings] == [True, False, None]
    assert prediction.operating_point == "f1-optimal"
    assert prediction.model.bundle_sha256 == bundle.sha256
    assert prediction.model.calibrated


def test_failures_keep_their_place(images, tmp_path, predictor):
    good = sorted((images / "images").iterdir())[:40]
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    order = [*good[:3], bad, *good[3:], tmp_path / "missing.dcm"]
    outcomes = list(predictor.predict_files(order))
    assert [outcome.source for outcome in outcomes] == [str(path) for path in order]
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    assert [failure.source for failure in failures] == [str(bad), str(tmp_path / "missing.dcm")]
    assert all(failure.reason for failure in failures)


def test_a_lateral_view_is_predicted_with_a_warning(predictor):
    pixels = np.random.default_rng(0).integers(0, 256, (90, 80), dtype=np.uint8)
    frontal = Radiograph(
        pixels=pixels, origin=Origin(name="x", format="PNG", intensity="8-bit as stored", bits=8)
    )
    lateral = replace(frontal, view=ViewPosition.LATERAL)
    first, second = predictor.predict([frontal, lateral], ["a", "b"])
    assert first.warnings == ()
    assert "lateral" in second.warnings[0]
    assert [each.probability for each in first.findings] == [each.probability for each in second.findings]
