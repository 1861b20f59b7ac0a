"""The whole audit: nothing in a clean store, and each fault in one where it is planted."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from thorax.auditing import (
    Evidence,
    Locator,
    audit,
    lists_of_split,
    locate_parts,
    read_image_list,
)
from thorax.auditing.audit import read_boxed_images
from thorax.datasets.nih import read_nih
from thorax.datasets.splits import PARTS, build_split, registered_sha256
from thorax.errors import DataError
from thorax.evaluation.inputs.prediction_csv import read_predictions
from thorax.recipe.schema import Preparation
from thorax.store import build_store, open_store


@pytest.fixture
def split(clean):
    """The phantoms' own split."""
    return build_split("folder-official", clean.table, dataset=clean.dataset, whole_sha256=clean.split_sha256)


@pytest.fixture
def names(clean, split):
    """The names of each part."""
    images = clean.table.images
    return {part: [images[row] for row in split.parts[part]] for part in PARTS}


def look(store, parts, **evidence):
    lists = locate_parts("lists", parts, Locator(store.table, store.dataset))
    return audit(store, lists, Evidence(pixels=False, **evidence))


def kinds(found):
    return {problem.kind for problem in found.problems}


def test_a_clean_store_has_no_problem(clean, split):
    calls = []
    found = audit(clean, lists_of_split(split, clean.dataset), progress=calls.append)
    assert found.problems == ()
    assert not found.failed
    assert (calls[-1].stage, calls[-1].done, calls[-1].total) == ("comparing", 4 * len(clean), 4 * len(clean))
    assert found.headline.startswith("0 errors, 0 warnings, 0 notes: split folder-official (")
    assert {part: len(rows) for part, rows in split.parts.items()} == dict(found.num_images)
    positives = {(each.finding, each.part): each.num_positive for each in found.prevalence}
    for part, rows in split.parts.items():
        assert positives["Effusion", part] == (clean.table.frame["Effusion"][rows] == 1).sum()


@pytest.mark.parametrize("name", ["patient-80-10-10", "patient-70-15-15/fold-1-of-3"])
def test_other_splits_by_patient_leak_nothing(clean, name):
    split = build_split(name, clean.table, dataset=clean.dataset, whole_sha256=clean.split_sha256)
    found = audit(clean, lists_of_split(split, clean.dataset), Evidence(pixels=False))
    assert not found.failed
    assert kinds(found) <= {"prevalence-shift"}


@pytest.mark.parametrize("fold", [1, 2])
def test_folds_of_a_registered_split_are_known(clean, fold):
    name = f"folder-official/fold-{fold}-of-2"
    split = build_split(name, clean.table, dataset=clean.dataset, whole_sha256=clean.split_sha256)
    lists = lists_of_split(split, clean.dataset)
    assert audit(clean, lists, Evidence(pixels=False)).problems == ()
    other = replace(lists, name=f"folder-official/fold-{3 - fold}-of-2")
    assert kinds(audit(clean, other, Evidence(pixels=False))) == {"split-unknown"}


def test_the_splits_own_lists_have_its_hash(clean, split, names):
    found = look(clean, names)
    assert found.split_sha256 == split.sha256
    assert found.problems == ()


def test_an_image_level_split_fails(clean):
    order = np.random.default_rng(0).permutation(clean.table.images).tolist()
    found = look(clean, {"train": order[:300], "test": order[300:]})
    assert found.failed
    assert found.problems[0].kind == "patients-in-two-parts"
    assert "made by image" in found.problems[0].what


def test_oversampling_before_the_split_fails(clean, names):
    found = look(clean, names | {"train": names["train"] + names["test"][:3] + names["train"][:9]})
    assert {"images-in-two-parts", "patients-in-two-parts", "repeated-images-in-train"} <= kinds(found)


def test_a_rare_finding_left_out_of_the_test_fails(clean, names):
    ill = set(clean.table.frame["image"][clean.table.frame["Effusion"] == 1])
    found = look(clean, names | {"test": [name for name in names["test"] if name not in ill]})
    [problem] = [each for each in found.problems if each.kind == "findings-dropped"]
    assert problem.severity == "error"
    assert any(example.startswith("Effusion: 0 of ") for example in problem.examples)


def test_boxed_images_in_training_fail_where_their_list_is_given(phantoms, clean, names):
    locator = Locator(clean.table, clean.dataset)
    boxed = read_boxed_images(phantoms / "BBox_List_2017.csv", locator)
    assert boxed == {
        image for image, boxes in zip(clean.table.images, clean.table.frame["boxes"], strict=True) if boxes
    }
    [problem] = [each for each in look(clean, names, boxed=boxed).problems if "boxed" in each.kind]
    learnt = set(names["train"]) | set(names["val"])
    assert problem.count == len(boxed & learnt)


def predictions(tmp_path, store, rows, values):
    lines = [f"{name},{value}" for name, value in zip(rows, values, strict=True)]
    path = tmp_path / "predictions.csv"
    path.write_text("\n".join(["Image Index,prob_Effusion", *lines]))
    return read_predictions(path, findings=store.table.findings)


