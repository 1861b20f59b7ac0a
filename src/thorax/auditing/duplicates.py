"""Duplicate images: equal pixels, or changed copies that belong to different patients.

Copies are found by `find_copies`. Their scores must be far above those of other pairs: among the 1.35 million
pairs of different patients of 1,644 NIH images the highest score is .625. A generalized Pareto distribution
fitted to the highest 400 expects one pair above .60 among the 6.3 thousand million pairs of all of NIH, and
one above .73 if its shape is two standard errors higher (docs/audit.md).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from jaxtyping import Float32, Int64

from thorax.arrays import PixelsBatch, Rows
from thorax.auditing.copies import Copies, find_copies
from thorax.auditing.fingerprints import Fingerprints
from thorax.auditing.lists import Lists
from thorax.auditing.registration import describe_motion
from thorax.auditing.report import Problem, problem_if_any
from thorax.datasets.table import SampleTable, patient_codes
from thorax.progress import CountCallback

__all__ = [
    "SAME_PICTURE",
    "WORTH_A_LOOK",
    "Pairs",
    "check_blank",
    "check_duplicates",
    "equal_pairs",
]

SAME_PICTURE: Final = 0.8
"""From this score on, two images show the same picture."""

WORTH_A_LOOK: Final = 0.7
"""From this score on, two images may show the same picture; below it, hardly."""

Pairs = Int64[np.ndarray, "_ 2"]
"""Two rows per pair, the lower one first."""

_MOST_TO_LOOK_AT = 20
_TAIL = 50


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


def check_duplicates(
    table: SampleTable,
    lists: Lists,
    prints: Fingerprints,
    read: Callable[[Rows], PixelsBatch],
    *,
    progress: CountCallback | None = None,
) -> list[Problem]:
    """Find duplicate images, in two parts or within one.

    Changed copies are searched for only between patients: two exposures of one patient may well look
    alike, and a patient with images in two parts is an error already. Where they may be copies or not, the
    pairs are listed to be looked at.

    Args:
        table: The store's table.
        lists: The split.
        prints: Fingerprints of the store's images.
        read: Returns prepared images by row.
        progress: Called while copies are searched for.
    """
    where = _Where(patient_codes(table), _part_numbers(lists, len(table)))
    rows = _representatives(prints, where.parts)
    copies = find_copies(prints, rows, where.patients, read, progress=progress)
    same = np.flatnonzero(copies.scores >= SAME_PICTURE)
    unsure = np.flatnonzero((copies.scores >= _worth_a_look(copies.scores)) & (copies.scores < SAME_PICTURE))
    images = table.images
    equal = equal_pairs(prints, where.parts)
    equal_names = [f"{images[first]}, {images[second]}" for first, second in equal.tolist()]
    return [
        *_problems_of_pairs(table, equal, equal_names, where, "equal"),
        *_problems_of_pairs(table, _sides(copies)[same], _names(table, copies, same), where, "near"),
        *_to_look_at(table, copies, unsure),
    ]


def _worth_a_look(scores: Float32[np.ndarray, " n"]) -> float:
    """Return the score from which on a pair may be one of copies.

    In a data set whose images are more alike than radiographs, as phantoms are, it is the score that half a
    pair would reach by chance, if the highest scores that are not worth a look fall off exponentially.
    """
    others = np.sort(scores[scores < WORTH_A_LOOK])[::-1]
    if len(others) <= _TAIL:
        return WORTH_A_LOOK
    threshold = float(others[_TAIL])
    excess = float(others[:_TAIL].mean()) - threshold
    return max(WORTH_A_LOOK, threshold + excess * math.log(2 * _TAIL))


def _representatives(prints: Fingerprints, parts: Rows) -> Int64[np.ndarray, " _"]:
    """Return the rows to search: of images with equal pixels one per part, and no blank one.

    A hundred copies of two similar pictures then give one pair, not ten thousand.
    """
    _, first = np.unique(np.stack([prints.content.view(np.int64), parts]), axis=1, return_index=True)
    return np.setdiff1d(first, np.flatnonzero(prints.blank)).astype(np.int64)


def _sides(copies: Copies) -> Pairs:
    return np.sort(np.stack([copies.pairs.moving, copies.pairs.fixed], axis=1), axis=1)


def _to_look_at(table: SampleTable, copies: Copies, unsure: Rows) -> list[Problem]:
    """Return a note with the pairs that may be copies, the most alike first."""
    if not len(unsure):
        return []
    best = unsure[np.argsort(-copies.scores[unsure], kind="stable")][:_MOST_TO_LOOK_AT]
    scores = [f"{score:.2f}".lstrip("0") for score in copies.scores[best].tolist()]
    return [
        Problem(
            severity="note",
            kind="images-to-look-at",
            what=f"pairs of images of two patients that may show the same picture, changed: {len(unsure):,} "
            f"of {copies.compared:,} (score {WORTH_A_LOOK} to {SAME_PICTURE}; from there on they do)",
            count=len(unsure),
            examples=tuple(
                f"{names} (score {score})"
                for names, score in zip(_names(table, copies, best), scores, strict=True)
            ),
            remedy="look at these: a changed copy of a training image in the test part measures memory",
        )
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
    table: SampleTable, pairs: Pairs, names: list[str], where: _Where, kind: Literal["equal", "near"]
) -> list[Problem]:
    """Sort pairs by their effect: leaks between parts, duplicates between patients, mere repeats."""
    parts, patients = where.parts[pairs], where.patients[pairs]
    crossing = (parts[:, 0] != parts[:, 1]) & (parts >= 0).all(axis=1)
    two_patients = patients[:, 0] != patients[:, 1]
    across, within, repeated = (
        np.flatnonzero(mask) for mask in (crossing, two_patients & ~crossing, ~two_patients & ~crossing)
    )
    same = "have equal pixels" if kind == "equal" else "show the same picture, changed"
    return [
        *problem_if_any(
            "error",
            f"{kind}-images-in-two-parts",
            [names[pair] for pair in across],
            what=f"pairs of images in two parts that {same}: {len(across):,}",
            remedy="keep one image of each pair: otherwise a model is evaluated on images that it has seen",
        ),
        *problem_if_any(
            "warning",
            f"{kind}-images-of-two-patients",
            [names[pair] for pair in within],
            what=f"pairs of images of two patients that {same}: {len(within):,}",
            remedy="find out whose it is: two ids may be one person, whose images a split can separate",
        ),
        *problem_if_any(
            "note",
            f"{kind}-images-of-a-patient",
            [names[pair] for pair in repeated],
            what=f"pairs of images of one patient that {same}: {len(repeated):,}"
            + _label_remark(table, pairs[repeated]),
            remedy="nothing leaks; where labels differ, at least one is wrong",
        ),
    ]


def _label_remark(table: SampleTable, pairs: Pairs) -> str:
    targets = table.targets(table.findings)
    differing = int(np.any(targets[pairs[:, 0]] != targets[pairs[:, 1]], axis=1).sum())
    return f", of which {differing:,} have different labels" if differing else ""


def _names(table: SampleTable, copies: Copies, chosen: Rows) -> list[str]:
    """Return both images of each pair, and how the one must be changed to be like the other."""
    images = table.images
    names = []
    for pair in chosen.tolist():
        moving, fixed = int(copies.pairs.moving[pair]), int(copies.pairs.fixed[pair])
        change = [
            *(["mirrored"] if copies.pairs.mirrored[pair] else []),
            *(["inverted"] if copies.pairs.inverted[pair] else []),
            *describe_motion(copies.motions[pair]),
        ]
        first, second = sorted((moving, fixed))
        names.append(f"{images[first]}, {images[second]}" + (f": {', '.join(change)}" if change else ""))
    return names
