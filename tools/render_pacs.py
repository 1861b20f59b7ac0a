"""Render docs/pacs-contours.jpg, pacs-report.png and pacs-overlay.jpg: results in viewers of others.

    python tools/render_pacs.py

The results are the starter's, of a phantom, with fixed seeds and a fixed time. OFFIS DICOMscope shows the
presentation state over the image, and the structured report; DCMTK's dcmj2pnm decodes the Secondary Capture.
It needs Debian's packages dicomscope, xvfb, dcmtk and a JDK.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final
from zipfile import ZipFile

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

import thorax
from thorax.datasets.phantom import write_phantoms
from thorax.pacs.finishing import encoded
from thorax.pacs.maker import open_maker

DOCS: Final = Path(__file__).parents[1] / "docs"
VIEWER: Final = Path("/usr/share/java/DICOMscope.jar")
LIBRARIES: Final = "/usr/lib/x86_64-linux-gnu/jni"

_ROOT: Final = "1.2.826.0.1.3680043.8.498.22"
_CREATED: Final = datetime(2024, 2, 1, 12, 30, 15)  # noqa: DTZ001  (as results state it: local time)
_SHOWN_FROM: Final = "Pneumonia (233604007"
"""Where the picture of the report begins: the code of the finding that the starter calls in the phantom."""


def main() -> None:
    """Write the pictures."""
    missing = [name for name in ("java", "Xvfb", "dcmj2pnm") if shutil.which(name) is None]
    if missing or not VIEWER.is_file():
        sys.exit(
            f"{', '.join(missing) or VIEWER} was not found; install Debian's dicomscope, xvfb, dcmtk and "
            "default-jdk, and try again"
        )
    with tempfile.TemporaryDirectory() as folder, display() as screen:
        work = Path(folder)
        write_results(work)
        photograph(work, screen)
        subprocess.run(["dcmj2pnm", "--write-png", "OT.dcm", "overlay.png"], cwd=work, check=True)
        keep(work / "contours.png", DOCS / "pacs-contours.jpg")
        keep(work / "report.png", DOCS / "pacs-report.png")
        keep(work / "overlay.png", DOCS / "pacs-overlay.jpg")


def write_results(work: Path) -> None:
    """Write the image of a phantom, and its results, named by their modality."""
    write_phantoms(work / "phantoms", patients=1, seed=3, size=768)
    image = radiograph(sorted((work / "phantoms").rglob("*.png"))[2])
    image.save_as(work / "DX.dcm", enforce_file_format=True)
    maker = open_maker(thorax.load().predictor)
    for result in maker.results(work / "DX.dcm", created=_CREATED).objects:
        (work / f"{result.Modality}.dcm").write_bytes(encoded(result))


def radiograph(path: Path) -> Dataset:
    """Return an image as a DX object of 12 bits."""
    with Image.open(path) as opened:
        pixels = np.asarray(opened.convert("L")).astype(np.uint16) << 4
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = DigitalXRayImageStorageForPresentation, f"{_ROOT}.3"
    image.StudyInstanceUID, image.SeriesInstanceUID = f"{_ROOT}.1", f"{_ROOT}.2"
    image.PatientName, image.PatientID = "Phantom^Chest", "PHANTOM-1"
    image.PatientBirthDate = image.PatientSex = image.AccessionNumber = image.ReferringPhysicianName = ""
    image.StudyDate, image.StudyTime, image.StudyID = "20240131", "101530", "1"
    image.Modality, image.BodyPartExamined, image.ViewPosition = "DX", "CHEST", "PA"
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.Rows, image.Columns = pixels.shape
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.WindowCenter, image.WindowWidth = "2040", "4080"
    image.PixelData = pixels.tobytes()
    image["PixelData"].VR = "OW"
    return image


@contextmanager
def display() -> Iterator[str]:
    """Yield the name of a screen that nobody sees."""
    words = ["Xvfb", "-displayfd", "1", "-screen", "0", "1280x1024x24", "-nolisten", "tcp"]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert server.stdout is not None
    try:
        yield f":{server.stdout.readline().strip()}"
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()


def photograph(work: Path, screen: str) -> None:
    """Let DICOMscope show the presentation state and the report."""
    for folder in ("database", "log"):
        (work / folder).mkdir()
    with ZipFile(VIEWER) as archive:
        settings = archive.read("DICOMscope.cfg").decode("latin-1")
    settings = settings.replace("/var/lib/dcmtk/db/READWRITE", str(work / "database"))
    (work / "DICOMscope.cfg").write_text(settings, encoding="latin-1")
    arguments = ["PR.dcm", "DX.dcm", "contours.png", "SR.dcm", _SHOWN_FROM, "report.png"]
    subprocess.run(
        [
            "java", "-cp", str(VIEWER), f"-Djava.library.path={LIBRARIES}",
            str(Path(__file__).with_name("DicomscopePicture.java")), *arguments,
        ],
        cwd=work, env={**os.environ, "DISPLAY": screen}, check=True, timeout=300,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def keep(picture: Path, out: Path) -> None:
    """Write a picture: what has many grays as a JPEG, text as a PNG of few colors."""
    with Image.open(picture) as opened:
        image = opened.convert("RGB")
    if out.suffix == ".jpg":
        image.thumbnail((1200, 1200))
        image.save(out, quality=80, optimize=True)
    else:
        image.quantize(32, dither=Image.Dither.NONE).save(out, optimize=True)
    print(f"{out}: {out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
