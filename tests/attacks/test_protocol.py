"""Attacks on what a model is measured on: the wrong images, fewer images, other data of the same name."""

import csv
import json
import shutil
from hashlib import sha256

import numpy as np
import pytest

from tests.helpers.attacks import assert_shown, edited, listed, measured, warning
from tests.helpers.command import command
from thorax.atomic_io import sha256_of_file
from thorax.errors import DataError, LeakError
from thorax.store import open_store
from thorax.workflows.compare import compare
from thorax.workflows.prepare import prepare

FINDINGS = ("Effusion", "Infiltration", "Mass")


# ---- images that a model saw ------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [{"part": "train"}, {"part": "val"}, {"split": "patient-70-15-15"}])
def test_attack_01_other_parts_splits_and_copies_of_the_store_are_refused(run, store, tmp_path, where):
    with pytest.raises(LeakError, match="were seen when this bundle was made"):
        measured(run, store, **where)
    copy = shutil.copytree(store, tmp_path / "another-store")
    with pytest.raises(LeakError, match="were seen when this bundle was made"):
        measured(run, copy, **where)


def table(path, rows, *, patient=str, columns=("path", "patient", "split", *FINDINGS), extra=()):
    """Write a CSV data set with these rows, all called test."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        for row in [*rows, *extra]:
            writer.writerow({**row, "patient": patient(row["patient"]), "split": "test"})
    return path


def test_attack_03_training_images_under_another_name_of_the_data_are_warned_of(run, source, rows, tmp_path):
    seen = [row for row in rows if row["split"] == "train"]
    prepare(table(source / "labels.csv", seen), tmp_path / "other", size=32, dataset="ward-7", workers=1)
    result = measured(run, tmp_path / "other")
    assert_shown(
        run, result, "trained on golden: patients in both data sets cannot be identified", tmp_path / "out"
    )
    # Under the name of the data that the model was trained on, the patients are recognized.
    prepare(table(source / "labels.csv", seen), tmp_path / "same", size=32, dataset="golden", workers=1)
    with pytest.raises(LeakError, match="were seen when this bundle was made"):
        measured(run, tmp_path / "same")


@pytest.fixture
def unnamed(run, source, rows, tmp_path):
    """The run as if its data set had been given no name, and the store of that data set."""
    prepare(source / "labels.csv", tmp_path / "unnamed", size=32, workers=1)
    name = open_store(tmp_path / "unnamed").dataset
    patients = run / "bundle" / "patients.json"

    def rename(manifest):
        manifest["members"][0]["provenance"]["dataset"] = name
        # As the ids of every data set without a name were hashed from the first version on.
        hashes = json.loads(patients.read_text())
        by_split = {"train": set(), "val": set()}
        for row in rows:
            if row["split"] in by_split:
                digest = sha256(f"folder\n{row['patient']}".encode()).hexdigest()[:16]
                by_split[row["split"]].add(digest)
        assert {part: len(ids) for part, ids in hashes.items()} == {
            part: len(ids) for part, ids in by_split.items()
        }
        patients.write_text(json.dumps({part: sorted(ids) for part, ids in by_split.items()}))
        manifest["patients_sha256"] = sha256_of_file(patients)

    edited(run, rename)
    return run, tmp_path / "unnamed", name


def test_attack_04_two_data_sets_without_a_name_are_not_taken_for_one(unnamed, source, rows, tmp_path):
    run, _, name = unnamed
    seen = [row for row in rows if row["split"] == "train"]
    # The same patients, whose ids are spelled differently.
    prepare(
        table(source / "labels.csv", seen, patient="P{}".format), tmp_path / "spelled", size=32, workers=1
    )
    assert open_store(tmp_path / "spelled").dataset != name
    result = measured(run, tmp_path / "spelled")
    assert_shown(
        run, result, f"The model was trained on {name}: patients in both data sets", tmp_path / "out"
    )
    # The same ids: refused, with what to do if they are equal by chance.
    prepare(table(source / "labels.csv", seen), tmp_path / "same", size=32, workers=1)
    with pytest.raises(LeakError, match=f"ids are those of patients of {name}; .* prepare it with a name"):
        measured(run, tmp_path / "same")
    # No patients at all.
    columns = ("path", "split", *FINDINGS)
    prepare(table(source / "labels.csv", seen, columns=columns), tmp_path / "none", size=32, workers=1)
    result = measured(run, tmp_path / "none")
    assert "each image counts as a patient" in warning(result, "The data set names no patients")


def test_attack_04_stores_of_earlier_versions_keep_their_name_and_their_refusals(unnamed, source, tmp_path):
    run, store, _ = unnamed
    manifest = json.loads((store / "store.json").read_text())
    (store / "store.json").write_text(json.dumps(manifest | {"dataset": "folder"}))
    assert open_store(store).dataset == "folder"
    with pytest.raises(LeakError, match="patients were seen when this bundle was made"):
        measured(run, store, part="train")
    assert measured(run, store).context.dataset == "folder"
    before = (store / "store.json").read_bytes()
    prepare(source / "labels.csv", store, size=32, workers=1)  # the same command as then
    assert (store / "store.json").read_bytes() == before


# ---- fewer or other test images ----------------------------------------------------------------------------


def test_attack_10_an_easy_list_of_test_images_is_named_a_list_from_a_file(run, store, rows, tmp_path):
    test = [row["path"] for row in rows if row["split"] == "test"]
    split = listed(tmp_path / "easy.csv", rows, lambda row: "test" if row["path"] in test[:6] else "")
    result = measured(run, store, split=split)
    assert_shown(run, result, "is a list from a file", tmp_path / "out")
    assert "32 of the 38 available images are in none of its parts" in warning(result, "list from a file")
    predictions = tmp_path / "out" / "predictions.csv"
    assert "may have been selected" in warning(measured(predictions, store, split=split), "list from a file")


def test_attack_16_dropped_rows_are_counted_with_and_without_a_split(run, store, nih_labels, tmp_path):
    measured(run, store).write(tmp_path / "whole")
    header, *lines = (tmp_path / "whole" / "predictions.csv").read_text().splitlines()
    (tmp_path / "fewer.csv").write_text("\n".join([header, *lines[4:]]) + "\n")
    result = measured(tmp_path / "fewer.csv", store, split="folder-official")
    assert warning(result, "have no prediction").startswith("4 of 11 images of the test part")
    header = "Image Index,Effusion,Mass"
    predicted = "".join(f"{image},0.{number}5,0.5\n" for number, image in enumerate(nih_labels[1][3:8]))
    (tmp_path / "labels-alone.csv").write_text(f"{header}\n{predicted}")
    result = measured(tmp_path / "labels-alone.csv", nih_labels[0])
    said = warning(result, "have no prediction")
    assert said.startswith("5 of 10 labeled images have no prediction and are not in these results (")
    files = result.write(tmp_path / "out")
    for shown in (files.html, files.markdown):
        assert "5 of 10 labeled images have no prediction" in shown.read_text()
    done = command(
        "evaluate", "--predictions", tmp_path / "labels-alone.csv", "--labels", nih_labels[0],
        "--out", tmp_path / "printed", "--resamples", "5",
    )  # fmt: skip
    assert f"note: {said}" in done.stderr


@pytest.fixture
def nih_labels(tmp_path):
    """A label file in NIH's layout, with made-up patients, and the names of its ten images."""
    images = [f"{90_000 + number:08d}_000.png" for number in range(10)]
    header = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Sex,View Position"
    findings = ["Effusion", "Mass", "No Finding", "Effusion|Mass", "No Finding"] * 2
    lines = [
        f"{image},{finding},0,{90_000 + number},50,F,PA"
        for number, (image, finding) in enumerate(zip(images, findings, strict=True))
    ]
    path = tmp_path / "Data_Entry_2017_v2020.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path, images


