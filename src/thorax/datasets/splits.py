"""Splits: which image belongs to training, validation or test.

A split is a list of image names per part, with a SHA-256 over the whole list even when only some images are
available; the images actually used get a second hash. Patients are split: none can be in two parts.

A patient's randomly drawn part is a pure function of the split's name and the patient's id (SHA-256), never
of the other patients: any subset of a data set is split as the whole would be.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from thorax.arrays import Rows
from thorax.atomic_io import sha256_of_lines
from thorax.datasets import NIH_DATASET, NIH_LAYOUT
from thorax.datasets.nih_splits import (
    NIH_IMAGES,
    NIH_OFFICIAL_TEST_IMAGES,
    NIH_SPLIT_IMAGES,
    NIH_SPLIT_SHA256,
    nih_official_test_patients,
)
from thorax.datasets.split_files import TRAIN_VAL, read_split_file
from thorax.datasets.table import Patients, SampleTable
from thorax.errors import DataError
from thorax.image_set import ImageSet
from thorax.wording import counted, did_you_mean

__all__ = [
    "NIH_DATASET",
    "NIH_IMAGES",
    "NIH_OFFICIAL_TEST_IMAGES",
    "NIH_SPLIT_IMAGES",
    "NIH_SPLIT_SHA256",
    "PARTS",
    "REGISTERED",
    "Split",
    "build_split",
    "crossing_patients",
    "known_sha256",
    "nih_official_test_patients",
    "registered_images",
    "registered_sha256",
]

PARTS = ("train", "val", "test")
_VALIDATION_FRACTION = 0.1
_FOLD = re.compile(r"(?P<base>[^/]+)/fold-(?P<fold>\d+)-of-(?P<folds>\d+)")

Assign = Callable[[str, Patients], list[str]]
"""Returns the part of each labeled image in the split of that name, or "" if it belongs to none."""


@dataclass(frozen=True)
class Split:
    """Rows of one sample table, split by patient.

    Attributes:
        name: The split's registered name, or "file:" and the file's name.
        sha256: SHA-256 over the whole list of images and parts, available or not.
        parts: Row numbers of each part, in table order.
        table: The table of the rows.
        listed: Number of images of each part in the whole list; None if it was not recorded.
        source: What `build_split` finds it by: its name, or "file:" and the path.
    """

    name: str
    sha256: str
    parts: Mapping[str, Rows]
    table: SampleTable
    listed: Mapping[str, int] | None = None
    source: str = ""

    def num_listed(self, part: str) -> int | None:
        """Return how many images of a part the whole list has; None if that is not known."""
        if self.listed is not None:
            return self.listed.get(part)
        complete = _whole_sha256(self.name, self.table.patients(), {}) == self.sha256
        return len(self.parts[part]) if complete else None

    def rows(self, part: str, *, views: tuple[str, ...] = ()) -> Rows:
        """Return the row numbers of a part, limited to the given views (all views if empty).

        Raises:
            DataError: There is no such part, or none of its images is available.
        """
        if part not in self.parts:
            raise DataError(f"split {self.name} has no part {part!r}; its parts are {', '.join(self.parts)}")
        rows = self.parts[part]
        if views:
            rows = rows[self.table.frame["view"].isin(views).to_numpy()[rows]]
        if not len(rows):
            filtered = f" with view {' or '.join(views)}" if views else ""
            raise DataError(
                f"no image of the {part} part of split {self.name}{filtered} is in this store "
                f"({len(self.table)} images); prepare a store that has some, or choose another split"
            )
        return rows

    def sampled(self, count: int) -> "Split":
        """Return the split with training and validation reduced to a sample; the test part stays whole.

        Each image draws a number from the hash of its name, and the `count` lowest over all parts are the
        sample. Training and validation keep only the images in the sample.
        """
        images = self.table.frame["image"].to_numpy()
        rows = np.concatenate([self.parts[part] for part in PARTS])
        drawn = np.array([_draw("sample", str(image)) for image in images[rows]])
        chosen = np.sort(rows[np.argsort(drawn, kind="stable")[:count]])
        reduced = {part: np.intersect1d(self.parts[part], chosen) for part in ("train", "val")}
        return replace(self, parts={**self.parts, **reduced})

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


def build_split(
    name: str,
    table: SampleTable,
    *,
    dataset: str,
    whole_sha256: Mapping[str, str],
    whole_images: Mapping[str, Mapping[str, int]] | None = None,
) -> Split:
    """Split the images of a table.

    Args:
        name: A registered name, with "/fold-K-of-N" for cross-validation within its training part; or
            "file:PATH" of a CSV of image,part. For NIH, "folder-official" means "nih-official".
        table: The available images.
        dataset: The table's data set; NIH's splits are only for NIH's images.
        whole_sha256: SHA-256 of the registered splits over the whole data set, as `registered_sha256`
            returned them when the store was made.
        whole_images: Number of images in each part of these splits, as `registered_images` returned them.

    Raises:
        DataError: The name is unknown, the split is not for this data set, or a patient is in two parts.
    """
    patients = table.patients()
    name = _own_name(name, dataset, patients)
    source, listed = name, (whole_images or {}).get(name)
    if name.startswith("file:"):
        path = Path(name.removeprefix("file:"))
        parts, listed, sha256 = _from_file(path, patients)
        name = f"file:{path.name}"
    else:
        parts = _assigned(name, patients)
        sha256 = _whole_sha256(name, patients, whole_sha256)
        if dataset == NIH_DATASET:
            listed = NIH_SPLIT_IMAGES.get(name, listed)
    _refuse_crossing(name, parts, patients)
    part_by_row = np.array(parts)
    rows = {part: np.flatnonzero(part_by_row == part).astype(np.int64) for part in PARTS}
    return Split(name, sha256, rows, table, listed, source)


def registered_sha256(whole: Patients, dataset: str) -> dict[str, str]:
    """Return the SHA-256 over the whole list of every registered split for this data set.

    For NIH ChestX-ray14 that is the list of all 112,120 images, even when the label file has fewer.

    Raises:
        DataError: The label file has as many images as NIH's complete one, but its splits differ.
    """
    if dataset == NIH_DATASET and len(whole.images) == NIH_IMAGES:
        _check_nih(whole)
    own = {name: _list_sha256(whole.images, _assigned(name, whole)) for name in _own_splits(whole, dataset)}
    return dict(NIH_SPLIT_SHA256) | own if dataset == NIH_DATASET else own


def registered_images(whole: Patients, dataset: str) -> dict[str, dict[str, int]]:
    """Return the number of images in each part of every registered split but NIH's (`NIH_SPLIT_IMAGES`)."""
    return {name: _counts(_assigned(name, whole)) for name in _own_splits(whole, dataset)}


