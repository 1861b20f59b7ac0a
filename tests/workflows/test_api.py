"""`import thorax` from files to report: what one call returns, the next one takes."""

import csv
import os

import numpy as np
import pytest
from PIL import Image

import thorax
from tests.helpers.html import tags_of, text_of
from thorax.datasets.phantom import write_phantoms
from thorax.errors import DataError
from thorax.progress import Progress

SETTINGS = [
    "data.split=folder-official",
    "store.size=64",
    "model.input_size=64",
    "model.arguments={channels=[8, 16, 16, 16], stem_width=8}",
    "training.epochs=2",
    "schedule.warmup_epochs=1",
]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_phantoms(tmp_path_factory.mktemp("api") / "source", patients=60, size=64).folder


@pytest.fixture(scope="module")
def seen():
    return []


@pytest.fixture(scope="module")
def store(source, seen):
    return thorax.prepare(str(source), source.parent / "store", size=64, workers=1, progress=seen.append)


@pytest.fixture(scope="module")
def run(source, store, seen):
    return thorax.train(
        "small-cpu", store, source.parent / "run", settings=SETTINGS, device="cpu", progress=seen.append
    )


@pytest.fixture(scope="module")
def result(run, store, seen):
    return thorax.evaluate(run, store, resamples=20, device="cpu", progress=seen.append)


def test_a_store_is_prepared_and_goes_on(source, store):
    assert len(store) == len(list((source / "images").glob("*.png")))
    again = thorax.prepare(source, os.fspath(store), size=64, workers=1)
    assert again.fingerprint == store.fingerprint


def test_a_run_is_trained_on_the_store(run, store):
    assert run.epochs == 2
    assert "svg" in tags_of(run._repr_html_())


def test_a_model_of_the_run_predicts_and_explains(run, source):
    model = thorax.load(run, device="cpu")
    assert model.calibrated
    path = min((source / "images").glob("*.png"))
    with Image.open(path) as image:
        assert list(model.predict(np.asarray(image))) == list(model.predict(path))
    assert model.explain(path, "Effusion").finding.name == "Effusion"


def test_a_run_a_path_and_a_model_are_measured_alike(run, store, result):
    expected = result.to_frame()
    model = thorax.load(run, device="cpu")
    for given, data in ((os.fspath(run), os.fspath(store)), (model, store)):
        other = thorax.evaluate(given, data, resamples=20, gallery=False, device="cpu")
        assert other.to_frame().equals(expected)


def test_a_result_shows_tabulates_and_writes_itself(result, tmp_path):
    assert result._repr_html_().count("<circle") == result.evaluation.ranking.num_findings + 1
    assert len(repr(result)) < 250
    predictions = result.predictions
    assert predictions.columns[:2].tolist() == ["image", "patient"]
    assert predictions["Effusion"].tolist() == result.probabilities[:, 2].tolist()
    files = result.write(tmp_path / "report")
    assert files.html.is_file()
    with pytest.raises(DataError, match="report"):
        result.write(tmp_path / "report")


def test_a_csv_of_predictions_is_measured_beside_a_store_or_labels(result, source, store, tmp_path):
    file = tmp_path / "predictions.csv"
    result.predictions.to_csv(file, index=False)
    for data in (store, store.path, source / "Data_Entry_2017_v2020.csv"):
        other = thorax.evaluate(file, data, split="folder-official", resamples=20)
        aucs = other.to_frame().set_index("finding")["auc"].reindex(result.to_frame()["finding"])
        assert np.allclose(aucs, result.to_frame()["auc"], equal_nan=True)


def test_what_does_not_go_together_is_refused(run, store, source):
    with pytest.raises(DataError, match="is a file, and a bundle is evaluated on the images of a store"):
        thorax.evaluate(run, source / "Data_Entry_2017_v2020.csv")
    with pytest.raises(DataError, match="`validation` and `logits` describe CSVs"):
        thorax.evaluate(run, store, logits=True)


def test_models_are_compared(run, result, store, tmp_path):
    file = tmp_path / "other.csv"
    predictions = result.predictions
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", *predictions.columns[2:]])
        random = np.random.default_rng(0)
        for image in predictions["image"]:
            writer.writerow([image, *random.random(len(predictions.columns) - 2)])
    comparison = thorax.compare([run, file], store, resamples=20, split="folder-official", device="cpu")
    assert len(comparison.comparison.pairs) == 1
    assert repr(comparison).startswith("ComparisonResult(mean AUC of ")
    assert comparison.to_frame()["finding"].tolist()[:2] == ["Atelectasis", "Cardiomegaly"]
    assert "table" in tags_of(comparison._repr_html_())


def test_maps_are_measured_against_boxes(run, store):
    localization = thorax.localize(run, store, part="test", resamples=20, device="cpu")
    assert repr(localization).startswith("LocalizationResult(folder-official, test part, ")
    assert set(localization.to_frame()["map"]) >= {"cam"}
    assert "table" in tags_of(localization._repr_html_())


def test_an_audit_shows_what_is_wrong(run, store):
    audit = thorax.audit(store, split="folder-official", bundle=run)
    assert repr(audit).startswith("Audit(0 errors")
    assert audit.headline in text_of(audit._repr_html_())


def test_progress_is_told_of_each_stage(result, seen):
    assert all(isinstance(progress, Progress) for progress in seen)
    stages = list(dict.fromkeys(progress.stage for progress in seen))
    assert len(stages) >= 3
    for stage in stages:
        last = [progress for progress in seen if progress.stage == stage][-1]
        assert last.done == last.total, stage


def test_bundles_of_bundles_are_models_too(run, store, source, tmp_path):
    calibrated = thorax.calibrate(run, store, tmp_path / "calibrated", kind="platt", device="cpu")
    assert repr(calibrated).endswith("calibrated': calibrated (platt), torch, onnx float32)")
    united = thorax.ensemble([run, calibrated], tmp_path / "ensemble", name="<both>", device="cpu")
    assert "2" in text_of(united._repr_html_())
    assert "Bundle <both>" in text_of(united._repr_html_())
    exported = thorax.export(united, store, split="folder-official", out=tmp_path / "exported")
    path = min((source / "images").glob("*.png"))
    by_onnx, by_torch = (thorax.load(bundle, device="cpu").predict(path) for bundle in (exported, united))
    for one, other in zip(by_onnx, by_torch, strict=True):
        assert one.probability == pytest.approx(other.probability, abs=1e-4)