def test_attack_17_rows_without_numbers_are_counted(nih_labels, tmp_path):
    labels, images = nih_labels
    lines = [f"{image},{'nan' if number < 2 else 0.5},0.{number}" for number, image in enumerate(images)]
    (tmp_path / "nan.csv").write_text("\n".join(["Image Index,Effusion,Mass", *lines]) + "\n")
    result = measured(tmp_path / "nan.csv", labels)
    said = warning(result, "not a number")
    assert said.startswith("2 rows of nan.csv")
    assert len(result.images) == 8
    files = result.write(tmp_path / "out")
    assert said in json.loads(files.metrics.read_text())["warnings"]
    for shown in (files.html, files.markdown):
        assert "2 rows of nan.csv" in shown.read_text()


def test_attack_18_repeated_rows_count_once_and_different_ones_are_refused(nih_labels, tmp_path):
    labels, images = nih_labels
    lines = [f"{image},0.{number},0.5" for number, image in enumerate(images)]
    (tmp_path / "repeated.csv").write_text(
        "\n".join(["Image Index,Effusion,Mass", *lines, *lines[:3]]) + "\n"
    )
    result = measured(tmp_path / "repeated.csv", labels)
    assert len(result.images) == 10
    assert warning(result, "repeat another row").startswith("3 rows of repeated.csv")
    (tmp_path / "other.csv").write_text(
        "\n".join(["Image Index,Effusion,Mass", *lines, f"{images[0]},0.01,0.5"]) + "\n"
    )
    with pytest.raises(DataError, match="two rows with different values"):
        measured(tmp_path / "other.csv", labels)


