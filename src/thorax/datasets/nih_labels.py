"""NIH's own labels of the official test, known by their hashes: which cells of a table differ from them.

The package has no label file. It has, for each version of NIH's, the SHA-256 of each finding's labels over
the official test, and for each image a check value of 24 bits, so that any subset of the images can be
compared. A check value does not hide the labels, nor is it meant to: trying all combinations of 14 findings
shows which labels it stands for, and that is how differing cells are counted. NIH publishes the labels and
does not restrict their use; `nih_labels.toml` has the source and the citation.
"""

import hashlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import accumulate
from typing import Final

import numpy as np
from jaxtyping import Bool, Int64, UInt32, UInt64

from thorax.arrays import Rows, Targets
from thorax.findings import NIH14, NO_FINDING, Findings

__all__ = [
    "CHECK_BYTES",
    "LabelVersion",
    "check_values",
    "differing_cells",
    "image_key",
    "label_codes",
    "label_columns",
    "nih_label_versions",
    "official_test_rows",
]

CHECK_BYTES: Final = 3
"""Bytes of an image's check value."""

_NAME = re.compile(r"(\d{8})_(\d{3})\.png")
_CODES: Final = np.arange(1 << len(NIH14), dtype=np.uint64)
"""All combinations of labels; bit j is the label of NIH14[j]."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelVersion:
    """One version of NIH's label file.

    Attributes:
        name: "v2020" or "2017".
        file: The name of the file.
        findings: SHA-256 of the labels of each finding in the official test, as `finding_sha256` makes it.
        checks: Check value of each image of the official test, in the order of patient and image number.
    """

    name: str
    file: str
    findings: Mapping[str, str]
    checks: UInt32[np.ndarray, " n"]


@cache
def nih_label_versions() -> tuple[LabelVersion, ...]:
    """Return the versions of NIH's labels, the newest first."""
    # First one byte for each patient, with the number of its images; then the check values of each version.
    checks = np.frombuffer(_content(), np.uint8)[len(_places()) :]
    listed = tomllib.loads(files(__package__).joinpath("nih_labels.toml").read_text())["versions"]
    bytes_of = checks.reshape(len(listed), -1, CHECK_BYTES).astype(np.uint32)
    numbers = bytes_of @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    return tuple(
        LabelVersion(name=entry["name"], file=entry["file"], findings=entry["findings"], checks=number)
        for entry, number in zip(listed, numbers, strict=True)
    )


def official_test_rows(images: Sequence[str]) -> Rows:
    """Return the rows of the images that are in the official test."""
    return np.flatnonzero([_place(image) is not None for image in images])


def differing_cells(
    version: LabelVersion, images: Sequence[str], labels: Targets, findings: Findings
) -> Bool[np.ndarray, "n k"]:
    """Return which labels of images of the official test differ from NIH's.

    Args:
        version: The version of NIH's labels.
        images: Names of images of the official test.
        labels: Their labels; one that is neither present nor absent differs.
        findings: The findings of the columns, all of them NIH's.
    """
    checks = version.checks[[place for image in images if (place := _place(image)) is not None]]
    keys = np.array([image_key(image) for image in images], np.uint64)
    differs = np.zeros(labels.shape, np.bool_)
    for row in np.flatnonzero(_not_equal(keys, checks, labels, findings)).tolist():
        codes = np.flatnonzero(check_values(keys[row : row + 1], _CODES) == checks[row])
        against = label_columns(codes, findings) != labels[row]
        # In one image of a thousand, another combination fits by chance: the nearest one is taken.
        differs[row] = against[np.argmin(against.sum(axis=1))]
    return differs


def _not_equal(
    keys: UInt64[np.ndarray, " n"], checks: UInt32[np.ndarray, " n"], labels: Targets, findings: Findings
) -> Bool[np.ndarray, " n"]:
    """Return the images whose labels must be compared one by one; all where a finding is absent."""
    if not set(NIH14) <= set(findings):
        return np.ones(len(keys), np.bool_)
    codes = label_codes(labels, findings)
    unlike = check_values(keys, codes) != checks
    return np.asarray(unlike | (label_columns(codes, findings) != labels).any(axis=1))


def label_codes(labels: Targets, findings: Findings) -> UInt64[np.ndarray, " n"]:
    """Return the labels of NIH's 14 findings as one number: bit j is set where NIH14[j] is present."""
    columns = labels[:, [findings.index(finding) for finding in NIH14]]
    return np.asarray((columns == 1) @ (1 << np.arange(len(NIH14), dtype=np.uint64)), np.uint64)


def label_columns(codes: Int64[np.ndarray, " n"] | UInt64[np.ndarray, " n"], findings: Findings) -> Targets:
    """Return the labels that codes stand for; No Finding is present where no other finding is."""
    columns = [
        codes == 0 if finding == NO_FINDING else (codes >> codes.dtype.type(NIH14.index(finding))) & 1
        for finding in findings
    ]
    return np.stack(columns, axis=1).astype(np.int8)


def check_values(
    keys: UInt64[np.ndarray, " _n"], codes: UInt64[np.ndarray, " _m"]
) -> UInt32[np.ndarray, " _both"]:
    """Return 24 bits of a mixture (SplitMix64, Steele et al. 2014) of an image's key and its labels' code."""
    mixed = (keys ^ (codes + np.uint64(1))) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return np.asarray((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(40), np.uint32)


def image_key(image: str) -> int:
    """Return the key of an image: the first 8 bytes of the SHA-256 of its name."""
    return int.from_bytes(hashlib.sha256(image.encode()).digest()[:8], "big")


def _place(image: str) -> int | None:
    """Return the place of an image among those of the official test, in their order; None if not in it."""
    match = _NAME.fullmatch(image)
    first, count = _places().get(str(int(match[1])), (0, 0)) if match else (0, 0)
    number = int(match[2]) if match else 0
    return first + number if number < count else None


@cache
def _places() -> Mapping[str, tuple[int, int]]:
    """Return the place of each patient's first image, and the number of its images."""
    # Not by way of the splits, which need pandas.
    patients = sorted(
        files(__package__).joinpath("nih_official_test_patients.txt").read_text().split(), key=int
    )
    counts = list(_content()[: len(patients)])
    return dict(zip(patients, zip(accumulate(counts, initial=0), counts, strict=False), strict=True))


@cache
def _content() -> bytes:
    return files(__package__).joinpath("nih_labels.bin").read_bytes()
