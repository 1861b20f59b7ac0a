"""Splits: which image belongs to training, validation or test.

A split is a list of image names per part with a SHA-256 over the whole list, also where only part of
the images is at hand; the images actually used get a second hash. Patients, not images, are divided,
and a split in which a patient stands in two parts cannot be built.

Where a part is drawn, a patient's place is a pure function of the split's name and the patient's id
(SHA-256), never of who else is there: any subset of a data set is divided as the whole would be.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

import numpy as np

from thorax.arrays import Rows
from thorax.atomic_io import sha256_of_lines
from thorax.datasets import NIH_DATASET
from thorax.datasets.table import Patients, SampleTable
from thorax.errors import DataError
from thorax.image_set import ImageSet
from thorax.tabular import IMAGE_COLUMNS, find_column, read_table

__all__ = [
    "NIH_DATASET",
    "NIH_IMAGES",
    "NIH_OFFICIAL_TEST_IMAGES",
    "NIH_SPLIT_SHA256",
    "PARTS",
    "REGISTERED",
    "Split",
    "build_split",
    "nih_official_test_patients",
    "registered_sha256",
]

PARTS = ("train", "val", "test")
NIH_IMAGES = 112_120
"""Images of NIH ChestX-ray14 (Wang et al. 2017)."""

NIH_OFFICIAL_TEST_IMAGES = 25_596
"""Images of its published test list."""

NIH_SPLIT_SHA256: Final[Mapping[str, str]] = {
    "nih-official": "8938610de67e091f65bf3a9d21f2ff595f26b8922099e3e369383bd375a027fa",
    "nih-random-patient": "5f2836e30b982c0cee3301f5c9a7caf0ebe0347c8a0ab3fd89b3d4ff0175503e",
    "patient-80-10-10": "c6276737b7ba716281df33188aea49583e03310032226de43bdc23153d11da6c",
    "patient-70-15-15": "7be2f0bba74a73785eac3b14da6415833f7b2a9b83b47dcaf190a3fa63d57e3a",
    "patient-92.8-5.2-2": "b203611ac011c6f291fdfb8cc912e9c82307b6274c77420639ead054bfe42c88",
}
"""SHA-256 of each registered split over all 112,120 images of NIH ChestX-ray14."""

_VALIDATION_PART = 0.1
_FOLD = re.compile(r"(?P<base>[^/]+)/fold-(?P<fold>\d+)-of-(?P<folds>\d+)")

Assign = Callable[[str, Patients], list[str]]
"""Gives each labelled image its part, "" for none, in the split of that name."""


@dataclass(frozen=True)
class Split:
    """Rows of one sample table, divided by patient.

    Attributes:
        name: The split's registered name, or "file:" and the file's name.
        sha256: Over the whole list of images and parts, at hand or not.
        parts: Row numbers of each part, in table order.
        table: The table that the rows are of.
    """

    name: str
    sha256: str
    parts: Mapping[str, Rows]
    table: SampleTable

    def rows(self, part: str, *, views: tuple[str, ...] = ()) -> Rows:
        """Return the row numbers of a part, of the given views only (all views when empty).

        Raises:
            DataError: There is no such part, or none of its images is at hand.
        """
        if part not in self.parts:
            raise DataError(f"split {self.name} has no part {part!r}; its parts are {', '.join(self.parts)}")
        rows = self.parts[part]
        if views:
            rows = rows[self.table.frame["view"].isin(views).to_numpy()[rows]]
        if not len(rows):
            kept = f" with view {' or '.join(views)}" if views else ""
            raise DataError(
                f"no image of the {part} part of split {self.name}{kept} is in this store "
                f"({len(self.table)} images); prepare a store that has some, or choose another split"
            )
        return rows

    def sampled(self, count: int) -> "Split":
        """Return the split with `count` of its images to learn from; the test part stays whole.

        Each image draws a number by the hash of its name, and the lowest of all parts together are the
        sample: in training and validation those of it remain that stand there.
        """
        images = self.table.frame["image"].to_numpy()
        rows = np.concatenate([self.parts[part] for part in PARTS])
        drawn = np.array([_draw("sample", str(image)) for image in images[rows]])
        chosen = np.sort(rows[np.argsort(drawn, kind="stable")[:count]])
        kept = {part: np.intersect1d(self.parts[part], chosen) for part in ("train", "val")}
        return Split(self.name, self.sha256, {**self.parts, **kept}, self.table)

    def image_set(self, part: str, rows: Rows, *, dataset: str) -> ImageSet:
        """Return the reference to these rows of a part."""
        patients = self.table.frame["patient"].to_numpy()[rows]
        return ImageSet(
            dataset=dataset,
            split=self.name,
            part=part,
            sha256=self.sha256,
            images_sha256=self.images_sha256(rows),
            num_images=len(rows),
            num_patients=len(set(patients)),
        )

    def images_sha256(self, rows: Rows) -> str:
        """Return the SHA-256 over the sorted names of the images in these rows."""
        names = self.table.frame["image"].to_numpy()[rows]
        return sha256_of_lines(sorted(str(name) for name in names))


def build_split(name: str, table: SampleTable, *, dataset: str, whole_sha256: Mapping[str, str]) -> Split:
    """Divide the images of a table.

    Args:
        name: A registered name, one of these with "/fold-K-of-N" for cross-validation within its
            training part, or "file:PATH" with a CSV of the columns image and part.
        table: The images at hand.
        dataset: The table's data set; NIH's splits are for NIH's images alone.
        whole_sha256: SHA-256 of the registered splits over the whole data set, as `registered_sha256`
            gave them when the store was made.

    Raises:
        DataError: The name is unknown, the split is not for this data set, or a patient stands in two parts.
    """
    patients = table.patients()
    if name.startswith("file:"):
        path = Path(name.removeprefix("file:"))
        parts, sha256 = _from_file(path, patients)
        name = f"file:{path.name}"
    else:
        _refuse_foreign(name, dataset)
        parts = _assigned(name, patients)
        sha256 = _whole_sha256(name, patients, whole_sha256)
    _refuse_crossing(name, parts, patients)
    given = np.array(parts)
    rows = {part: np.flatnonzero(given == part).astype(np.int64) for part in PARTS}
    return Split(name, sha256, rows, table)


def registered_sha256(whole: Patients, dataset: str) -> dict[str, str]:
    """Return the SHA-256 of every registered split that is for this data set, over its whole list.

    For NIH ChestX-ray14 the list is that of all 112,120 images, also when the label file has fewer.

    Raises:
        DataError: The label file claims to be NIH's whole one, but divides its images differently.
    """
    if dataset == NIH_DATASET:
        if len(whole.images) == NIH_IMAGES:
            _check_nih(whole)
        return dict(NIH_SPLIT_SHA256)
    names = [name for name in REGISTERED if not name.startswith("nih-")]
    if not any(whole.official):
        names.remove("folder-official")
    return {name: _list_sha256(whole.images, _assigned(name, whole)) for name in names}


def _check_nih(whole: Patients) -> None:
    for name, expected in NIH_SPLIT_SHA256.items():
        if _list_sha256(whole.images, _assigned(name, whole)) != expected:
            raise DataError(
                f"the label file has {NIH_IMAGES} images, but its split {name} is not that of NIH "
                "ChestX-ray14; a name or a patient was changed: download Data_Entry_2017_v2020.csv again"
            )


def _list_sha256(images: Iterable[str], parts: list[str]) -> str:
    return sha256_of_lines(sorted(f"{part}\t{image}" for image, part in zip(images, parts, strict=True)))


def _whole_sha256(name: str, patients: Patients, known: Mapping[str, str]) -> str:
    """Return the hash of the whole list: as registered, or of a fold of a registered list."""
    fold = _FOLD.fullmatch(name)
    base = fold["base"] if fold else name
    sha256 = known.get(base) or _list_sha256(patients.images, _assigned(base, patients))
    return sha256_of_lines([sha256, name]) if fold else sha256


def _assigned(name: str, patients: Patients) -> list[str]:
    fold = _FOLD.fullmatch(name)
    if fold:
        return _cross_validation(fold["base"], patients, fold=int(fold["fold"]), folds=int(fold["folds"]))
    if name not in REGISTERED:
        known = ", ".join(REGISTERED)
        raise DataError(
            f"there is no split {name!r}; registered are {known}, each also with /fold-K-of-N; "
            "or give file:PATH"
        )
    return REGISTERED[name](name, patients)


def _refuse_foreign(name: str, dataset: str) -> None:
    if name.partition("/")[0] in REGISTERED and name.startswith("nih-") and dataset != NIH_DATASET:
        raise DataError(
            f"split {name} is for NIH ChestX-ray14, and this store's data set is {dataset}; "
            "use folder-official where it has lists of its own, a patient-... split, or file:PATH"
        )
    if name.startswith("folder-official") and dataset == NIH_DATASET:
        raise DataError(
            "split folder-official is not for NIH ChestX-ray14; its published lists are nih-official"
        )


def _refuse_crossing(name: str, parts: list[str], patients: Patients) -> None:
    """Make sure that no patient stands in two parts."""
    first: dict[str, tuple[str, str]] = {}
    for image, patient, part in zip(patients.images, patients.patients, parts, strict=True):
        other_part, other = first.setdefault(patient, (part, image)) if part else ("", "")
        if other_part != part:
            raise DataError(
                f"split {name} has patient {patient} in two parts: {other} in {other_part}, "
                f"{image} in {part}; divide by patient, or figures measured on it would mean nothing"
            )


def _draw(key: str, patient: str) -> float:
    """Return the number in [0, 1) that a patient draws in the draw of that name."""
    return int.from_bytes(hashlib.sha256(f"{key}:{patient}".encode()).digest()[:8], "big") / 2.0**64


def _by_patient(patients: Patients, part_of: Callable[[str], str]) -> list[str]:
    chosen = {patient: part_of(patient) for patient in set(patients.patients)}
    return [chosen[patient] for patient in patients.patients]


def _validation(key: str, patient: str) -> str:
    return "val" if _draw(key, patient) < _VALIDATION_PART else "train"


@cache
def nih_official_test_patients() -> frozenset[str]:
    """Return the ids of the 2,797 patients of NIH's published test list, without leading zeros."""
    text = (files("thorax.datasets") / "nih_official_test_patients.txt").read_text(encoding="ascii")
    return frozenset(text.split())


