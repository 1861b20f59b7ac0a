"""Marks in every element of a DICOM header that may identify a patient come out of no command.

Some of the files are damaged as in `dicom-name-in-message`: a length makes one element swallow the next ones.
"""

import json
import tempfile

import numpy as np
import pandas as pd
import pytest
from fastapi.testclient import TestClient
from PIL import Image

import thorax
from tests.helpers.command import command
from tests.helpers.dicom_writing import to_bytes
from tests.helpers.marked import MARKS, marked_dataset, marks_in, pieces_in
from thorax import starter
from thorax.datasets.phantom import write_phantoms
from thorax.service.app import create_app

SOUND = 16
DAMAGED = {
    "modality": b"\x08\x00\x60\x00CS",
    "class": b"\x08\x00\x16\x00UI",
    "center": b"\x28\x00\x50\x10DS",
    "body-part": b"\x18\x00\x15\x00CS",
}
"""Files in which this element, tag and VR, swallows those after it."""


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder of marked radiographs, three of them damaged, with a CSV of labels."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "in").mkdir()
    phantoms = write_phantoms(folder / "phantoms", patients=SOUND, size=64).folder / "images"
    rows = []
    for number, phantom in enumerate(sorted(phantoms.glob("*_000.png"))):
        with Image.open(phantom) as image:
            pixels = np.asarray(image).astype(np.uint16) * 16
        data = to_bytes(marked_dataset(PixelData=pixels.tobytes()))
        rows.append(f"in/{number}.dcm,p{number},{number % 2}")
        (folder / "in" / f"{number}.dcm").write_bytes(data)
    for name, element in DAMAGED.items():
        at = data.index(element) + 6
        damaged = data[:at] + (600).to_bytes(2, "little") + data[at + 2 :]
        (folder / "in" / f"{name}.dcm").write_bytes(damaged)
        rows.append(f"in/{name}.dcm,p{name},1")
    (folder / "labels.csv").write_text("\n".join(["path,patient,Effusion", *rows]) + "\n")
    return folder


@pytest.fixture
def everything(work, tmp_path, monkeypatch):
    """Runs a command with empty folders for its state, caches and temporary files, and searches them all."""
    for variable in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "TMPDIR"):
        (tmp_path / variable).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "TMPDIR"))

    def run(*arguments, expect=0):
        done = command(*arguments, expect=expect)
        assert pieces_in(done.stderr) == []
        assert marks_in(done.stdout) == []
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        for path in files:
            assert marks_in(content_of(path)) == [], path
        return done

    return run


def content_of(path):
    """The bytes of a file; of Parquet, also its table as text."""
    content = path.read_bytes()
    return content + pd.read_parquet(path).to_csv().encode() if path.suffix == ".parquet" else content


def test_the_damaged_files_have_elements_that_swallow_names(work):
    for name in DAMAGED:
        assert len(marks_in((work / "in" / f"{name}.dcm").read_bytes())) == len(MARKS)


@pytest.mark.parametrize("form", [(), ("--json",), ("--csv",)], ids=["text", "json", "csv"])
def test_predict(work, everything, form):
    done = everything("predict", work / "in", *form, expect=4)
    assert "files could not be predicted" in done.stderr


def test_explain(work, tmp_path, everything):
    for picture in ("map.svg", "map.png"):
        asked = ("--findings", "Effusion", "--out", tmp_path / picture)
        everything("explain", starter.folder(), work / "in" / "0.dcm", *asked)
    asked = ("--findings", "Effusion", "--out", tmp_path / "none.png")
    everything("explain", starter.folder(), work / "in" / "modality.dcm", *asked, expect=4)


def test_a_store_an_evaluation_and_an_audit(work, tmp_path, everything):
    store = tmp_path / "store"
    everything("prepare", work / "labels.csv", "--out", store, "--size", "112", expect=4)
    rejected = pd.read_csv(store / "rejected.csv")
    assert len(rejected) >= 2
    assert json.loads((store / "store.json").read_text())["num_rejected"] == len(rejected)
    everything("sheet", store, "--out", tmp_path / "sheet.png")
    everything("audit", store, "--split", "patient-70-15-15")
    everything(
        "evaluate", starter.folder(), "--store", store, "--split", "patient-70-15-15", "--part", "train",
        "--resamples", "5", "--out", tmp_path / "report",
    )  # fmt: skip
    assert "files of the source could not be used" in (tmp_path / "report" / "report.md").read_text()


def test_the_service(work, caplog):
    client = TestClient(create_app(thorax.load()), base_url="http://127.0.0.1")
    for file in sorted((work / "in").iterdir()):
        answer = client.post("/v1/predict", content=file.read_bytes())
        assert answer.status_code in {200, 400}
        assert marks_in(answer.text) == []
    assert pieces_in(caplog.text) == []