def test_predictions_are_looked_at_too(tmp_path, clean, names):
    rows = names["test"]
    ill = dict(zip(clean.table.images, clean.table.frame["Effusion"] == 1, strict=True))
    noise = np.random.default_rng(0).random(len(rows))
    values = [0.3 * ill[name] + 0.5 * number for name, number in zip(rows, noise, strict=True)]
    sound = predictions(tmp_path, clean, rows, values)
    assert kinds(look(clean, names, predictions=sound)) == {"columns-left-out"}
    assert "predictions" in look(clean, names, predictions=sound).checked
    well = [name for name in rows if not ill[name]]
    dropped = predictions(tmp_path, clean, well, noise[: len(well)])
    assert kinds(look(clean, names, predictions=dropped)) == {
        "rows-missing", "findings-dropped", "columns-left-out"
    }  # fmt: skip
    binary = predictions(tmp_path, clean, rows, [int(value > 0.5) for value in values])
    assert kinds(look(clean, names, predictions=binary)) == {"binarised", "columns-left-out"}
    validation = predictions(tmp_path, clean, names["val"], noise[: len(names["val"])])
    assert "rows-of-val" in kinds(look(clean, names, predictions=validation))


def test_duplicates_rejected_and_blank_files_are_found(phantoms, tmp_path):
    source = read_nih(phantoms)
    frame = source.table.frame
    images = phantoms / "images"
    root = tmp_path / "source"
    (root / "images").mkdir(parents=True)
    for file in images.iterdir():
        (root / "images" / file.name).symlink_to(file)
    for name in ("Data_Entry_2017_v2020.csv", "train_val_list.txt", "test_list.txt"):
        (root / name).write_bytes((phantoms / name).read_bytes())
    train, test = (list(frame["image"][frame["official"] == part]) for part in ("train_val", "test"))

    def put(name, pixels):
        (root / "images" / name).unlink()
        Image.fromarray(pixels).save(root / "images" / name)

    put(train[0], np.asarray(Image.open(images / test[0])))
    put(train[1], (np.asarray(Image.open(images / test[1])) * 0.9).astype(np.uint8))
    put(train[2], np.zeros((64, 64), np.uint8))
    (root / "images" / train[3]).unlink()
    (root / "images" / train[3]).write_bytes(b"not an image")
    build_store(read_nih(root), tmp_path / "store", Preparation(size=64), workers=1,
                split_sha256=registered_sha256(source.whole, source.dataset))  # fmt: skip
    store = open_store(tmp_path / "store")
    split = build_split(
        "folder-official", store.table, dataset=store.dataset, whole_sha256=store.split_sha256
    )
    found = audit(store, lists_of_split(split, store.dataset))
    assert [(each.severity, each.kind, each.count) for each in found.problems] == [
        ("error", "equal-images-in-two-parts", 1),
        ("error", "near-images-in-two-parts", 1),
        ("warning", "files-rejected", 1),
        ("warning", "blank-images", 1),
    ]
    (tmp_path / "store" / "rejected.csv").write_text("no,such,columns\n1,2,3\n")
    with pytest.raises(DataError, match=r"rejected\.csv cannot be read"):
        audit(store, lists_of_split(split, store.dataset), Evidence(pixels=False))


def test_the_real_sample_has_notes_only(real):
    split = build_split("nih-official", real.table, dataset=real.dataset, whole_sha256=real.split_sha256)
    found = audit(real, lists_of_split(split, real.dataset))
    assert [(each.severity, each.kind, each.count) for each in found.problems] == [
        ("note", "prevalence-shift", 2),
        ("note", "equal-images-of-a-patient", 1),
    ]


def test_a_random_split_of_nih_is_warned_of(real):
    split = build_split(
        "nih-random-patient", real.table, dataset=real.dataset, whole_sha256=real.split_sha256
    )
    found = audit(real, lists_of_split(split, real.dataset), Evidence(pixels=False))
    assert not found.failed
    assert {"official-test-patients-learnt-from", "boxed-images-learnt-from"} <= kinds(found)


def test_nihs_own_lists_are_known_and_clean(real, nih_sample):
    parts = {
        "train": read_image_list(nih_sample / "train_val_list.txt.gz"),
        "test": read_image_list(nih_sample / "test_list.txt.gz"),
    }
    locator = Locator(real.table, real.dataset)
    boxed = read_boxed_images(nih_sample / "BBox_List_2017.csv.gz", locator)
    assert len(boxed) == 880
    assert kinds(look(real, parts, boxed=boxed)) == {"images-missing", "prevalence-shift"}
    # 606 of the 880 in another list's training, as in a published project.
    parts["train"] += tuple(sorted(boxed)[:606])
    found = look(real, parts, boxed=boxed)
    [problem] = [each for each in found.problems if each.kind == "boxed-images-learnt-from"]
    assert (problem.severity, problem.count) == ("error", 606)
    assert {"patients-in-two-parts", "official-test-patients-learnt-from"} <= kinds(found)


def test_the_json_is_whole_and_has_no_number_that_is_none(clean, split):
    found = audit(clean, lists_of_split(split, clean.dataset), Evidence(pixels=False))
    value = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert value["format"] == "thorax-audit/1"
    assert value["split"] == {"name": "folder-official", "sha256": split.sha256}
    assert value["failed"] is False
    assert "equal, changed and blank images: reading pixels was turned off" in value["unchecked"]
    assert len(value["prevalence"]) == 15 * 3


def test_a_split_without_a_test_part_is_audited_as_far_as_it_goes(tmp_path, clean, names):
    learnt = {part: names[part] for part in ("train", "val")}
    assert kinds(look(clean, learnt)) == {"split-unknown"}
    predicted = predictions(tmp_path, clean, names["val"], np.linspace(0.01, 0.99, len(names["val"])))
    figures = {"split": {"part": "test"}, "operating_points": {"test_tuned": True}}
    found = look(clean, learnt, predictions=predicted, metrics=figures)
    assert {"rows-of-val", "tuned-on-test"} <= kinds(found)
    assert "findings-dropped" not in kinds(found)
    assert {"predictions", "what metrics.json says"} <= set(found.checked)