def test_attack_19_findings_left_out_are_named_and_misspelled_ones_refused(run, store, nih_labels, tmp_path):
    labels, images = nih_labels
    lines = [f"{image},0.{number},0.5" for number, image in enumerate(images)]

    def written(header, name):
        (tmp_path / name).write_text("\n".join([header, *lines]) + "\n")
        return tmp_path / name

    result = measured(written("Image Index,prob_Effusion,prob_Mass", "two.csv"), labels)
    said = warning(result, "not evaluated")
    assert said.startswith("12 of 14 labeled findings are not evaluated and not in any mean (Atelectasis, ")
    misspelled = written("Image Index,prob_Effuson,prob_Mass", "misspelled.csv")
    with pytest.raises(DataError, match="'prob_Effuson' is not a finding; did you mean Effusion"):
        measured(misspelled, labels)
    with pytest.raises(DataError, match="did you mean Effusion"):
        compare([misspelled, tmp_path / "two.csv"], labels)
    other = measured(written("Image Index,prob_Silicosis,prob_Mass", "other.csv"), labels)
    assert warning(other, "neither labeled nor known").endswith("(prob_Silicosis).")
    long = "".join(f"{image},Effuson,0.5\n{image},Mass,0.{k}\n" for k, image in enumerate(images))
    (tmp_path / "long.csv").write_text(f"source,finding,probability\n{long}")
    with pytest.raises(DataError, match="'Effuson' is not a finding; did you mean Effusion"):
        measured(tmp_path / "long.csv", labels)
    some = measured(run, store, findings=["Mass"])
    assert_shown(run, some, "2 of 3 labeled findings are not evaluated", tmp_path / "out")


def test_attack_20_test_images_removed_from_the_folder_are_counted(run, source, rows, tmp_path):
    test = [row["path"] for row in rows if row["split"] == "test"]
    for name in test[:4]:
        (source / name).unlink()
    store = tmp_path / "fewer"
    prepare(source / "labels.csv", store, size=32, dataset="golden", workers=1)
    result = measured(run, store)
    assert len(result.images) == 7
    text = "7 of the 11 images of the test part of folder-official are available"
    assert_shown(run, result, text, tmp_path / "out")
    again = measured(tmp_path / "out" / "predictions.csv", store, split="folder-official")
    assert "do not cover the whole part" in warning(again, text)
    # Stores of earlier versions do not count them; the hash of the list says that some are missing.
    manifest = json.loads((store / "store.json").read_text())
    del manifest["split_images"]
    (store / "store.json").write_text(json.dumps(manifest))
    assert "belong to the test part was not recorded" in warning(measured(run, store), "are not available")