def _own_splits(whole: Patients, dataset: str) -> list[str]:
    """Return the names of the registered splits that depend on a data set's own list of images."""
    if dataset == NIH_DATASET:
        return ["folder-official"] if _has_own_parts(whole) else []
    names = [name for name in REGISTERED if not name.startswith("nih-")]
    if not any(whole.official):
        names.remove("folder-official")
    return names


def _counts(parts: Iterable[str]) -> dict[str, int]:
    counted = Counter(parts)
    return {part: counted[part] for part in PARTS}


def _check_nih(whole: Patients) -> None:
    for name, expected in NIH_SPLIT_SHA256.items():
        if _list_sha256(whole.images, _assigned(name, whole)) != expected:
            raise DataError(
                f"the label file has {NIH_IMAGES} images, but its split {name} differs from that of NIH "
                "ChestX-ray14, so a name or a patient was changed; download Data_Entry_2017_v2020.csv again"
            )


def _list_sha256(images: Iterable[str], parts: list[str]) -> str:
    return sha256_of_lines(sorted(f"{part}\t{image}" for image, part in zip(images, parts, strict=True)))


def _whole_sha256(name: str, patients: Patients, known: Mapping[str, str]) -> str:
    """Return the hash of the whole list, as registered, or of a fold of a registered list."""
    fold = _FOLD.fullmatch(name)
    base = fold["base"] if fold else name
    return known_sha256(name, known) or known_sha256(
        name, {base: _list_sha256(patients.images, _assigned(base, patients))}
    )


def known_sha256(name: str, registered: Mapping[str, str]) -> str:
    """Return the hash of a registered split, or of a fold of one; "" if it is not registered.

    Args:
        name: The split's name, such as "folder-official/fold-1-of-2".
        registered: SHA-256 of the registered splits over the whole data set, by name.
    """
    fold = _FOLD.fullmatch(name)
    sha256 = registered.get(fold["base"] if fold else name, "")
    return sha256_of_lines([sha256, name]) if fold and sha256 else sha256


def _assigned(name: str, patients: Patients) -> list[str]:
    fold = _FOLD.fullmatch(name)
    if fold:
        return _cross_validation(fold["base"], patients, fold=int(fold["fold"]), folds=int(fold["folds"]))
    if name not in REGISTERED:
        is_file = Path(name).is_file() or name.endswith((".txt", ".csv", ".gz"))
        raise DataError(
            f"there is no split {name!r}{did_you_mean(name.partition('/')[0], REGISTERED)}; registered are "
            f"{', '.join(REGISTERED)}, each also with /fold-K-of-N; "
            + (f"to read the parts from a file, write file:{name}" if is_file else "or give file:PATH")
        )
    return REGISTERED[name](name, patients)


def _has_own_parts(patients: Patients) -> bool:
    """Return whether the parts are a user's own folders: NIH's published lists have other names."""
    return not {"train", "val"}.isdisjoint(patients.official)


