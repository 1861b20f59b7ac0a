"""`thorax predict --dicom-out`: files in folders of studies, once however often it runs."""

import sys

import pydicom
import pytest
from PIL import Image

import thorax
from tests.helpers.chest import chest
from tests.helpers.command import command
from tests.helpers.dicom_writing import to_bytes
from tests.helpers.studies import STUDY, study_dataset, study_file
from thorax.errors import MissingExtra


@pytest.fixture
def images(tmp_path, shapes_unchecked):
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "chest.dcm").write_bytes(study_file())
    blank = study_dataset(SOPInstanceUID="1.2.3.4")
    blank.PixelData = bytes(len(blank.PixelData))
    (folder / "blank.dcm").write_bytes(to_bytes(blank))
    return folder


def test_results_lie_in_the_folder_of_their_study(images, tmp_path):
    out = tmp_path / "results"
    done = command("predict", images / "chest.dcm", "--dicom-out", out)
    (study,) = out.iterdir()
    assert study.name == STUDY
    files = sorted(study.iterdir())
    assert [path.name[:3] for path in files] == ["OT-", "PR-", "SR-"]
    for path in files:
        dataset = pydicom.dcmread(path)
        assert path.name == f"{dataset.Modality}-{dataset.SOPInstanceUID}.dcm"
    assert f"OT, PR, SR in {study}" in done.stdout


def test_a_second_run_writes_nothing(images, tmp_path):
    out = tmp_path / "results"
    command("predict", images, "--dicom-out", out, expect=4)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.rglob("*.dcm")}
    assert len(before) == 4
    done = command("predict", images, "--dicom-out", out, expect=4)
    assert done.stdout.count("was done before") == 1
    assert "blank.dcm: held back by the input gate before" in done.stderr
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.rglob("*.dcm")} == before


def test_an_interrupted_run_is_continued(images, tmp_path):
    out = tmp_path / "results"
    command("predict", images / "chest.dcm", "--dicom-out", out)
    (report,) = out.rglob("SR-*")
    report.unlink()  # it is written last
    command("predict", images / "chest.dcm", "--dicom-out", out)
    assert len(list(out.rglob("*.dcm"))) == 3


def test_what_the_gate_holds_back_gets_a_report_or_nothing(images, tmp_path):
    done = command("predict", images / "blank.dcm", "--dicom-out", tmp_path / "a", expect=4)
    assert "held back by the input gate" in done.stderr
    (report,) = (tmp_path / "a").rglob("*.dcm")
    assert pydicom.dcmread(report).Modality == "SR"
    command("predict", images / "blank.dcm", "--dicom-out", tmp_path / "b", "--no-refusals", expect=4)
    assert not list((tmp_path / "b").rglob("*.dcm"))


def test_two_images_with_one_uid_are_not_mixed_up(images, tmp_path):
    (images / "copy.dcm").write_bytes((images / "chest.dcm").read_bytes())
    (images / "other.dcm").write_bytes(study_file(side=300))
    given = [images / name for name in ("chest.dcm", "copy.dcm", "other.dcm")]
    done = command("predict", *given, "--dicom-out", tmp_path / "results", expect=4)
    assert "copy.dcm  was done before" in done.stdout
    assert "other.dcm: another file with the same SOP Instance UID was given before" in done.stderr


def test_other_files_are_refused_by_name(images, tmp_path):
    Image.fromarray(chest()).save(images / "photo.png")
    done = command("predict", images, "--dicom-out", tmp_path / "results", expect=4)
    assert "photo.png: results as DICOM objects belong to a study" in done.stderr
    assert len(list((tmp_path / "results").rglob("*.dcm"))) == 4


@pytest.mark.parametrize("option", ["--json", "--csv", "--ids"])
def test_contradictions_are_refused(images, tmp_path, option):
    done = command("predict", images, "--dicom-out", tmp_path / "results", option, expect=2)
    assert "--dicom-out" in done.stderr
    assert not (tmp_path / "results").exists()


def test_a_missing_extra_is_named_before_any_work(images, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    done = command("predict", images, "--dicom-out", tmp_path / "results", expect=7)
    assert "pip install '.[pacs]'" in done.stderr


def test_a_model_makes_the_same_objects(images, tmp_path):
    command("predict", images / "chest.dcm", "--dicom-out", tmp_path / "results")
    results = thorax.load().dicom(images / "chest.dcm")
    names = {f"{dataset.Modality}-{dataset.SOPInstanceUID}.dcm" for dataset in results.objects}
    assert {path.name for path in (tmp_path / "results").rglob("*.dcm")} == names
    predicted = thorax.load().predict(images / "chest.dcm")
    assert [entry.probability for entry in results.prediction] == [entry.probability for entry in predicted]


def test_a_model_names_the_missing_extra(images, monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(MissingExtra, match=r"results as DICOM objects needs highdicom.*pacs"):
        thorax.load().dicom(images / "chest.dcm")
