"""A node beside a real Orthanc: images are forwarded, results come back into their study, each once."""

import io
import subprocess
import sys

import highdicom
import pydicom
import pytest

import thorax
from tests.helpers.node import (
    image,
    images,
    received,
    reports,
    running_node,
    storescp,
    storescu,
    wait_for,
)
from tests.helpers.orthanc import stored

FORWARD = ("--port", "11112", "--forward", "ORTHANC@127.0.0.1:4242")


def test_results_come_back_into_the_study_once_and_are_committed(tmp_path, orthanc):
    sent = images(tmp_path / "images", 3)
    with running_node(tmp_path / "queue", *FORWARD) as node:
        storescu(4242, *sent.values(), called="ORTHANC")
        wait_for(lambda: len(reports(stored(orthanc))) == 3)
        wait_for(lambda: len(node.lines("commitment")) == 3)
        before = stored(orthanc)
        storescu(4242, *sent.values(), called="ORTHANC")  # again, by another way round
        storescu(11112, *sent.values())
        wait_for(lambda: len(node.lines("received again")) >= 3)
        assert node.end() == 0
    after = stored(orthanc)
    assert before.keys() == after.keys()
    model = thorax.load("starter")
    for uid, report in reports(after).items():
        (study,) = orthanc.find("Study", StudyInstanceUID=report.StudyInstanceUID)
        classes = {
            pydicom.dcmread(io.BytesIO(orthanc.file(instance))).Modality
            for series in study["Series"]
            for instance in orthanc.get(f"/series/{series}")["Instances"]
        }
        assert {"DX", "SR", "OT", "PR"} >= classes >= {"DX", "SR"}
        content = io.BytesIO()
        report.save_as(content)
        content.seek(0)
        opened = highdicom.sr.srread(content)
        groups = (
            opened.content.get_planar_roi_measurement_groups()
            or opened.content.get_image_measurement_groups()
        )
        numbers = [float(group.get_measurements()[0].value) for group in groups]
        assert numbers == pytest.approx(
            [100 * entry.probability for entry in model.predict(sent[uid])], abs=1e-6
        )
    for line in node.lines("commitment"):
        assert line["whole"]
        assert line["known"]


def test_an_archive_that_is_away_gets_everything_when_it_is_back(tmp_path, orthanc):
    sent = images(tmp_path / "images", 4)
    orthanc.stop()
    with running_node(tmp_path / "queue", *FORWARD) as node:
        storescu(11112, *sent.values())
        wait_for(lambda: node.lines("not reached"))
        orthanc.start()
        wait_for(lambda: len(reports(stored(orthanc))) == 4)
        assert node.end() == 0


def test_dicomweb_predicts_a_study_once_however_often_it_runs(tmp_path, orthanc):
    if not orthanc.get("/plugins"):
        pytest.skip("orthanc-dicomweb is not installed")
    sent = images(tmp_path / "images", 3)
    for path in sent.values():
        orthanc.post("/instances", path.read_bytes())
    words = [
        sys.executable,
        "-m",
        "thorax",
        "predict",
        "dicomweb+http://127.0.0.1:8042/dicom-web/studies",
    ]
    first = subprocess.run(words, capture_output=True, text=True, check=True)
    before = stored(orthanc)
    assert set(reports(before)) == set(sent)
    assert "3 stored" in first.stdout + first.stderr
    again = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "3 there" in again.stdout + again.stderr
    assert stored(orthanc).keys() == before.keys()


def test_stow_sends_results_to_the_archive(tmp_path, orthanc):
    dicomweb_client = pytest.importorskip("dicomweb_client")
    if not orthanc.get("/plugins"):
        pytest.skip("orthanc-dicomweb is not installed")
    sent = images(tmp_path / "images", 2)
    address = "http://127.0.0.1:8042/dicom-web"
    with running_node(tmp_path / "queue", "--port", "11112", "--stow", address) as node:
        storescu(11112, *sent.values())
        client = dicomweb_client.DICOMwebClient(address)
        found = wait_for(
            lambda: (
                (hits := client.search_for_instances(search_filters={"Modality": "SR"}))
                and len(hits) == 2
                and hits
            )
        )
        assert len({hit["00080018"]["Value"][0] for hit in found}) == 2
        assert node.end() == 0


def test_a_full_disk_says_so_and_recovers(tmp_path):
    """The queue lies on a disk of 6 MB; what was refused can be sent again when there is room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)]
    if subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not permit a disk of its own")
    uid, content = image(1)
    first = tmp_path / "first.dcm"
    first.write_bytes(content)
    with storescp(tmp_path / "pacs") as pacs:
        options = ("--forward", f"PACS@127.0.0.1:{pacs}", "--min-free", "0")
        with running_node(disk / "queue", *options) as node:
            (disk / "filling").write_bytes(bytes(6_000_000))
            with pytest.raises(OSError, match="space"):
                (disk / "more").write_bytes(bytes(1_000_000))
            output = storescu(node.port, first, expect=1, options=("-v",))
            assert "OutOfResources" in output or "Out of Resources" in output or "0xa700" in output.lower()
            assert node.get("/health")[0] == 503
            (disk / "filling").unlink()
            (disk / "more").unlink(missing_ok=True)
            storescu(node.port, first)
            wait_for(lambda: set(reports(received(tmp_path / "pacs"))) == {uid})
            assert node.end() == 0
