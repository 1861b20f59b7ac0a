"""Search for slightly changed copies among all pairs of images of different patients.

Every pair is compared by the vectors of its descriptions, in blocks: as it is and mirrored, and the middle of
the one with the whole of the other. The pairs that are most alike are then registered, and their common part
is compared by correlation: of local contrast, with what the images of the data set have in common suppressed
(`Whitening`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any, Final

import numpy as np
from jaxtyping import Bool, Float32, Int64

from thorax.arrays import PixelsBatch, Rows
from thorax.auditing.descriptions import ZOOM, Space, Vectors, fit_space, mirrored
from thorax.auditing.fingerprints import Fingerprints, thumbnails
from thorax.auditing.local_contrast import Thumbnails, contrast_within
from thorax.auditing.registration import Motions, motions, move, register
from thorax.progress import CountCallback

__all__ = [
    "Candidates",
    "Copies",
    "Whitening",
    "find_candidates",
    "find_copies",
    "fit_whitening",
    "registered",
]

_FITTED_ON: Final = 300
"""Images that the space and the whitening are fitted on; of larger sets, these are spread evenly."""

_LEAST_ALIKE = 0.65
_FEWEST, _MOST = 200, 20_000
_MOST_CANDIDATES = 100_000
_SPARE = 100_000
# Registration ends with the first batch of pairs without a score like this, and not before `_fewest`.
_PROMISING = 0.7
_ROWS, _COLUMNS = 512, 1024
_BATCH = 64
_READ = 256
_SIGMA = 2.5
_COMPONENTS = 256
_NO_VARIANCE = 1e-6
# A copy that shows less than this share of the other image is not compared.
_LEAST_COMMON = 0.65


@dataclass(frozen=True)
class Candidates:
    """Pairs of rows to register, the most alike first.

    Attributes:
        moving: The row of one image.
        fixed: The row of the other.
        alike: Absolute dot product of their vectors.
        mirrored: Whether the moving image is to be mirrored.
        inverted: Whether it is to be inverted.
        zoomed: Whether its middle was compared.
    """

    moving: Rows
    fixed: Rows
    alike: Float32[np.ndarray, " n"]
    mirrored: Bool[np.ndarray, " n"]
    inverted: Bool[np.ndarray, " n"]
    zoomed: Bool[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.moving)

    def take(self, chosen: Int64[np.ndarray, " m"] | slice) -> "Candidates":
        """Return some of them."""
        return Candidates(*(column[chosen] for column in _columns(self)))


@dataclass(frozen=True)
class Copies:
    """Registered pairs.

    Attributes:
        pairs: The candidates.
        scores: How alike the common part of each is, from -1 to 1.
        motions: How the moving image lies on the fixed one.
        compared: Number of pairs of images that were compared to find them.
    """

    pairs: Candidates
    scores: Float32[np.ndarray, " n"]
    motions: Motions
    compared: int


@dataclass(frozen=True)
class Whitening:
    """Suppresses what the local contrast of many images has in common.

    Attributes:
        components: Principal components of the local contrast.
        removed: Share of each that is removed.
    """

    components: Float32[np.ndarray, "p k"]
    removed: Float32[np.ndarray, " k"]

    def __call__(self, contrast: Float32[np.ndarray, "n p"]) -> Float32[np.ndarray, "n p"]:
        """Return unit vectors, whose dot product is the correlation."""
        rest = contrast - ((contrast @ self.components) * self.removed) @ self.components.T
        return _of_length_one(rest)


def find_copies(
    prints: Fingerprints,
    rows: Int64[np.ndarray, " m"],
    patients: Rows,
    read: Callable[[Rows], PixelsBatch],
    *,
    progress: CountCallback | None = None,
) -> Copies:
    """Register the pairs of images of different patients that look most alike.

    Args:
        prints: Fingerprints of all images.
        rows: The rows to search, without blank images.
        patients: Patient of each row of the table.
        read: Returns prepared images by row.
        progress: Called with the rows searched.
    """
    counts = np.unique(patients[rows], return_counts=True)[1].astype(np.int64)
    compared = (len(rows) ** 2 - int((counts**2).sum())) // 2
    if not compared:
        return Copies(_joined([]), np.empty(0, np.float32), motions(np.empty(0, np.float32)), 0)
    spread = np.linspace(0, len(rows) - 1, min(len(rows), _FITTED_ON)).astype(np.int64)
    some = thumbnails(read(rows[spread]))
    candidates = find_candidates(prints, rows, patients, fit_space(some), progress=progress)
    whitening = fit_whitening(some)
    scores, moved = [np.empty(0, np.float32)], [motions(np.empty(0, np.float32))]
    for start in range(0, len(candidates), _READ):
        score, motion = registered(candidates.take(slice(start, start + _READ)), whitening, read)
        scores.append(score)
        moved.append(motion)
        if start + _READ >= _fewest(len(rows)) and score.max() < _PROMISING:
            break
    count = sum(map(len, scores))
    return Copies(candidates.take(slice(count)), np.concatenate(scores), np.concatenate(moved), compared)


def _fewest(num_images: int) -> int:
    return min(_FEWEST + num_images // 2, _MOST)


def find_candidates(
    prints: Fingerprints,
    rows: Int64[np.ndarray, " m"],
    patients: Rows,
    space: Space,
    *,
    most: int = _MOST_CANDIDATES,
    progress: CountCallback | None = None,
) -> Candidates:
    """Return the pairs whose vectors are most alike, each once, of different patients and different pixels.

    Args:
        prints: Fingerprints of all images.
        rows: The rows to search.
        patients: Patient of each row of the table.
        space: What makes descriptions comparable.
        most: Number of pairs to return at most.
        progress: Called with the rows searched.
    """
    whole = space.vectors(prints.descriptions[rows, 0])
    owners, contents = patients[rows], prints.content[rows]
    kept, floor, waiting = [], np.float32(_LEAST_ALIKE), 0
    variants = list(product((False, True), (False, True)))
    for number, (mirror, zoom) in enumerate(variants):
        described = prints.descriptions[rows, int(zoom)]
        queries = space.vectors(mirrored(described) if mirror else described)
        for start in range(0, len(rows), _ROWS):
            for candidates in _alike(queries, whole, start, zoom=zoom, floor=floor):
                moving, fixed = candidates.moving, candidates.fixed
                different = (owners[moving] != owners[fixed]) & (contents[moving] != contents[fixed])
                kept.append(_marked(candidates.take(np.flatnonzero(different)), mirror=mirror))
                waiting += len(kept[-1])
            if waiting > 4 * most + _SPARE:
                kept = [_best(_joined(kept), most)]
                waiting = len(kept[0])
                if waiting == most:
                    floor = max(floor, kept[0].alike.min())
            if progress is not None:
                progress(number * len(rows) + min(start + _ROWS, len(rows)), len(variants) * len(rows))
    best = _best(_joined(kept), most)
    return Candidates(
        rows[best.moving], rows[best.fixed], best.alike, best.mirrored, best.inverted, best.zoomed
    )


def fit_whitening(thumbnails: Thumbnails) -> Whitening:
    """Return what suppresses that which these images and their mirror images have in common.

    Args:
        thumbnails: Gray values of some of the images that are compared.
    """
    everywhere = np.ones(thumbnails.shape, np.bool_)
    contrast = contrast_within(thumbnails, everywhere, _SIGMA)
    both = np.concatenate([contrast, contrast[:, :, ::-1]])
    vectors = _of_length_one(both.reshape(len(both), -1))
    variances, axes = np.linalg.eigh((vectors @ vectors.T).astype(np.float64) / len(vectors))
    variances, axes = variances[::-1][:_COMPONENTS], axes[:, ::-1][:, :_COMPONENTS]
    usable = variances > _NO_VARIANCE
    variances, axes = variances[usable], axes[:, usable]
    components = vectors.T @ (axes / np.sqrt(variances * len(vectors)))
    noise = 1 / min(len(thumbnails), _FITTED_ON)
    removed = 1 - np.sqrt(noise / (variances + noise))
    return Whitening(components.astype(np.float32), removed.astype(np.float32))


def _alike(
    queries: Vectors, whole: Vectors, start: int, *, zoom: bool, floor: np.float32
) -> Iterator[Candidates]:
    """Yield the pairs of a block of queries whose dot product is at least `floor`, up or down.

    Without zoom a pair is the same either way round, and only one of the two is compared.
    """
    block = queries[start : start + _ROWS]
    for left in range(0 if zoom else start - start % _COLUMNS, len(whole), _COLUMNS):
        product_of = block @ whole[left : left + _COLUMNS].T
        # Few rows of a block have such a pair: to look at these alone is four times faster than at all.
        promising = np.flatnonzero(np.maximum(product_of.max(axis=1), -product_of.min(axis=1)) >= floor)
        if not len(promising):
            continue
        row, column = np.nonzero(np.abs(product_of[promising]) >= floor)
        row = promising[row]
        moving, fixed = row + start, column + left
        if not zoom:
            once = moving < fixed
            row, column, moving, fixed = row[once], column[once], moving[once], fixed[once]
        alike = product_of[row, column]
        no = np.zeros(len(row), np.bool_)
        yield Candidates(moving, fixed, np.abs(alike), no, alike < 0, no | zoom)


def _marked(candidates: Candidates, *, mirror: bool) -> Candidates:
    return replace(candidates, mirrored=candidates.mirrored | mirror)


def _joined(parts: list[Candidates]) -> Candidates:
    no = np.empty(0, np.bool_)
    empty = Candidates(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32), no, no, no)
    columns = zip(*(_columns(part) for part in [empty, *parts]), strict=True)
    return Candidates(*(np.concatenate(column) for column in columns))


def _best(candidates: Candidates, most: int) -> Candidates:
    """Return the candidates that are most alike, each pair once."""
    low, high = (side(candidates.moving, candidates.fixed) for side in (np.minimum, np.maximum))
    order = np.lexsort((high, low, -candidates.alike))
    key = low[order] * (int(high.max(initial=0)) + 1) + high[order]
    first = np.sort(np.unique(key, return_index=True)[1])
    return candidates.take(order[first[:most]])


def _columns(candidates: Candidates) -> tuple[Any, ...]:
    return tuple(getattr(candidates, field.name) for field in fields(candidates))


def registered(
    pairs: Candidates, whitening: Whitening, read: Callable[[Rows], PixelsBatch]
) -> tuple[Float32[np.ndarray, " n"], Motions]:
    """Return how alike the pairs are once registered, from -1 to 1, and the motions.

    Args:
        pairs: Pairs as `find_candidates` returns them.
        whitening: What suppresses that which images have in common.
        read: Returns prepared images by row.
    """
    rows, place = np.unique(np.concatenate([pairs.moving, pairs.fixed]), return_inverse=True)
    small = np.concatenate([thumbnails(read(rows[at : at + _BATCH])) for at in range(0, len(rows), _BATCH)])
    scores, moved = [], []
    for start in range(0, len(pairs), _BATCH):
        batch = pairs.take(slice(start, start + _BATCH))
        moving = small[place[start : start + len(batch)]]
        moving = np.where(batch.mirrored[:, None, None], moving[:, :, ::-1], moving)
        moving = np.where(batch.inverted[:, None, None], 255 - moving, moving)
        fixed = small[place[len(pairs) + start : len(pairs) + start + len(batch)]]
        scale = np.where(batch.zoomed, np.float32(ZOOM), np.float32(1)).astype(np.float32)
        motion = register(fixed, moving, motions(scale))
        moved.append(motion)
        scores.append(_correlation(fixed, moving, motion, whitening))
    return np.concatenate(scores), np.concatenate(moved)


def _correlation(
    fixed: Thumbnails, moving: Thumbnails, motion: Motions, whitening: Whitening
) -> Float32[np.ndarray, " n"]:
    """Return the correlation within the part that both images show; -1 where that is too small."""
    seen, inside = move(moving, motion)
    first, second = (
        _of_length_one(contrast_within(images, inside, _SIGMA).reshape(len(images), -1))
        for images in (fixed, seen)
    )
    score = np.einsum("np,np->n", whitening(first), whitening(second))
    return np.where(inside.mean(axis=(1, 2)) < _LEAST_COMMON, np.float32(-1), score)


def _of_length_one(vectors: Float32[np.ndarray, "n p"]) -> Float32[np.ndarray, "n p"]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, np.float32(1e-6)), np.float32)
