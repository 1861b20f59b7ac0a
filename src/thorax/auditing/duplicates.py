"""Duplicate images: equal pixels, or near-duplicates that belong to different patients.

Perceptual hashes are compared by locality-sensitive hashing, in eight bands of 16 bits, instead of all
against all: two hashes that differ in fewer than eight bits must agree in at least one band. Pairs that
differ in at most 16 bits are then compared by the correlation of their sharpened thumbnails; at .98 or more
they count as the same picture.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

import numpy as np
from jaxtyping import Float32, Int32, Int64, UInt16

from thorax.arrays import PixelsBatch, Rows
from thorax.auditing.fingerprints import Fingerprints, thumbnails
from thorax.auditing.lists import Lists
from thorax.auditing.report import Problem, problem_if_any
from thorax.datasets.table import SampleTable, patient_codes

__all__ = [
    "LEAST_CORRELATION",
    "Pairs",
    "candidate_pairs",
    "check_blank",
    "check_duplicates",
    "equal_pairs",
    "near_pairs",
]

LEAST_CORRELATION: Final = 0.98
"""Two images are the same picture if their sharpened thumbnails correlate by at least this much."""

Pairs = Int64[np.ndarray, "_ 2"]
"""Two rows per pair, the lower one first."""

_MOST_BITS = 16
_BANDS = 8
_PAIRS_AT_ONCE = 1 << 18
_ROWS_AT_ONCE = 512
_READ_AT_ONCE = 64


@dataclass(frozen=True)
class _Where:
    """The patient and the part of each row."""

    patients: Rows
    parts: Rows
    """Part number; -1 for none."""


def equal_pairs(prints: Fingerprints, parts: Rows) -> Pairs:
    """Return pairs of images with equal pixels: each image with the next one equal to it.

    Equal images are ordered by part, with those in no part last, so that an image in no part never
    hides that a picture is in two parts.

    Args:
        prints: Fingerprints of all images.
        parts: Part number of each image; -1 for none.
    """
    order = np.lexsort((parts, parts < 0, prints.content))
    equal = prints.content[order[1:]] == prints.content[order[:-1]]
    return np.sort(np.stack([order[:-1][equal], order[1:][equal]], axis=1), axis=1).astype(np.int64)


def candidate_pairs(prints: Fingerprints, parts: Rows) -> Iterator[Pairs]:
    """Yield pairs whose hashes agree in a band and differ in at most 16 bits, but whose pixels differ.

    Among images with equal pixels, one per part represents the others: a hundred copies of two similar
    pictures give one pair, not ten thousand.

    Args:
        prints: Fingerprints of all images.
        parts: Part number of each image; -1 for none.

    Yields:
        The pairs of a few hundred first images at a time, in order: where all images look alike, as
        phantoms do, there are millions.
    """
    _, representatives = np.unique(
        np.stack([prints.content.view(np.int64), parts]), axis=1, return_index=True
    )
    usable = np.zeros(len(parts), bool)
    usable[representatives] = True
    rows = np.flatnonzero(usable & ~prints.blank)
    bands = [_Band.of(keys, rows) for keys in prints.perceptual.view(np.uint16).T]
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        indices = np.arange(start, min(start + _ROWS_AT_ONCE, len(rows)))
        pairs = np.concatenate([_near_in_band(prints, bands, band, indices) for band in range(_BANDS)])
        if len(pairs):
            # One sort key per pair: sorting the rows of a matrix is a hundred times slower.
            yield pairs[np.argsort(pairs[:, 0] * len(parts) + pairs[:, 1])]


def near_pairs(candidates: Iterable[Pairs], read: Callable[[Rows], PixelsBatch]) -> Pairs:
    """Return the candidates whose thumbnails correlate by `LEAST_CORRELATION` or more.

    Args:
        candidates: As `candidate_pairs` yields them, so that one thumbnail serves a few hundred pairs.
        read: Returns prepared images by row.
    """
    confirmed = [np.empty((0, 2), np.int64)]
    for pairs in candidates:
        if not len(pairs):
            continue
        (firsts, first), (seconds, second) = (np.unique(side, return_inverse=True) for side in pairs.T)
        left = _thumbnails_of(firsts, read)
        for start in range(0, len(seconds), _ROWS_AT_ONCE):
            correlation = left @ _thumbnails_of(seconds[start : start + _ROWS_AT_ONCE], read).T
            in_block = np.flatnonzero((second >= start) & (second < start + _ROWS_AT_ONCE))
            near = correlation[first[in_block], second[in_block] - start] >= LEAST_CORRELATION
            confirmed.append(pairs[in_block[near]])
    ordered = np.concatenate(confirmed)
    return ordered[np.lexsort((ordered[:, 1], ordered[:, 0]))]


def _thumbnails_of(rows: Rows, read: Callable[[Rows], PixelsBatch]) -> Float32[np.ndarray, "n d"]:
    starts = range(0, len(rows), _READ_AT_ONCE)
    return np.concatenate([thumbnails(read(rows[start : start + _READ_AT_ONCE])) for start in starts])


@dataclass(frozen=True)
class _Band:
    """Rows sorted by one band of their hashes; rows with equal bands stay in row order."""

    order: Int32[np.ndarray, " n"]
    rank: Int32[np.ndarray, " n"]
    """Rank of each row in that order."""
    partners: Int32[np.ndarray, " n"]
    """How many later rows have an equal band."""

    @classmethod
    def of(cls, keys: UInt16[np.ndarray, " all"], rows: Rows) -> "_Band":
        order = np.argsort(keys[rows], kind="stable")
        rank = np.empty_like(order)
        rank[order] = np.arange(len(rows))
        in_order = keys[rows[order]]
        end = np.searchsorted(in_order, in_order, side="right")[rank]
        return cls(*(column.astype(np.int32) for column in (rows[order], rank, end - rank - 1)))


def _near_in_band(prints: Fingerprints, bands: list[_Band], band: int, indices: Rows) -> Pairs:
    """Return the pairs with these first rows that agree in this band and in no earlier one."""
    keys = prints.perceptual.view(np.uint16)
    near = [np.empty((0, 2), np.int64)]
    for pairs in _pairs_of_equal_keys(bands[band], indices):
        first, second = pairs.T
        differing = prints.perceptual[first] ^ prints.perceptual[second]
        bits = np.bitwise_count(differing).sum(axis=1, dtype=np.uint8)
        similar = pairs[(bits <= _MOST_BITS) & (prints.content[first] != prints.content[second])]
        before = keys[similar[:, 0], :band] == keys[similar[:, 1], :band]
        near.append(similar[~before.any(axis=1)])
    return np.concatenate(near)


def _pairs_of_equal_keys(band: _Band, indices: Rows) -> Iterator[Pairs]:
    """Yield pairs of these rows with the later rows that have equal keys, a bounded number at a time."""
    rank, partners = band.rank[indices].astype(np.int64), band.partners[indices].astype(np.int64)
    cuts = np.searchsorted(
        np.cumsum(partners), np.arange(0, int(partners.sum()), _PAIRS_AT_ONCE), side="right"
    )
    for start, stop in pairwise([*cuts.tolist(), len(indices)]):
        counts = partners[start:stop]
        first = np.repeat(rank[start:stop], counts)
        step = np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts) + 1
        yield np.stack([band.order[first], band.order[first + step]], axis=1).astype(np.int64)


def check_duplicates(
    table: SampleTable, lists: Lists, prints: Fingerprints, read: Callable[[Rows], PixelsBatch]
) -> list[Problem]:
    """Find duplicate images, in two parts or within one.

    Near-duplicates are searched for only between patients: two exposures of one patient may well look
    alike, and a patient with images in two parts is an error already.
    """
    where = _Where(patient_codes(table), _part_numbers(lists, len(table)))
    patients = where.patients
    of_two_patients = (
        pairs[patients[pairs[:, 0]] != patients[pairs[:, 1]]]
        for pairs in candidate_pairs(prints, where.parts)
    )
    near = near_pairs(of_two_patients, read)
    return [
        *_problems_of_pairs(table, equal_pairs(prints, where.parts), where, "equal"),
        *_problems_of_pairs(table, near, where, "near"),
    ]


def check_blank(table: SampleTable, prints: Fingerprints) -> list[Problem]:
    """Find images without content."""
    images = table.images
    blank = [images[row] for row in np.flatnonzero(prints.blank)]
    return problem_if_any(
        "warning",
        "blank-images",
        blank,
        what=f"blank images, with almost no contrast: {len(blank):,}",
        remedy="look at the files; remove or replace them and prepare the store anew",
    )


def _part_numbers(lists: Lists, count: int) -> Rows:
    numbers = np.full(count, -1, np.int64)
    for number, listed in enumerate(lists.parts.values()):
        numbers[listed.present] = number
    return numbers


def _problems_of_pairs(
    table: SampleTable, pairs: Pairs, where: _Where, kind: Literal["equal", "near"]
) -> list[Problem]:
    """Sort pairs by their effect: leaks between parts, duplicates between patients, mere repeats."""
    parts, patients = where.parts[pairs], where.patients[pairs]
    crossing = (parts[:, 0] != parts[:, 1]) & (parts >= 0).all(axis=1)
    two_patients = patients[:, 0] != patients[:, 1]
    across, within, repeated = (
        pairs[mask] for mask in (crossing, two_patients & ~crossing, ~two_patients & ~crossing)
    )
    same = "have equal pixels" if kind == "equal" else "show the same picture, slightly changed"
    return [
        *problem_if_any(
            "error",
            f"{kind}-images-in-two-parts",
            _names(table, across),
            what=f"pairs of images in two parts that {same}: {len(across):,}",
            remedy="keep one image of each pair: otherwise a model is evaluated on images that it has seen",
        ),
        *problem_if_any(
            "warning",
            f"{kind}-images-of-two-patients",
            _names(table, within),
            what=f"pairs of images of two patients that {same}: {len(within):,}",
            remedy="find out whose it is: two ids may be one person, whose images a split can separate",
        ),
        *problem_if_any(
            "note",
            f"{kind}-images-of-a-patient",
            _names(table, repeated),
            what=f"pairs of images of one patient that {same}: {len(repeated):,}"
            + _label_remark(table, repeated),
            remedy="nothing leaks; where labels differ, at least one is wrong",
        ),
    ]


def _label_remark(table: SampleTable, pairs: Pairs) -> str:
    targets = table.targets(table.findings)
    differing = int(np.any(targets[pairs[:, 0]] != targets[pairs[:, 1]], axis=1).sum())
    return f", of which {differing:,} have different labels" if differing else ""


def _names(table: SampleTable, pairs: Pairs) -> list[str]:
    images = table.images
    return [f"{images[first]}, {images[second]}" for first, second in pairs.tolist()]
