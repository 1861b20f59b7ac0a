"""The results of an upload as DICOM objects of its study."""

import io
import zipfile

import pydicom

from tests.helpers.page import upload
from tests.helpers.studies import STUDY, study_file


def test_a_dicom_file_gives_the_objects_of_its_study(of_starter):
    answer = of_starter.post("/v1/dicom", study_file())
    assert answer.status == 200
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        objects = {name: pydicom.dcmread(io.BytesIO(archive.read(name))) for name in archive.namelist()}
    assert {name: dataset.Modality for name, dataset in objects.items()} == {
        "report.dcm": "SR", "picture.dcm": "OT", "contours.dcm": "PR",
    }  # fmt: skip
    assert {dataset.StudyInstanceUID for dataset in objects.values()} == {STUDY}


def test_a_png_has_no_study(of_starter, images):
    answer = of_starter.post("/v1/dicom", images["00.png"])
    assert answer.status == 400
    assert "this image is not a DICOM file" in answer.json["message"]
    assert "upload" not in answer.json["message"]


def test_the_service_says_that_it_can(of_starter):
    assert of_starter.get("/v1/models").json["dicom"] is True


def test_the_page_saves_them_for_dicom_alone(opened, of_starter, images, tmp_path):
    (tmp_path / "chest.dcm").write_bytes(study_file())
    (tmp_path / "chest.png").write_bytes(images["00.png"])
    tab = opened(of_starter, model="starter")
    button = tab.get_by_role("button", name="Results as DICOM")
    upload(tab, tmp_path / "chest.dcm")
    with tab.expect_download() as download:
        button.click()
    assert download.value.suggested_filename == "chest-thorax-dicom.zip"
    download.value.save_as(tmp_path / "objects.zip")
    with zipfile.ZipFile(tmp_path / "objects.zip") as archive:
        assert archive.namelist() == ["picture.dcm", "contours.dcm", "report.dcm"]
    upload(tab, tmp_path / "chest.png")
    tab.get_by_role("button", name="chest.png").first.click()
    button.wait_for(state="hidden")
