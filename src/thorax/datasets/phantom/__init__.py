"""Digital chest phantoms in NIH ChestX-ray14's own layout: data whose right answer is known.

    OUT/images/90000000003_001.png ...   8-bit gray
    OUT/Data_Entry_2017_v2020.csv        labels, written last: a set without it is incomplete
    OUT/BBox_List_2017.csv               a box for every planted finding, in 1024 x 1024 pixels
    OUT/train_val_list.txt, test_list.txt

Patients' ids have eleven digits and begin with 9, so that no phantom is ever taken for a patient of
NIH's. An image depends on nothing but (seed, patient, follow-up, size): the first patients of a larger
set are the same files. Its pixels are the same on every machine; the bytes around them are those of
the installed Pillow's deflate.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

from thorax.arrays import Pixels
from thorax.atomic_io import StrPath, atomic_write, refuse_existing
from thorax.datasets.phantom.anatomy import FIELD_MM, Field, draw_anatomy, speckle
from thorax.datasets.phantom.chest import build_chest
from thorax.datasets.phantom.cohort import PhantomPatient, PhantomVisit, draw_patient, draw_patients
from thorax.datasets.phantom.findings import NUM_SITE_DRAWS, PlantedFinding, plant
from thorax.errors import DataError
from thorax.findings import NIH14, NO_FINDING
from thorax.hardware import keep_freed_memory
from thorax.outputs import refuse_full
from thorax.randomness import uniform

__all__ = ["LARGEST_SIZE", "SMALLEST_SIZE", "PhantomSet", "render_phantom", "write_phantoms"]

SMALLEST_SIZE: Final = 64
LARGEST_SIZE: Final = 1024
_MOST_PATIENTS: Final = 1_000_000
_IMAGES_PER_PATIENT: Final = 3.6
_BYTES_PER_PIXEL: Final = 0.75
"""Of the compressed images: 0.67 at 256 pixels, 0.79 at 64."""

_LABELS: Final = "Data_Entry_2017_v2020.csv"
_BOXES: Final = "BBox_List_2017.csv"
_TRAIN: Final = "train_val_list.txt"
_TEST: Final = "test_list.txt"
_LABEL_HEADER: Final = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]\n"
)
_BOX_HEADER: Final = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
_BOX_SPELLING: Final = {"Infiltration": "Infiltrate"}
_OWN_FILE: Final = re.compile(
    r"\.?(Data_Entry_2017_v2020\.csv|BBox_List_2017\.csv|(train_val|test)_list\.txt)(\.\d+\.partial)?"
)
_OWN_IMAGE: Final = re.compile(r"\.?9(\d{4})(\d{6})_(\d{3})\.png(\.partial)?")


@dataclass(frozen=True, slots=True)
class PhantomSet:
    """A drawn set of phantoms; it is accepted wherever its path is.

    Attributes:
        folder: Its folder.
        num_patients: Number of patients.
        num_images: Number of images.
        num_test_images: How many of them are in the test part.
        num_boxes: Number of boxes.
    """

    folder: Path
    num_patients: int
    num_images: int
    num_test_images: int
    num_boxes: int

    def __fspath__(self) -> str:
        """Return the folder, so that the set is accepted wherever its path is."""
        return str(self.folder)


def write_phantoms(
    out: StrPath, *, patients: int, seed: int = 0, size: int = 256, overwrite: bool = False
) -> PhantomSet:
    """Draw a set of phantoms into `out`, with findings about as often and as related as NIH's.

    A prevalence below 3 % is raised to 3 %, so that a few hundred patients show every finding.

    Args:
        out: A new or empty folder, or one where the same set was cut short. A complete one is left unchanged.
        patients: Number of patients; they have 3.6 images each on average, every fifth is in the test part.
        seed: Another seed is another cohort.
        size: Rows and columns of the images, 64 to 1024.
        overwrite: Replace phantoms that are in `out`; any other file is refused.

    Raises:
        DataError: `patients`, `seed` or `size` is out of range, or `out` holds something else, or phantoms
            that may not be replaced.
    """
    out = Path(out)
    if not 1 <= patients <= _MOST_PATIENTS:
        raise DataError(f"{patients} patients cannot be drawn into {out}; ask for 1 to {_MOST_PATIENTS}")
    if not SMALLEST_SIZE <= size <= LARGEST_SIZE:
        raise DataError(
            f"phantoms of {size} x {size} pixels cannot be drawn into {out}; "
            f"ask for a size from {SMALLEST_SIZE} to {LARGEST_SIZE}"
        )
    if seed < 0:
        raise DataError(f"seed {seed} of the phantoms in {out} is negative; choose one from 0")
    if (out / _LABELS).exists():
        drawn = None if overwrite else _drawn_before(out, patients=patients, seed=seed, size=size)
        if drawn is not None:
            return drawn
        refuse_existing(out, overwrite=overwrite, folder=True)
    refuse_full(out, needed=int(patients * _IMAGES_PER_PATIENT * size * size * _BYTES_PER_PIXEL))
    _make_room(out, patients=patients, seed=seed, overwrite=overwrite)
    keep_freed_memory()
    counts = dict.fromkeys(("images", "test", "boxes"), 0)
    with ExitStack() as files:
        # Left in the opposite order: the labels come to their name last.
        labels, boxes, train, test = (_text(files, out / name) for name in (_LABELS, _BOXES, _TRAIN, _TEST))
        labels.write(_LABEL_HEADER)
        boxes.write(_BOX_HEADER)
        for patient in draw_patients(seed, patients):
            for visit in patient.visits:
                name = patient.image_name(visit)
                pixels, planted = render_phantom(patient, visit, seed=seed, size=size)
                _write_image(out / "images" / name, pixels)
                labels.write(_label_line(patient, visit, size))
                boxes.writelines(_box_line(name, each) for each in planted)
                (test if patient.in_test else train).write(f"{name}\n")
                counts["images"] += 1
                counts["test"] += patient.in_test
                counts["boxes"] += len(planted)
    return PhantomSet(out, patients, counts["images"], counts["test"], counts["boxes"])


def _drawn_before(out: Path, *, patients: int, seed: int, size: int) -> PhantomSet | None:
    """Return the set in a folder if it is complete and the one that would be drawn."""
    visits = [(patient, visit) for patient in draw_patients(seed, patients) for visit in patient.visits]
    labels = _LABEL_HEADER + "".join(_label_line(patient, visit, size) for patient, visit in visits)
    names = [patient.image_name(visit) for patient, visit in visits]
    files = [out / _BOXES, out / _TRAIN, out / _TEST, *(out / "images" / name for name in names)]
    if (out / _LABELS).read_text(encoding="utf-8") != labels or not all(map(Path.is_file, files)):
        return None
    num_boxes = len((out / _BOXES).read_text(encoding="utf-8").splitlines()) - 1
    num_test = sum(patient.in_test for patient, _ in visits)
    return PhantomSet(out, patients, len(visits), num_test, num_boxes)


def render_phantom(
    patient: PhantomPatient, visit: PhantomVisit, *, seed: int, size: int
) -> tuple[Pixels, list[PlantedFinding]]:
    """Draw one image and say where its findings are.

    Args:
        patient: Whose image it is.
        visit: Which image; one with other findings than the cohort's may be given.
        seed: The cohort's seed.
        size: Rows and columns.

    Returns:
        The image, uint8 (size, size), larger is brighter; and every place of every finding.
    """
    number, moment_step = patient.number, 1000 * patient.number + visit.follow_up
    rows = np.arange(1 + len(NIH14), dtype=np.int64)
    person = uniform(seed, "person", epoch=number, positions=rows, count=12)
    moment = uniform(seed, "moment", epoch=moment_step, positions=rows[:2], count=14)
    anatomy = draw_anatomy(person[0], moment[0, :8], patient.sex, visit.view, visit.findings)
    chest = build_chest(anatomy, size, seed=seed, step=number)
    attenuation = chest.attenuation
    planted: list[PlantedFinding] = []
    for finding in visit.findings:
        index = NIH14.index(finding)
        site = person[1 + index, :NUM_SITE_DRAWS]
        planted += plant(finding, chest, site=site, severity=float(moment[1, index]))
    for each in planted:
        if each.change is not None:
            attenuation = attenuation + each.change
    grain = speckle(seed, "noise", step=moment_step, count=4 * size * size)
    return _expose(attenuation, moment[0, 8:], grain), planted


def _expose(attenuation: Field, draws: Float64[np.ndarray, " _"], grain: UInt8[np.ndarray, " _"]) -> Pixels:
    """Turn attenuation into gray values as film does, with the noise of few quanta."""
    bend = np.float32(0.2 + 0.9 * draws[0])
    scale = np.float32(205 + 50 * draws[1])
    seen = np.clip(attenuation, 0, 2)
    gray = scale * seen * (1 + bend) / (1 + bend * seen)
    noise = grain.reshape(4, *attenuation.shape).sum(axis=0, dtype=np.int16) - np.float32(510)
    # Four bytes add up to a standard deviation of 148.
    gray += noise * np.float32((2.0 + 4.0 * draws[2]) / 148)
    return np.asarray(np.clip(gray + np.float32(0.5), 0, 255).astype(np.uint8))


def _make_room(out: Path, *, patients: int, seed: int, overwrite: bool) -> None:
    """Make `out` and its images folder, refuse foreign files, and remove what a killed run left.

    With `overwrite`, phantoms of another set are removed too.
    """
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file, so phantoms cannot be drawn into it; choose a folder")
    images = out / "images"
    others = [
        file
        for file in (*_entries(out), *_entries(images))
        if file != images and not _is_own(file, images, patients=patients, seed=seed)
    ]
    for file in others:
        if not (overwrite and file.parent == images and _OWN_IMAGE.fullmatch(file.name)):
            raise DataError(
                f"{file} does not belong to {patients} phantom patients of seed {seed}, drawn into {out}; "
                "choose an empty folder, or remove that file"
            )
    for file in others:
        file.unlink()
    images.mkdir(parents=True, exist_ok=True)
    (out / _LABELS).unlink(missing_ok=True)
    for file in (*_entries(out), *_entries(images)):
        if file.name.endswith(".partial"):
            file.unlink()


def _entries(folder: Path) -> Iterator[Path]:
    return folder.iterdir() if folder.is_dir() else iter(())


def _is_own(file: Path, images: Path, *, patients: int, seed: int) -> bool:
    if file.parent != images:
        return _OWN_FILE.fullmatch(file.name) is not None
    match = _OWN_IMAGE.fullmatch(file.name)
    if match is None or int(match[1]) != seed % 10_000 or int(match[2]) >= patients:
        return False
    return int(match[3]) < len(draw_patient(seed, int(match[2])).visits)


def _text(files: ExitStack, path: Path) -> TextIO:
    temporary = files.enter_context(atomic_write(path))
    return files.enter_context(temporary.open("w", encoding="utf-8", newline="\n"))


def _write_image(path: Path, pixels: Pixels) -> None:
    """Write a PNG under a temporary name and rename it; not synced, as the label file comes last."""
    temporary = path.with_name(f".{path.name}.partial")
    Image.fromarray(pixels).save(temporary, format="PNG", compress_level=1)
    temporary.replace(path)


def _label_line(patient: PhantomPatient, visit: PhantomVisit, size: int) -> str:
    labels = "|".join(finding.name for finding in visit.findings) or NO_FINDING.name
    spacing = FIELD_MM / size
    return (
        f"{patient.image_name(visit)},{labels},{visit.follow_up},{patient.identity},{visit.age_years},"
        f"{patient.sex},{visit.view},{size},{size},{spacing},{spacing}\n"
    )


def _box_line(name: str, planted: PlantedFinding) -> str:
    finding = _BOX_SPELLING.get(planted.finding.name, planted.finding.name)
    return ",".join([name, finding, *map(str, planted.box)]) + "\n"