def _nih_official(name: str, patients: Patients) -> list[str]:
    test = nih_official_test_patients()
    return _by_patient(patients, lambda patient: "test" if patient in test else _validation(name, patient))


def _fractions(train: float, val: float) -> Assign:
    def assign(name: str, patients: Patients) -> list[str]:
        def part_of(patient: str) -> str:
            drawn = _draw(name, patient)
            return "train" if drawn < train else "val" if drawn < train + val else "test"

        return _by_patient(patients, part_of)

    return assign


def _folder_official(name: str, patients: Patients) -> list[str]:
    """Take the data set's own lists; where they have no validation part, draw it as in nih-official."""
    if not any(patients.official):
        raise DataError(
            "split folder-official needs the data set's own lists (train_val_list.txt and test_list.txt, "
            "or a column 'split'), and this data set has none; use a patient-... split or file:PATH"
        )
    return [
        _validation(name, patient) if official == "train_val" else official
        for patient, official in zip(patients.patients, patients.official, strict=True)
    ]


def _cross_validation(base: str, patients: Patients, *, fold: int, folds: int) -> list[str]:
    """Divide what is not test in `base` into folds: fold K becomes "test", 10 % of the rest "val".

    The test part of `base` is left out altogether, so that choices are made without a look at it.
    """
    if not (1 <= fold <= folds and folds > 1):
        raise DataError(
            f"split {base}/fold-{fold}-of-{folds} does not exist; folds count from 1 to at least 2"
        )
    key = f"{base}/{folds}-fold"
    base_parts = _assigned(base, patients)
    _refuse_crossing(base, base_parts, patients)

    def part_of(patient: str, official: str) -> str:
        if official in {"test", ""}:
            return ""
        if int(_draw(key, patient) * folds) == fold - 1:
            return "test"
        return _validation(f"{key}-{fold}", patient)

    return [part_of(*pair) for pair in zip(patients.patients, base_parts, strict=True)]