def _own_name(name: str, dataset: str, patients: Patients) -> str:
    """Return the registered name of a split of this data set; refuse NIH's splits of another one."""
    if dataset == NIH_DATASET:
        return name if _has_own_parts(patients) else re.sub("^folder-official(?=/|$)", "nih-official", name)
    if name.partition("/")[0] in REGISTERED and name.startswith("nih-"):
        means = ", whose image names or patients are not NIH's own" if dataset == NIH_LAYOUT else ""
        raise DataError(
            f"split {name} is for NIH ChestX-ray14, and this store's data set is {dataset}{means}; "
            "choose one by patient, such as `data.split=patient-70-15-15`, folder-official or file:PATH"
        )
    return name


def _refuse_crossing(name: str, parts: list[str], patients: Patients) -> None:
    """Refuse a split with a patient in two parts."""
    if crossing := crossing_patients(parts, patients):
        raise DataError(
            f"split {name} has {counted(len(crossing), 'patient')} in two parts or more "
            f"({next(iter(crossing.values()))}), so a net would be tested on patients that it learned from; "
            "correct it, or use a split by patient, such as `data.split=patient-70-15-15`"
        )


def crossing_patients(parts: Sequence[str], patients: Patients) -> dict[str, str]:
    """Return the patients with images in several parts, each with an example, in the order of the images.

    Args:
        parts: The part of each image; "" for none.
        patients: The images and their patients.
    """
    first: dict[str, tuple[str, str]] = {}
    crossing: dict[str, str] = {}
    for image, patient, part in zip(patients.images, patients.patients, parts, strict=True):
        other_part, other = first.setdefault(patient, (part, image)) if part else ("", "")
        if other_part != part:
            crossing.setdefault(patient, f"patient {patient}: {other} in {other_part}, {image} in {part}")
    return crossing


def _draw(key: str, patient: str) -> float:
    """Return the patient's number in [0, 1) for the draw named `key`."""
    return int.from_bytes(hashlib.sha256(f"{key}:{patient}".encode()).digest()[:8], "big") / 2.0**64


def _by_patient(patients: Patients, part_of: Callable[[str], str]) -> list[str]:
    chosen = {patient: part_of(patient) for patient in set(patients.patients)}
    return [chosen[patient] for patient in patients.patients]


def _validation(key: str, patient: str) -> str:
    return "val" if _draw(key, patient) < _VALIDATION_FRACTION else "train"


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
    """Use the data set's own lists; if they have no validation part, draw it as in nih-official."""
    if not any(patients.official):
        raise DataError(
            "split folder-official needs the data set's own lists (train_val_list.txt and test_list.txt, "
            "or a column 'split'), and this data set has none; choose a split by patient, such as "
            "`data.split=patient-70-15-15`, or file:PATH"
        )
    return [
        _validation(name, patient) if official == "train_val" else official
        for patient, official in zip(patients.patients, patients.official, strict=True)
    ]


def _cross_validation(base: str, patients: Patients, *, fold: int, folds: int) -> list[str]:
    """Split all but the test part of `base` into folds: fold K becomes "test", 10 % of the rest "val".

    The test part of `base` is left out altogether, so that no choice depends on it.
    """
    if not (1 <= fold <= folds and folds > 1):
        raise DataError(
            f"split {base}/fold-{fold}-of-{folds} does not exist; number the folds from 1, with at least 2"
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


def _from_file(path: Path, patients: Patients) -> tuple[list[str], dict[str, int], str]:
    """Read a file of parts; counts and hash cover the whole list in the file.

    Validation is drawn from a list of both training and validation as `nih-official` draws it, so that NIH's
    own lists give that split. Images that are not available cannot be drawn, and are not counted then.
    """
    listed = read_split_file(path)
    parts = listed.of_images(patients.images)
    counts = _counts(listed.parts.values())
    if TRAIN_VAL in listed.parts.values():
        parts = [
            _validation("nih-official", patient) if part == TRAIN_VAL else part
            for part, patient in zip(parts, patients.patients, strict=True)
        ]
        complete = sum(map(bool, parts)) == len(listed.parts)
        counts = _counts(parts) if complete else {"test": counts["test"]}
    return parts, counts, _list_sha256(listed.parts.keys(), list(listed.parts.values()))


REGISTERED: Final[Mapping[str, Assign]] = {
    "nih-official": _nih_official,
    "nih-random-patient": _fractions(0.7, 0.1),
    "patient-80-10-10": _fractions(0.8, 0.1),
    "patient-70-15-15": _fractions(0.7, 0.15),
    "patient-92.8-5.2-2": _fractions(0.928, 0.052),
    "folder-official": _folder_official,
}
"""Every registered split and its function. The 70/10/20 split is CheXNet's (Rajpurkar et al. 2017); the
patient-... splits are those of published projects and work with any data set."""
