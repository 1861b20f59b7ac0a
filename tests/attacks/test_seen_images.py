"""Attacks by copies of images that a bundle saw, and on what it remembers of them.

The numbers are those of the trials of an earlier version, in which what these tests refuse went through.
"""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from thorax.atomic_io import sha256_of_file
from thorax.auditing import Evidence, audit, lists_of_split
from thorax.bundle import load_bundle, seen_images
from thorax.datasets.splits import build_split
from thorax.errors import BundleError, LeakError
from thorax.inference.engines import open_predictor
from thorax.recipe.load import load_recipe
from thorax.store import open_store
from thorax.training import train
from thorax.workflows.bundles import calibrate, ensemble, export
from thorax.workflows.compare import compare
from thorax.workflows.evaluate import evaluate
from thorax.workflows.prepare import prepare

GOLDEN = Path(__file__).parents[1] / "data" / "golden"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on the small committed store."""
    folder = tmp_path_factory.mktemp("seen") / "run"
    train(load_recipe(str(GOLDEN / "run" / "recipe.toml")), open_store(GOLDEN / "store"), folder)
    return folder


def rows_of(part):
    with (GOLDEN / "source" / "labels.csv").open() as file:
        return [row for row in csv.DictReader(file) if row["split"] == part]


def renamed(folder, rows, change=None):
    """A data set with copies of these images, under new names and new patient ids, all called test."""
    folder.mkdir()
    lines = []
    for number, row in enumerate(rows):
        name = f"other-{number}{Path(row['path']).suffix}"
        shutil.copyfile(GOLDEN / "source" / row["path"], folder / name)
        if change is not None:
            change(folder / name)
        lines.append({**row, "path": name, "patient": f"stranger-{number}", "split": "test"})
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, lines[0].keys())
        writer.writeheader()
        writer.writerows(lines)
    return folder / "labels.csv"


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """A store of copies of training images."""
    folder = tmp_path_factory.mktemp("copies")
    prepare(
        renamed(folder / "source", rows_of("train")), folder / "store", size=32, dataset="else", workers=1
    )
    return folder / "store"


def test_a_run_remembers_each_image_it_saw(run):
    bundle = load_bundle(run)
    saw = bundle.manifest.members[0].provenance
    assert bundle.manifest.format == 2
    assert bundle.manifest.seen.num_images == {
        "train": saw.trained_on.num_images, "val": saw.selected_on.num_images,
    }  # fmt: skip
    size = (bundle.folder / "images-seen.bin").stat().st_size
    assert size == 16 * (saw.trained_on.num_images + saw.selected_on.num_images)
    assert {
        part: len(prints) for part, prints in seen_images(bundle).items()
    } == bundle.manifest.seen.num_images


def test_no_prediction_opens_the_file(run, tmp_path):
    copy = shutil.copytree(run / "bundle", tmp_path / "bundle")
    (copy / "images-seen.bin").write_bytes(b"")
    predictor = open_predictor(load_bundle(copy, check_nets=False), device="cpu")
    assert len(list(predictor.predict_files([GOLDEN / "source" / "00.png"]))) == 1
    with pytest.raises(BundleError, match=r"images-seen\.bin is not the file that the manifest describes"):
        load_bundle(copy)


def test_attack_02_training_images_under_new_names_and_patients(run, copies):
    count = len(rows_of("train"))
    with pytest.raises(LeakError) as refused:
        evaluate(run, copies, split="folder-official", gallery=False, resamples=20, device="cpu")
    assert f"{count} of these {count} images have exactly the pixels of images that were seen" in str(
        refused.value
    )
    assert f"({count} in train), under other names or patient ids (other-0" in str(refused.value)
    with pytest.raises(LeakError, match="have exactly the pixels"):
        compare([run, GOLDEN / "run"], copies, split="folder-official", resamples=20, device="cpu")


def test_attack_02_is_an_error_of_the_audit(run, copies):
    store = open_store(copies)
    lists = lists_of_split(
        build_split("folder-official", store.table, dataset=store.dataset, whole_sha256=store.split_sha256),
        store.dataset,
    )
    found = audit(store, lists, Evidence(bundle=load_bundle(run)))
    (problem,) = [each for each in found.problems if each.kind == "images-seen-by-train"]
    assert (problem.severity, problem.count) == ("error", len(rows_of("train")))
    assert "copies of images that the bundle saw" in found.checked
    unread = audit(store, lists, Evidence(bundle=load_bundle(run), pixels=False))
    assert "copies of images that the bundle saw: reading pixels was turned off" in unread.unchecked
    before = audit(store, lists, Evidence(bundle=load_bundle(GOLDEN / "run")))
    assert [each.severity for each in before.problems if each.kind == "images-not-remembered"] == ["note"]


def test_the_other_images_of_the_data_set_are_no_copies(run):
    result = evaluate(run, GOLDEN / "store", gallery=False, resamples=20, device="cpu")
    assert not [text for _, text in result.audit if "exactly the pixels" in text or "look like one" in text]


def test_attack_02_validation_images_under_new_names(run, tmp_path):
    """Selection and calibration saw them too."""
    source = renamed(tmp_path / "source", rows_of("val"))
    prepare(source, tmp_path / "store", size=32, dataset="else", workers=1)
    with pytest.raises(LeakError, match=r"exactly the pixels .*\(12 in val\)"):
        evaluate(run, tmp_path / "store", split="folder-official", device="cpu")


def test_attack_23_test_images_doubled_under_new_patients(run, tmp_path):
    """Each counts twice, and intervals by patient are too narrow: the audit of the report says so."""
    rows = rows_of("test")
    source = renamed(tmp_path / "source", [*rows, *rows])
    prepare(source, tmp_path / "store", size=32, dataset="else", workers=1)
    result = evaluate(
        run, tmp_path / "store", split="folder-official", gallery=False, resamples=20, device="cpu"
    )
    said = [text for severity, text in result.audit if severity == "warning" and "two patients" in text]
    assert len(said) == 1
    assert f"have equal pixels: {len(rows)}" in said[0]


def test_what_is_made_of_a_bundle_remembers_the_same(run, copies, tmp_path):
    store = GOLDEN / "store"
    both = ensemble([run, shutil.copytree(run, tmp_path / "again")], tmp_path / "both", store=store)
    made = [
        calibrate(run, store, tmp_path / "calibrated"), both, export(run, store, out=tmp_path / "exported"),
        ensemble([run, tmp_path / "again"], tmp_path / "uncalibrated"),
    ]  # fmt: skip
    own = seen_images(load_bundle(run))
    for written in made:
        seen = seen_images(load_bundle(written))
        assert seen.keys() == own.keys()
        for part in own:
            np.testing.assert_array_equal(seen[part], own[part])
    with pytest.raises(LeakError, match="exactly the pixels"):
        evaluate(both, copies, split="folder-official", device="cpu")


def test_an_ensemble_remembers_images_only_if_each_member_does(run, tmp_path):
    """What is remembered in part would be taken for the whole."""
    mixed = load_bundle(ensemble([run, GOLDEN / "run"], tmp_path / "mixed", store=GOLDEN / "store"))
    assert mixed.manifest.seen is None
    assert load_bundle(calibrate(GOLDEN / "run", GOLDEN / "store", tmp_path / "c")).manifest.seen is None


# ---- what it remembers is edited -------------------------------------------------------------------------


def edited(run, tmp_path, **changes):
    """A copy of the bundle with other entries in its manifest, and the right SHA-256 of what is beside it."""
    copy = shutil.copytree(run / "bundle", tmp_path / "edited")
    file = copy / "bundle.json"
    manifest = json.loads(file.read_text()) | changes
    manifest["patients_sha256"] = sha256_of_file(copy / "patients.json")
    file.write_text(json.dumps(manifest))
    return copy


def test_attack_30_the_list_of_patients_is_emptied(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "bundle" / "patients.json").write_text('{"train": [], "val": []}')
    with pytest.raises(BundleError, match=r"patients\.json is not the file that the manifest describes"):
        load_bundle(copy)
    forged = edited(copy, tmp_path)
    for part in ("train", "val", "test"):
        with pytest.raises(BundleError, match=r"patients\.json lists 0 patients of train, and \d+ were used"):
            evaluate(forged, GOLDEN / "store", split="folder-official", part=part, device="cpu")


def test_attack_30_the_fingerprints_are_emptied(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "bundle" / "images-seen.bin").write_bytes(b"")
    empty = {"name": "images-seen.bin", "sha256": sha256_of_file(copy / "bundle" / "images-seen.bin")}
    kept = json.loads((run / "bundle" / "bundle.json").read_text())["seen"]
    for counts, message in (
        ({"train": 0, "val": 0}, r"images-seen\.bin lists 0 images of train, and \d+ were used"),
        (kept["num_images"], r"has 0 bytes, and not the \d+ fingerprints"),
    ):
        forged = edited(copy, tmp_path, seen=empty | {"num_images": counts})
        with pytest.raises(BundleError, match=message):
            evaluate(forged, GOLDEN / "store", device="cpu")
        shutil.rmtree(forged)


def test_attack_32_patients_of_a_bundle_that_was_calibrated_elsewhere(run, tmp_path):
    """The patients of the bundle before it was calibrated, put into the calibrated one."""
    store = open_store(GOLDEN / "store")
    calibrated = Path(calibrate(run, store.path, tmp_path / "calibrated"))
    shutil.copytree(calibrated, tmp_path / "run" / "bundle")
    before = json.loads((run / "bundle" / "patients.json").read_text())
    (tmp_path / "run" / "bundle" / "patients.json").write_text(json.dumps(before | {"val": []}))
    with pytest.raises(BundleError, match=r"lists 0 patients of val"):
        evaluate(edited(tmp_path / "run", tmp_path), store, device="cpu")