def _from_file(path: Path, patients: Patients) -> tuple[list[str], str]:
    """Read a CSV with the columns image and part; the hash covers the file's whole list."""
    table = read_table(path, what="a split list", remedy="give a CSV of image,part")
    image_column, part_column = (find_column(table.header, names) for names in (IMAGE_COLUMNS, ("part",)))
    if image_column is None or part_column is None:
        raise DataError(
            f"{path} needs the columns image and part in its first line, and has {', '.join(table.header)}"
        )
    listed: dict[str, str] = {}
    for row, line in zip(table.rows, table.lines, strict=True):
        image, part = row[image_column], row[part_column]
        if part not in PARTS:
            raise DataError(f"{path}, line {line}: part {part!r} of {image} is none of {', '.join(PARTS)}")
        if listed.setdefault(image, part) != part:
            raise DataError(f"{path}, line {line}: {image} is in {listed[image]} and in {part}")
    parts = [listed.get(image, "") for image in patients.images]
    return parts, _list_sha256(listed.keys(), list(listed.values()))


REGISTERED: Final[Mapping[str, Assign]] = {
    "nih-official": _nih_official,
    "nih-random-patient": _fractions(0.7, 0.1),
    "patient-80-10-10": _fractions(0.8, 0.1),
    "patient-70-15-15": _fractions(0.7, 0.15),
    "patient-92.8-5.2-2": _fractions(0.928, 0.052),
    "folder-official": _folder_official,
}
"""Every split that has a name, and how it divides. 70/10/20 is CheXNet's (Rajpurkar et al. 2017); the
patient-... splits are those of published projects, which fit any data set."""
