"""The input gate at the doors of Python: what it holds back has an error and no probabilities."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

import thorax
from thorax import starter
from thorax.errors import DataError, ImageError, NotARadiograph
from thorax.workflows.explain import explain, explain_files

CHEST = min((starter.folder() / "images").glob("*.png"))


@pytest.fixture(scope="module")
def model():
    return thorax.load()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A radiograph, a black image, the radiograph in green, and a file that is damaged."""
    folder = tmp_path_factory.mktemp("images")
    gray = np.asarray(Image.open(CHEST).convert("L"))
    Image.fromarray(gray).save(folder / "chest.png")
    Image.fromarray(np.zeros_like(gray)).save(folder / "black.png")
    Image.fromarray(np.stack([gray // 4, gray, gray // 4], axis=-1)).save(folder / "green.png")
    (folder / "damaged.png").write_bytes((folder / "chest.png").read_bytes()[:100])
    return folder


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_held_back_image_is_an_error_with_its_code_reasons_and_what_would_pass(model, folder):
    with pytest.raises(NotARadiograph, match=r"black\.png: held back by the input gate: 100.0 %") as caught:
        model.predict(folder / "black.png")
    assert isinstance(caught.value, ImageError)
    assert caught.value.code == "not-a-radiograph"
    assert caught.value.reasons == ("no-contrast",)
    assert "give the radiograph with the full range of its values" in str(caught.value)


def test_without_the_gate_it_is_predicted_and_the_gates_reason_is_a_warning(model, folder):
    prediction = model.predict(folder / "green.png", gate=False)
    assert len(prediction) == len(model.findings)
    assert "the input gate, which is off, would hold this image back" in prediction.warnings[0]
    assert "colored" in prediction.warnings[0]
    passing = model.predict(folder / "chest.png")
    assert passing.findings == model.predict(folder / "chest.png", gate=False).findings
    assert not any("input gate" in warning for warning in passing.warnings)


def test_one_held_back_image_does_not_stop_the_others_and_is_told_from_a_damaged_file(model, folder):
    names = ("black.png", "chest.png", "damaged.png", "green.png")
    outcomes = list(model.predict_many([folder / name for name in names]))
    assert [getattr(outcome, "code", "") for outcome in outcomes] == [
        "not-a-radiograph", "", "unreadable", "not-a-radiograph"
    ]  # fmt: skip
    assert outcomes[0].gate_reasons == ("no-contrast",)
    assert outcomes[3].gate_reasons == ("color",)
    assert outcomes[0].reason.startswith("held back by the input gate: ")
    (array,) = model.predict_many([np.zeros((100, 100), np.uint8)])
    assert (array.source, array.code) == ("<array 0>", "not-a-radiograph")


def test_a_folder_of_predictions_has_it_among_the_rejected_and_on_the_page(model, folder, tmp_path):
    done = model.predict_folder(folder, tmp_path / "out")
    assert (done.tally.predicted, done.tally.failed, done.tally.held_back) == (1, 3, 2)
    assert [row["Image Index"] for row in table(tmp_path / "out" / "predictions.csv")] == ["chest.png"]
    errors = {
        row["path"].rpartition("/")[2]: row["error"] for row in table(tmp_path / "out" / "rejected.csv")
    }
    assert errors == {
        "black.png": "not-a-radiograph", "damaged.png": "unreadable", "green.png": "not-a-radiograph"
    }  # fmt: skip
    page = (tmp_path / "out" / "index.html").read_text()
    assert "Held back by the input gate, without a prediction: 2" in page
    assert "<b>black.png</b>: held back by the input gate: 100.0 % of the pixels" in page
    assert "<b>damaged.png</b>" not in page
    assert "3 of 4 files could not be predicted, 2 of them held back by the input gate" in done.tally.lines()


def test_the_same_folder_is_not_continued_without_the_gate(model, folder, tmp_path):
    model.predict_folder(folder, tmp_path / "out")
    with pytest.raises(DataError, match="was begun with gate on, and now it would be off"):
        model.predict_folder(folder, tmp_path / "out", gate=False)
    done = model.predict_folder(folder, tmp_path / "out", gate=False, overwrite=True)
    assert (done.tally.predicted, done.tally.held_back) == (3, 0)
    head = json.loads((tmp_path / "out" / "journal.jsonl").read_text().splitlines()[0])
    assert head["gate"] is False


def test_maps_are_held_back_too(model, folder, tmp_path):
    with pytest.raises(NotARadiograph):
        model.explain(folder / "black.png", "Effusion")
    assert model.explain(folder / "green.png", "Effusion", gate=False).map.finding.name == "Effusion"
    bundle = starter.folder()
    with pytest.raises(NotARadiograph):
        explain(bundle, folder / "black.png", out=tmp_path / "map.png")
    assert not (tmp_path / "map.png").exists()
    results = list(explain_files(bundle, [folder / "black.png", folder / "chest.png"]))
    assert results[0].code == "not-a-radiograph"
    assert results[1].prediction.source.endswith("chest.png")
