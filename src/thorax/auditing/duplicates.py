"""Images that are there twice: equal pixels, or equal looks under two patients' names.

Perceptual hashes are looked up in eight bands of 16 bits, never image by image against all others: two
hashes that differ in fewer than eight bits agree in a band for certain. Pairs that differ in at most 16
bits are compared by the correlation of their sharpened thumbnails; from .98 on they are one picture.
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
from thorax.auditing.report import Problem, found
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
"""From this correlation of sharpened thumbnails on two images are one picture."""

Pairs = Int64[np.ndarray, "_ 2"]
"""Rows of two images each, the lower first."""

_MOST_BITS = 16
_BANDS = 8
_PAIRS_AT_ONCE = 1 << 18
_ROWS_AT_ONCE = 512
_READ_AT_ONCE = 64


@dataclass(frozen=True)
class _Where:
    """Whose image each row is, and in which part."""

    patients: Rows
    parts: Rows
    """Number of the part; -1 for none."""


def equal_pairs(prints: Fingerprints, parts: Rows) -> Pairs:
    """Return pairs of images with equal pixels: each image with the next one that is equal to it.

    Equal images follow one another by part, those of no part last, so that none of these hides that
    the same picture is in two parts.

    Args:
        prints: Fingerprints of all images.
        parts: Number of each image's part, -1 for none.
    """
    order = np.lexsort((parts, parts < 0, prints.content))
    equal = prints.content[order[1:]] == prints.content[order[:-1]]
    return np.sort(np.stack([order[:-1][equal], order[1:][equal]], axis=1), axis=1).astype(np.int64)


def candidate_pairs(prints: Fingerprints, parts: Rows) -> Iterator[Pairs]:
    """Yield pairs whose hashes agree in a band and differ in at most 16 bits, without equal pixels.

    Of images with equal pixels one of each part stands for the others: a hundred copies of two pictures that
    look alike are one pair, not ten thousand.

    Args:
        prints: Fingerprints of all images.
        parts: Number of each image's part, -1 for none.

    Yields:
        The pairs of some hundred first images at a time, in order: where all look alike, as phantoms do, they
        are millions.
    """
    _, one_each = np.unique(np.stack([prints.content.view(np.int64), parts]), axis=1, return_index=True)
    usable = np.zeros(len(parts), bool)
    usable[one_each] = True
    rows = np.flatnonzero(usable & ~prints.blank)
    bands = [_Band.of(keys, rows) for keys in prints.looks.view(np.uint16).T]
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        places = np.arange(start, min(start + _ROWS_AT_ONCE, len(rows)))
        found = np.concatenate([_near_in_band(prints, bands, band, places) for band in range(_BANDS)])
        if len(found):
            # By one number each: rows of a matrix are sorted a hundred times slower.
            yield found[np.argsort(found[:, 0] * len(parts) + found[:, 1])]


def near_pairs(candidates: Iterable[Pairs], read: Callable[[Rows], PixelsBatch]) -> Pairs:
    """Return those of the candidates whose thumbnails correlate by `LEAST_CORRELATION` or more.

    Args:
        candidates: As `candidate_pairs` yields them: a thumbnail is made once for some hundred pairs.
        read: Gives prepared images by row.
    """
    confirmed = [np.empty((0, 2), np.int64)]
    for pairs in candidates:
        (firsts, first), (seconds, second) = (np.unique(side, return_inverse=True) for side in pairs.T)
        left = _thumbnails_of(firsts, read)
        for start in range(0, len(seconds), _ROWS_AT_ONCE):
            correlation = left @ _thumbnails_of(seconds[start : start + _ROWS_AT_ONCE], read).T
            here = np.flatnonzero((second >= start) & (second < start + _ROWS_AT_ONCE))
            near = correlation[first[here], second[here] - start] >= LEAST_CORRELATION
            confirmed.append(pairs[here[near]])
    found = np.concatenate(confirmed)
    return found[np.lexsort((found[:, 1], found[:, 0]))]


def _thumbnails_of(rows: Rows, read: Callable[[Rows], PixelsBatch]) -> Float32[np.ndarray, "n d"]:
    starts = range(0, len(rows), _READ_AT_ONCE)
    return np.concatenate([thumbnails(read(rows[start : start + _READ_AT_ONCE])) for start in starts])


@dataclass(frozen=True)
class _Band:
    """Rows in the order of one band of their hashes, equal ones in the order of rows."""

    order: Int32[np.ndarray, " n"]
    place: Int32[np.ndarray, " n"]
    """Where each row stands in that order."""
    partners: Int32[np.ndarray, " n"]
    """How many with an equal band stand after it: rows above it, all of them."""

    @classmethod
    def of(cls, keys: UInt16[np.ndarray, " all"], rows: Rows) -> "_Band":
        order = np.argsort(keys[rows], kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(rows))
        in_order = keys[rows[order]]
        end = np.searchsorted(in_order, in_order, side="right")[place]
        return cls(*(each.astype(np.int32) for each in (rows[order], place, end - place - 1)))


def _near_in_band(prints: Fingerprints, bands: list[_Band], band: int, places: Rows) -> Pairs:
    """Return the pairs of some first rows that agree in this band and in none before it: each once."""
    keys = prints.looks.view(np.uint16)
    near = [np.empty((0, 2), np.int64)]
    for pairs in _pairs_of_equal_keys(bands[band], places):
        first, second = pairs.T
        bits = np.bitwise_count(prints.looks[first] ^ prints.looks[second]).sum(axis=1, dtype=np.uint8)
        few = pairs[(bits <= _MOST_BITS) & (prints.content[first] != prints.content[second])]
        before = keys[few[:, 0], :band] == keys[few[:, 1], :band]
        near.append(few[~before.any(axis=1)])
    return np.concatenate(near)


def _pairs_of_equal_keys(band: _Band, places: Rows) -> Iterator[Pairs]:
    """Yield the pairs of some rows with those after them that have equal keys, a bounded number at a time."""
    place, partners = band.place[places].astype(np.int64), band.partners[places].astype(np.int64)
    cuts = np.searchsorted(
        np.cumsum(partners), np.arange(0, int(partners.sum()), _PAIRS_AT_ONCE), side="right"
    )
    for start, stop in pairwise([*cuts.tolist(), len(places)]):
        counts = partners[start:stop]
        first = np.repeat(place[start:stop], counts)
        step = np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts) + 1
        yield np.stack([band.order[first], band.order[first + step]], axis=1).astype(np.int64)


def check_duplicates(
    table: SampleTable, lists: Lists, prints: Fingerprints, read: Callable[[Rows], PixelsBatch]
) -> list[Problem]:
    """Look for images that are there twice, in two parts or within one.

    Near duplicates are looked for between patients alone: two exposures of one patient may well look alike,
    and his images in two parts are a fault already.
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
    """Look for images without content."""
    images = table.images
    blank = [images[row] for row in np.flatnonzero(prints.blank)]
    return found(
        "warning",
        "blank-images",
        blank,
        what=f"blank images, with next to no contrast: {len(blank):,}",
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
    """Sort pairs by what they do: leak between parts, contradict between patients, or merely repeat."""
    parts, patients = where.parts[pairs], where.patients[pairs]
    crossing = (parts[:, 0] != parts[:, 1]) & (parts >= 0).all(axis=1)
    strangers = patients[:, 0] != patients[:, 1]
    across, within, repeated = (
        pairs[chosen] for chosen in (crossing, strangers & ~crossing, ~strangers & ~crossing)
    )
    same = "have equal pixels" if kind == "equal" else "are one picture, changed a little"
    return [
        *found(
            "error",
            f"{kind}-images-in-two-parts",
            _names(table, across),
            what=f"pairs of images in two parts that {same}: {len(across):,}",
            remedy="keep one image of each pair: a model would be measured on what it has seen",
        ),
        *found(
            "warning",
            f"{kind}-images-of-two-patients",
            _names(table, within),
            what=f"pairs of images of two patients that {same}: {len(within):,}",
            remedy="find out whose it is: two patients may be one person, whom a split can tear apart",
        ),
        *found(
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