def test_attack_21_damaged_test_images_are_counted(run, source, rows, tmp_path):
    test = [row["path"] for row in rows if row["split"] == "test" and row["path"].endswith(".png")]
    for name in test[:2]:
        (source / name).write_bytes((source / name).read_bytes()[:50])
    prepare(source / "labels.csv", tmp_path / "damaged", size=32, dataset="golden", workers=1)
    result = measured(run, tmp_path / "damaged")
    assert_shown(run, result, "2 files of the source could not be used", tmp_path / "out")


def test_attack_22_one_view_is_named(run, store, tmp_path):
    assert_shown(run, measured(run, store, view="PA"), "Only images of view PA.", tmp_path / "out")


def test_attack_27_a_file_of_predictions_says_that_its_training_is_not_known(
    run, store, source, rows, tmp_path
):
    """Predictions of the images that the model was trained on: no file shows that they are."""
    seen = [source / row["path"] for row in rows if row["split"] == "train"]
    (tmp_path / "train.csv").write_text(command("predict", run, *seen, "--csv").stdout)
    result = measured(tmp_path / "train.csv", store)
    assert len(result.images) == len(seen)
    text = "It is not known which patients this model was trained on; some may be among these."
    assert warning(result, text)
    files = result.write(tmp_path / "out")
    assert text in json.loads(files.metrics.read_text())["warnings"]
    for shown in (files.html, files.markdown):
        assert text in shown.read_text()


def test_attack_35_predictions_made_from_labels_are_suspected(nih_labels, tmp_path):
    labels, images = nih_labels
    truth = [(1, 0), (0, 1), (0, 0), (1, 1), (0, 0)] * 2
    lines = [
        f"{image},{0.1 * one + 0.01 * k},{0.1 * two + 0.01 * k}"
        for k, (image, (one, two)) in enumerate(zip(images, truth, strict=True))
    ]
    (tmp_path / "made.csv").write_text("\n".join(["Image Index,Effusion,Mass", *lines]) + "\n")
    result = measured(tmp_path / "made.csv", labels)
    assert "find out whether the labels" in warning(result, "The AUC of each of the 2 findings is exactly 1")
    mean = result.evaluation.ranking.macro_auc
    has_interval = not np.isnan(mean.low)
    assert has_interval != any("mean AUC has no interval" in each for each in result.context.warnings)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"part": "train"}, LeakError, "were seen when this bundle was made"),
        ({"split": "patient-70-15-15"}, LeakError, "were seen when this bundle was made"),
    ],
)
def test_attack_36_a_comparison_is_on_the_same_unseen_images(run, store, tmp_path, settings, error, message):
    measured(run, store).write(tmp_path / "out")
    predictions = tmp_path / "out" / "predictions.csv"
    with pytest.raises(error, match=message):
        compare([run, predictions], store, resamples=5, device="cpu", **settings)
    header, *lines = predictions.read_text().splitlines()
    (tmp_path / "fewer.csv").write_text("\n".join([header, *lines[1:]]) + "\n")
    with pytest.raises(DataError, match="have not predicted the same images"):
        compare([run, tmp_path / "fewer.csv"], store, split="folder-official", resamples=5, device="cpu")
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    metrics["split"]["name"] = "patient-70-15-15"
    (tmp_path / "out" / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(DataError, match="would be measured on different parts"):
        compare([run, tmp_path / "out"], store, resamples=5, device="cpu")
