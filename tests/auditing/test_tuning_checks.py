import json
from dataclasses import replace

import pytest

from thorax.atomic_io import sha256_of_lines
from thorax.auditing.protocol_checks import check_bundle, check_metrics
from thorax.bands import Band, Bands
from thorax.bundle import (
    Bundle,
    Ensemble,
    Imported,
    Manifest,
    Member,
    OperatingPoints,
    Trained,
    hashed_patients,
)
from thorax.bundle.manifest import Exported, ExportedFile, ExportedNet, Parity
from thorax.calibration import Temperature
from thorax.datasets.splits import NIH_DATASET
from thorax.errors import DataError
from thorax.evaluation.inputs.metrics_json import read_metrics
from thorax.image_set import ImageSet
from thorax.recipe.schema import Network, Preparation

TRAIN, VAL, TEST = (f"{number:08d}_000.png" for number in (1, 2, 3))


@pytest.fixture
def split(table, lists):
    return lists(table([TRAIN, VAL, TEST]), train=[TRAIN], val=[VAL], test=[TEST])


def reference(part, **changes):
    values = {"dataset": NIH_DATASET, "split": "x", "sha256": "0" * 64, "images_sha256": "1" * 64}
    return ImageSet(part=part, num_images=1, num_patients=1, **values | changes)


def bundle(tmp_path, split, *, selected="val", calibrated=None, thresholds=None, patients=None, **provenance):
    trained = Trained(
        recipe="toy", recipe_sha256="2" * 64, seed=0, dataset=NIH_DATASET, store_fingerprint="3" * 64,
        trained_on=reference("train", sha256=split.sha256), selected_on=reference(selected),
        selected_by="best macro-auc", epoch=2, versions={},
    )  # fmt: skip
    imported = Imported(
        source="arnoweng",
        file_sha256="4" * 64,
        self_test=0.0,
        compared_with="its own net",
        notes=(),
        versions={},
    )
    member = Member(
        weights="weights.safetensors", sha256="", model=Network(backbone="resnet18"), findings=("Mass",),
        exact_cam=True, provenance=imported if provenance.get("imported") else trained,
    )  # fmt: skip
    calibration = Temperature(temperature=1.5, fitted_on=calibrated or reference("val"))
    points = thresholds or OperatingPoints(
        rule="youden", thresholds={"Mass": 0.2}, chosen_on=reference("val")
    )
    manifest = Manifest(
        name="toy", findings=("Mass",), preparation=Preparation(size=64), members=(member,),
        calibration=calibration, operating_points=points, patients_sha256="",
    )  # fmt: skip
    return Bundle(tmp_path, manifest, "", patients or {}, {})


def check(bundle, split):
    return check_bundle(bundle, split, "test", dataset=NIH_DATASET)


def test_choices_on_validation_are_no_problem(tmp_path, split):
    seen = {part: frozenset(hashed_patients(NIH_DATASET, [who]).values()) for part, who in
            (("train", "1"), ("val", "2"))}  # fmt: skip
    assert check(bundle(tmp_path, split, patients=seen), split) == []


def test_a_checkpoint_chosen_on_test_is_found(tmp_path, split):
    [problem] = check(bundle(tmp_path, split, selected="test"), split)
    assert (problem.severity, problem.kind) == ("error", "chosen-on-test")
    assert problem.examples == ("the checkpoint of weights.safetensors: test part of x",)


def test_thresholds_and_calibration_chosen_on_test_are_found_by_name_and_by_images(tmp_path, split):
    # Called validation, but the images are those of the test part.
    disguised = reference("val", images_sha256=sha256_of_lines([TEST]))
    points = OperatingPoints(rule="youden", thresholds={"Mass": 0.2}, chosen_on=reference("test"))
    [problem] = check(bundle(tmp_path, split, calibrated=disguised, thresholds=points), split)
    assert problem.examples == ("the calibration: val part of x", "the thresholds: test part of x")


