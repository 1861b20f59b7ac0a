"""What becomes of trained bundles: ensembles, other views, calibration fitted anew."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from thorax.bundle import Imported, load_bundle, write_bundle
from thorax.calibration import sigmoid
from thorax.datasets.nih import read_nih
from thorax.errors import BundleError, DataError, LeakError
from thorax.evaluation.calibration.fit import fit_platt, fit_temperature
from thorax.evaluation.operating_points import F1Optimal, choose_threshold
from thorax.inference.ensemble import (
    Fitting,
    build_ensemble,
    fit_ensemble_weights,
    validation_part,
    with_test_time,
    write_calibrated,
)
from thorax.inference.predictor import Predictor
from thorax.inference.torch_engine import TorchEngine, load_member
from thorax.models import to_input
from thorax.recipe.schema import TestTime
from thorax.store import build_store, open_store
from thorax.training import train


@pytest.fixture(scope="module")
def runs(toy_store, make_recipe, tmp_path_factory):
    """Two runs; the second sees mirror images too, and its findings are in the other order."""
    folder = tmp_path_factory.mktemp("runs")
    first = make_recipe(training={"epochs": 1})
    second = make_recipe(
        training={"epochs": 1, "seed": 2}, data={"findings": ["Mass", "Effusion"]}, test_time={"flip": True}
    )
    for number, recipe in enumerate((first, second)):
        train(recipe, toy_store, folder / str(number))
    return [load_bundle(folder / str(number)) for number in range(2)]


def at_work(bundle):
    return Predictor(bundle, TorchEngine(bundle, device="cpu"))


def probability_by_hand(bundle, pixels):
    """The bundle's first net alone, with nothing of the pipeline's code."""
    (member,) = bundle.manifest.members
    net = load_member(bundle, member).eval()
    images = to_input(torch.from_numpy(pixels), 32)
    with torch.no_grad():
        shown = [images, images.flip(-1)] if member.test_time.flip else [images]
        return np.mean([torch.sigmoid(net(each).double()).numpy() for each in shown], axis=0)


def test_views_are_averaged_before_calibration(runs, toy_store):
    bundle = runs[1]
    pixels = toy_store.pixels(np.arange(6))
    logits = at_work(bundle).logits(pixels)
    assert np.allclose(sigmoid(logits), probability_by_hand(bundle, pixels), atol=1e-7)
    expected = sigmoid(logits / bundle.manifest.calibration.temperature)
    assert np.array_equal(at_work(bundle).probabilities(pixels), expected)


def test_the_temperature_is_that_of_the_pipeline(runs, toy_store):
    for bundle in runs:
        rows = validation_part(bundle, toy_store, None).rows
        targets = toy_store.table.targets(bundle.findings)[rows]
        fitted = fit_temperature(targets, targets >= 0, at_work(bundle).logits(toy_store.pixels(rows)))
        assert fitted == pytest.approx(bundle.manifest.calibration.temperature, rel=1e-5)


def test_an_exact_cam_needs_one_plain_view(runs, tmp_path):
    assert runs[0].exact_cam
    assert not runs[1].exact_cam
    assert not build_ensemble(runs, tmp_path, name="both", mean_of="logits").exact_cam


def test_an_ensemble_is_the_mean_of_its_members(runs, toy_store, tmp_path):
    united = build_ensemble(runs, tmp_path / "both", name="both", mean_of="probabilities")
    write_bundle(united.folder, united.manifest, weights=united.weights, patients=united.patients)
    opened = load_bundle(tmp_path / "both")
    assert [finding.name for finding in opened.findings] == ["Effusion", "Mass"]
    assert opened.manifest.calibration is None
    assert not at_work(opened).identity.calibrated
    assert opened.split == "folder-official"
    pixels = toy_store.pixels(np.arange(5))
    one, other = (probability_by_hand(bundle, pixels) for bundle in runs)
    assert np.allclose(at_work(opened).probabilities(pixels), (one + other[:, ::-1]) / 2, atol=1e-7)
    assert opened.patients == {part: runs[0].patients[part] for part in ("train", "val")}


def test_calibrating_an_ensemble_with_weights_from_validation(runs, toy_store, tmp_path):
    united = build_ensemble(runs, tmp_path / "both", name="both", mean_of="logits")
    part = validation_part(united, toy_store, None)
    fitted = write_calibrated(
        at_work(united), part, tmp_path / "both", fitting=Fitting(rule="one-half", ensemble_weights=True)
    )
    members = at_work(united).member_logits_of_rows(toy_store.pixels, part.rows)
    targets = toy_store.table.targets(united.findings)[part.rows]
    weights = fit_ensemble_weights(targets, members, mean_of="logits")
    assert fitted.manifest.ensemble.weights == weights
    assert fitted.manifest.ensemble.fitted_on.part == "val"
    mean = np.tensordot(weights, members, axes=1)
    assert fitted.manifest.calibration.temperature == fit_temperature(targets, targets >= 0, mean)
    assert fitted.manifest.operating_points.thresholds == {"Effusion": 0.5, "Mass": 0.5}
    found = at_work(load_bundle(tmp_path / "both")).probabilities(toy_store.pixels(part.rows))
    assert np.allclose(found, sigmoid(mean / fitted.manifest.calibration.temperature), rtol=1e-9)


def test_platt_scaling_is_fitted_and_used(runs, toy_store, tmp_path):
    part = validation_part(runs[0], toy_store, None)
    fitted = write_calibrated(at_work(runs[0]), part, tmp_path / "platt", fitting=Fitting(kind="platt"))
    logits = at_work(runs[0]).logits(toy_store.pixels(part.rows))
    targets = toy_store.table.targets(fitted.findings)[part.rows]
    on = part.split.image_set("val", part.rows, dataset=toy_store.dataset)
    platt = fit_platt(targets, targets >= 0, logits, findings=fitted.findings, fitted_on=on)
    assert fitted.manifest.calibration.fitted_on == on
    expected = [
        1 / (1 + np.exp(-(platt.slopes[finding.name] * logit + platt.intercepts[finding.name])))
        for finding, logit in zip(fitted.findings, logits.T, strict=True)
    ]
    opened = load_bundle(tmp_path / "platt")
    found = at_work(opened).probabilities(toy_store.pixels(part.rows))
    # Batches of another size: float32 adds in another order.
    assert np.allclose(found, np.array(expected).T, atol=1e-5)
    assert str(opened.manifest.calibration) == "Platt scaling of 2 of 2 findings"
    points = opened.manifest.operating_points.thresholds
    known = targets[:, 0] >= 0
    chosen = choose_threshold(F1Optimal(), targets[known, 0] == 1, found[known, 0])
    assert points["Effusion"] == pytest.approx(chosen, abs=1e-5)


def test_calibrating_again_changes_nothing(runs, toy_store, tmp_path):
    again = write_calibrated(at_work(runs[0]), validation_part(runs[0], toy_store, None), tmp_path / "again")
    temperature = runs[0].manifest.calibration.temperature
    assert again.manifest.calibration.temperature == pytest.approx(temperature, rel=1e-6)
    assert again.manifest.members == runs[0].manifest.members
    assert again.patients == runs[0].patients


def test_other_views_drop_the_calibration(runs):
    changed = with_test_time(runs[0], lambda _: TestTime(flip=True))
    assert changed.manifest.calibration is None
    assert changed.manifest.operating_points is None
    assert with_test_time(runs[0], lambda current: current) is runs[0]


def imported(bundle):
    provenance = Imported(
        source="somewhere", file_sha256="", self_test=0.0, compared_with="", notes=(), versions={}
    )
    (member,) = bundle.manifest.members
    members = (member.model_copy(update={"provenance": provenance}),)
    changes = {"members": members, "calibration": None, "operating_points": None}
    return replace(bundle, manifest=bundle.manifest.model_copy(update=changes), patients={})


def test_an_imported_net_is_calibrated_on_a_split_that_is_named(runs, toy_store, tmp_path):
    foreign = imported(runs[0])
    assert not foreign.all_trained
    with pytest.raises(BundleError, match="name a split with `split`"):
        validation_part(foreign, toy_store, None)
    fitted = write_calibrated(
        at_work(foreign), validation_part(foreign, toy_store, "folder-official"), tmp_path / "b"
    )
    # From now on these patients count as seen.
    assert fitted.patients == {"val": runs[0].patients["val"]}


def test_patients_of_training_and_of_the_test_part_are_refused(runs, toy_store, tmp_path):
    parts = plan_run_parts(toy_store)
    lines = [f"{image},{'val' if part == 'train' else 'train'}" for image, part in parts.items()]
    (tmp_path / "turned.csv").write_text("\n".join(["image,part", *lines]))
    with pytest.raises(LeakError, match="in train"):
        validation_part(runs[0], toy_store, f"file:{tmp_path / 'turned.csv'}")
    lines = [f"{image},{'val' if part == 'test' else 'train'}" for image, part in parts.items()]
    (tmp_path / "tested.csv").write_text("\n".join(["image,part", *lines]))
    with pytest.raises(LeakError, match=r"4 patients .* are in the test part of folder-official"):
        validation_part(runs[0], toy_store, f"file:{tmp_path / 'tested.csv'}")


def test_an_imported_net_is_not_calibrated_on_official_test_patients(runs, tmp_path):
    (tmp_path / "images").mkdir()
    rows = ["Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position"]
    # Patients 3 and 13 are in NIH's official test, patients 1 and 2 are not.
    for patient in (1, 2, 3, 13):
        name = f"{patient:08d}_000.png"
        Image.fromarray(np.full((64, 64), 10 * patient, np.uint8)).save(tmp_path / "images" / name)
        rows.append(f"{name},{'Mass' if patient % 2 else 'Effusion'},0,{patient},50,F,PA")
    (tmp_path / "Data_Entry_2017_v2020.csv").write_text("\n".join(rows))
    build_store(read_nih(tmp_path), tmp_path / "store", runs[0].manifest.preparation, workers=1)
    store = open_store(tmp_path / "store")
    for patients, refused in (((1, 2), False), ((2, 3), True)):
        lines = ["image,part", *(f"{patient:08d}_000.png,val" for patient in patients)]
        (tmp_path / "split.csv").write_text("\n".join(lines))
        split = f"file:{tmp_path / 'split.csv'}"
        if refused:
            with pytest.raises(LeakError, match=r"1 patients .* are in the test part of nih-official"):
                validation_part(imported(runs[0]), store, split)
        else:
            assert len(validation_part(imported(runs[0]), store, split).rows) == 2


def plan_run_parts(store):
    frame = store.table.frame
    return dict(zip(frame["image"], frame["official"].replace("train_val", "train"), strict=True))


def test_what_cannot_be_united_is_refused(runs, tmp_path):
    def refused(message, *bundles):
        with pytest.raises(BundleError, match=message):
            build_ensemble(bundles, tmp_path, name="both", mean_of="logits")

    refused("at least two", runs[0])
    refused(
        "is an ensemble itself", runs[0], build_ensemble(runs, tmp_path / "both", name="x", mean_of="logits")
    )
    manifest = runs[0].manifest
    other_fit = manifest.preparation.model_copy(update={"fit": "crop"})
    refused(
        "are not square in different ways",
        runs[0],
        replace(runs[0], manifest=manifest.model_copy(update={"preparation": other_fit})),
    )
    refused(
        "no finding in common",
        runs[0],
        replace(runs[0], manifest=manifest.model_copy(update={"findings": ("Edema",)})),
    )


def test_a_store_of_another_size_is_refused(runs, toy_store):
    manifest = runs[0].manifest
    larger = manifest.preparation.model_copy(update={"size": 64})
    with pytest.raises(DataError, match="size 64"):
        validation_part(
            replace(runs[0], manifest=manifest.model_copy(update={"preparation": larger})), toy_store, None
        )
