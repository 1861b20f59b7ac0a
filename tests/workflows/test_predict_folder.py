"""`Model.predict_folder`: whose rows a folder has when it is given again, and what it refuses."""

import csv
import json
import os
import shutil
import threading
import time

import pytest

import thorax
from tests.helpers.chest import chest_12_bits
from tests.helpers.dicom_writing import dataset, to_bytes
from thorax import starter
from thorax.bundle import load_bundle
from thorax.errors import DataError
from thorax.inference.engines import open_predictor
from thorax.reporting.prediction_page import file_name
from thorax.workflows import prediction_recorder
from thorax.workflows import watch_folder as watching

IMAGES = sorted((starter.folder() / "images").glob("*.png"))


@pytest.fixture(scope="module")
def model():
    return thorax.load()


def rows(out):
    with (out / "predictions.csv").open(newline="") as file:
        return [row["Image Index"] for row in csv.DictReader(file)]


def studies(out):
    lines = (out / "journal.jsonl").read_text().splitlines()[1:]
    latest = {row["name"]: row["study"] for line in lines for row in json.loads(line)}
    return [latest[name] for name in sorted(latest)]


def test_the_same_relative_path_in_another_folder_is_another_image(model, tmp_path, monkeypatch):
    for folder, image in zip("ab", IMAGES, strict=False):
        (tmp_path / folder / "x").mkdir(parents=True)
        shutil.copy(image, tmp_path / folder / "x" / "0001.png")
        monkeypatch.chdir(tmp_path / folder)
        model.predict_folder(["x"], "../out")
    assert rows(tmp_path / "out") == ["0001.png", "0001.png"]
    monkeypatch.chdir(tmp_path)
    assert model.predict_folder(["a/x"], "out").earlier == 1
    assert len(rows(tmp_path / "out")) == 2


def test_a_line_of_the_journal_has_the_files_that_were_computed_together(model, tmp_path, monkeypatch):
    predict_listed = prediction_recorder.predict_listed

    def slowly(*arguments, **options):
        for outcome in predict_listed(*arguments, **options):
            time.sleep(0.05)
            yield outcome

    monkeypatch.setattr(prediction_recorder, "predict_listed", slowly)
    (tmp_path / "in").mkdir()
    for number in range(34):
        shutil.copy(IMAGES[0], tmp_path / "in" / f"{number:02d}.png")
    model.predict_folder([tmp_path / "in"], tmp_path / "out")
    lines = (tmp_path / "out" / "journal.jsonl").read_text().splitlines()[1:]
    assert [len(json.loads(line)) for line in lines] == [32, 2]  # however slow the machine is


def study(path, uid):
    path.write_bytes(to_bytes(dataset(chest_12_bits(), bits=12, StudyInstanceUID=uid)))


@pytest.mark.parametrize("change", ["replaced", "removed"])
def test_a_file_that_was_replaced_does_not_join_two_studies(model, tmp_path, change):
    (tmp_path / "in").mkdir()
    for name, uid in (("a", "1.2.3"), ("b", "1.2.3"), ("c", "4.5.6")):
        study(tmp_path / "in" / f"{name}.dcm", uid)
    model.predict_folder([tmp_path / "in"], tmp_path / "out")
    assert studies(tmp_path / "out") == [1, 1, 2]
    if change == "replaced":
        study(tmp_path / "in" / "a.dcm", "9.9.9.9")
        os.utime(tmp_path / "in" / "a.dcm", (1, 1))
    else:
        (tmp_path / "in" / "a.dcm").unlink()
    study(tmp_path / "in" / "d.dcm", "1.2.3")
    model.predict_folder([tmp_path / "in"], tmp_path / "out")
    assert studies(tmp_path / "out") == [3 if change == "replaced" else 1, 1, 2, 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"mine": "a diary"}', "is of format None"),
        ("dear diary", "a line is not JSON"),
        ('{"format": 1, "mod', None),  # ours, killed before its first line was whole
    ],
)
def test_a_file_of_another_kind_is_not_taken_for_a_journal(model, tmp_path, content, message):
    (tmp_path / "journal.jsonl").write_text(content)
    if message is None:
        model.predict_folder(IMAGES[:1], tmp_path)
        assert len(rows(tmp_path)) == 1
        return
    with pytest.raises(DataError, match=message):
        model.predict_folder(IMAGES[:1], tmp_path)
    assert (tmp_path / "journal.jsonl").read_text() == content


@pytest.mark.parametrize("line", ["[1]", "{}", '[{"path": "a.png"}]', "7"])
def test_a_damaged_journal_is_named(model, tmp_path, line):
    model.predict_folder(IMAGES[:1], tmp_path / "out")
    with (tmp_path / "out" / "journal.jsonl").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(DataError, match=r"journal\.jsonl is damaged"):
        model.predict_folder(IMAGES[:1], tmp_path / "out")


def test_other_thresholds_begin_another_folder(model, tmp_path):
    model.predict_folder(IMAGES[:1], tmp_path / "out")
    path = tmp_path / "out" / "journal.jsonl"
    first, *lines = path.read_text().splitlines()
    thresholds = json.loads(first)["thresholds"]
    assert thresholds == [entry.threshold for entry in model.predict(IMAGES[0]).findings]
    other = json.loads(first) | {"thresholds": [0.5, *thresholds[1:]]}  # such as those of a quantized engine
    path.write_text("\n".join([json.dumps(other), *lines, ""]))
    with pytest.raises(DataError, match=r"was begun with thresholds 0\.5"):
        model.predict_folder(IMAGES[:1], tmp_path / "out")


def test_findings_whose_names_differ_in_signs_alone_have_files_of_their_own():
    names = [
        file_name(column, name) for column, name in enumerate(("Mass/Nodule", "Mass Nodule", "Mass-Nodule"))
    ]
    assert names == ["00-Mass-Nodule", "01-Mass-Nodule", "02-Mass-Nodule"]


def test_watching_an_empty_file_ends_with_a_failure(model, tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "_SETTLED_EMPTY", 0.1)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "empty.png").touch()
    stop, failed = threading.Event(), []

    def note(path, reason):
        failed.append(reason)
        stop.set()

    late = threading.Timer(60, stop.set)
    late.start()
    result = watching.watch_folder(
        open_predictor(load_bundle(starter.folder())),
        [tmp_path / "in"],
        tmp_path / "out",
        stop=stop,
        failed=note,
    )
    late.cancel()
    assert failed == ["the file is empty (0 bytes); copy it again from its source"]
    assert result.tally.failed == 1