def test_bands_and_an_engines_own_choices_on_test_are_found(tmp_path, split):
    honest = bundle(tmp_path, split)
    band = Band(low=0.1, high=0.3, patients_with=9, patients_without=9)
    on_test = Bands(
        level=0.9, bands={"Mass": band}, absent={}, chosen_on=reference("test"), chose_checkpoint=False
    )
    points = OperatingPoints(rule="youden", thresholds={"Mass": 0.2}, chosen_on=reference("test"))
    parity = Parity(compared_with="", compared_on=reference("val"), num_images=1, largest_difference=0.0)
    nets = (ExportedNet(files=(ExportedFile(name="int8.onnx", sha256=""),), cam=False),)
    engine = Exported(
        kind="onnx", precision="int8", nets=nets, parity=parity, operating_points=points, bands=on_test,
        versions={},
    )  # fmt: skip
    changes = {"format": 2, "bands": on_test, "engines": (engine,)}
    [problem] = check(replace(honest, manifest=honest.manifest.model_copy(update=changes)), split)
    assert (problem.severity, problem.kind) == ("error", "chosen-on-test")
    assert problem.examples == (
        "the bands of onnx int8: test part of x",
        "the bands: test part of x",
        "the thresholds of onnx int8: test part of x",
    )


@pytest.mark.parametrize("by", ["train", "val", "pretrain"])
def test_test_patients_that_a_model_saw_are_found(tmp_path, split, by):
    seen = {by: frozenset(hashed_patients(NIH_DATASET, ["3", "77"]).values())}
    [problem] = check(bundle(tmp_path, split, patients=seen), split)
    assert (problem.severity, problem.kind, problem.examples) == ("error", f"patients-seen-by-{by}", (TEST,))
    assert problem.what.endswith("saw: 1 of 1")


def test_another_split_and_unknown_origins_are_found(tmp_path, split, table, lists):
    other = lists(table([TRAIN, VAL, TEST]), train=[TRAIN, VAL], test=[TEST])
    [problem] = check(bundle(tmp_path, other), split)
    assert (problem.severity, problem.kind) == ("warning", "trained-on-another-split")
    points = OperatingPoints(rule="source", thresholds={"Mass": 0.2}, chosen_on=None)
    [problem] = check(bundle(tmp_path, split, imported=True, thresholds=points), split)
    assert (problem.severity, problem.kind, problem.count) == ("warning", "origin-unknown", 2)


def metrics(**changes):
    values = {
        "format": "thorax-metrics/1",
        "split": {"part": "test"},
        "images_sha256": sha256_of_lines([TEST]),
    }
    return values | changes


def test_honest_figures_have_no_problem(split):
    assert check_metrics(metrics(operating_points={"test_tuned": False}), split) == []
    assert check_metrics(metrics(images_sha256="5" * 64), split) == []
    assert check_metrics(metrics(split={"name": None, "part": None}), split) == []


def test_figures_marked_as_tuned_on_test_are_found(split):
    [problem] = check_metrics(metrics(operating_points=[{"youden": {"test_tuned": True}}]), split)
    assert (problem.severity, problem.kind) == ("error", "tuned-on-test")
    assert problem.examples == ("operating_points.youden.test_tuned",)


def test_validation_called_test_is_found_by_its_images(split):
    [problem] = check_metrics(metrics(images_sha256=sha256_of_lines([VAL])), split)
    assert (problem.severity, problem.kind, problem.examples) == ("error", "part-misnamed", ("val",))


@pytest.mark.parametrize("text", ["", "[]", '{"format": "other/1"}'])
def test_what_is_no_metrics_file_is_refused(tmp_path, text):
    path = tmp_path / "metrics.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"metrics\.json"):
        read_metrics(path)
    path.write_text(json.dumps(metrics()))
    assert read_metrics(path) == metrics()


def test_an_ensemble_weighted_on_test_is_found_and_no_calibration_is_needed(tmp_path, split):
    sound = bundle(tmp_path, split)
    weights = Ensemble(mean_of="probabilities", weights=(1.0,), fitted_on=reference("test"))
    changed = sound.manifest.model_copy(update={"ensemble": weights, "calibration": None})
    [problem] = check(replace(sound, manifest=changed), split)
    assert problem.examples == ("the ensemble's weights: test part of x",)
    unfitted = weights.model_copy(update={"fitted_on": None})
    changed = sound.manifest.model_copy(update={"ensemble": unfitted, "calibration": None})
    assert check(replace(sound, manifest=changed), split) == []


def test_patients_of_a_part_that_is_not_listed_are_not_looked_for(tmp_path, table, lists):
    learnt = lists(table([TRAIN, VAL]), train=[TRAIN], val=[VAL])
    seen = {"train": frozenset(hashed_patients(NIH_DATASET, ["1"]).values())}
    assert check(bundle(tmp_path, learnt, patients=seen), learnt) == []
