"""DICOM radiographs with a patient and a study, as archives have them, and other people's checks of DICOM."""

import re
import shutil
import subprocess

import numpy as np
import pytest

from tests.helpers.chest import chest
from tests.helpers.dicom_writing import CR, DX, SECONDARY_CAPTURE, dataset, to_bytes

STUDY, SERIES, IMAGE = (
    "1.2.826.0.1.3680043.8.498.1",
    "1.2.826.0.1.3680043.8.498.2",
    "1.2.826.0.1.3680043.8.498.3",
)

PATIENT = {
    "PatientName": "Doe^Jane", "PatientID": "A-17", "PatientBirthDate": "19610203", "PatientSex": "F",
    "PatientAge": "062Y", "StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES, "SOPInstanceUID": IMAGE,
    "StudyDate": "20240131", "StudyTime": "101530", "AccessionNumber": "ACC1", "StudyID": "S1",
    "ReferringPhysicianName": "Roe^Richard", "StudyDescription": "Chest PA", "InstanceNumber": 1,
    "SeriesNumber": 1, "ViewPosition": "PA",
}  # fmt: skip

CLASSES = {"DX": DX, "CR": CR, "SC": SECONDARY_CAPTURE}


def study_dataset(modality="DX", *, side=256, inverted=False, **elements):
    """Return a radiograph of 12 bits with a patient and a study; None removes an element."""
    pixels = chest(side).astype(np.uint16) * 16
    stored = 4080 - pixels if inverted else pixels
    given = {
        **PATIENT, "SOPClassUID": CLASSES[modality], "Modality": "OT" if modality == "SC" else modality,
        "PhotometricInterpretation": "MONOCHROME1" if inverted else "MONOCHROME2",
        "WindowCenter": "2040", "WindowWidth": "4080",
    }  # fmt: skip
    given |= {keyword: value for keyword, value in elements.items() if value is not None}
    absent = [keyword for keyword, value in elements.items() if value is None]
    image = dataset(stored, bits=12, **{key: given[key] for key in given if key not in absent})
    for keyword in absent:
        if keyword in image:
            del image[keyword]
    return image


def study_file(modality="DX", **elements):
    """Return the bytes of a file of `study_dataset`."""
    return to_bytes(study_dataset(modality, **elements))


def errors_of(path):
    """Return what dciodvfy calls an error; the test is skipped where it is not installed."""
    return [line for line in _run("dciodvfy", path).splitlines() if re.match(r"^\s*Error", line)]


def printed_report(path):
    """Return a structured report as DCMTK's dsrdump prints it."""
    return _run("dsrdump", "+Pl", path)


def report_as_html(path, out):
    """Return a structured report as DCMTK's dsr2html shows it to people."""
    _run("dsr2html", path, out)
    return out.read_text()


def _run(program, *arguments):
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}, a program of DCMTK or dicom3tools")
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, check=False)
    return (done.stdout + done.stderr).decode("utf-8", "replace")


def render(image, state, out):
    """Render an image through a presentation state with DCMTK's dcmp2pgm; return its gray values."""
    _run("dcmp2pgm", image, "--pstate", state, out)
    width, height, pixels = re.fullmatch(
        rb"P5\s+(?:#.*\n)?(\d+)\s+(\d+)\s+255\s(.*)", out.read_bytes(), re.DOTALL
    ).groups()
    return np.frombuffer(pixels, np.uint8).reshape(int(height), int(width))
