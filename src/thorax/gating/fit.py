"""Fit an input gate: two nets and axes on training images and drawn pictures, limits on validation images."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8
from PIL import Image

from thorax.arrays import PixelsBatch, Rows
from thorax.bundle.input_gate import GATE_CLASSES, GateNumbers, InputGate, Rate, gate_bytes, gate_of_bytes
from thorax.datasets.other_pictures import draw_pictures
from thorax.gating.changes import PICTURE_SIDE, changed
from thorax.gating.lateral import draw_lateral
from thorax.gating.net import Batch, Net, NetSize, train_net
from thorax.gating.not_chests import not_a_chest
from thorax.image_set import ImageSet
from thorax.inference.gate_features import Features, features, inverted, mirrored, thumbnail, turned
from thorax.inference.gate_scores import INVERTED, LATERAL, OTHER, GateScores, gate_scores
from thorax.progress import ProgressCallback, stage_progress
from thorax.randomness import integer_seed, permutation
from thorax.recipe.literals import Fit

__all__ = ["FittedGate", "GateImages", "fit_gate"]

Picture = UInt8[np.ndarray, "_h _w"]
_Count = Callable[[Iterable[Picture]], Iterator[Picture]]
AnyFeatures = Float32[np.ndarray, "_n 768"]

_SEED: Final = 0

_MOST_IMAGES: Final = 2000
"""Images of a part that are used at most, drawn at random."""

_COPIES: Final = 4
"""Changed copies of each training image."""

_PICTURES: Final = 4000
_OTHER_PICTURES: Final = 400
"""Drawn pictures that the net learns from, and others that the limit is set on."""

_NOT_CHESTS: Final = 1500
_LATERALS: Final = 800

_UNITS: Final = 96
_STEPS: Final = 2500
_MIRROR_UNITS: Final = 32
_MIRROR_STEPS: Final = 1200
_BATCH: Final = 192
_AXES: Final = 64

_HELD_BACK: Final = 0.01
"""Largest share of the validation images that each limit may hold back or warn about."""

_PASSES: Final = 0.005
"""Share of wrong images below whose scores the limit need not lie."""

_ROOM: Final = 1.25
"""How much farther from the training images than nearly all changed copies an image may be."""


@dataclass(frozen=True, slots=True, eq=False)
class GateImages:
    """Images to fit a gate on.

    Attributes:
        read: Returns the prepared pixels of rows: `Store.pixels`.
        rows: The rows.
        reference: Which images they are.
    """

    read: Callable[[Rows], PixelsBatch]
    rows: Rows
    reference: ImageSet


@dataclass(frozen=True, slots=True, eq=False)
class FittedGate:
    """A fitted gate: what `attach_gate` writes, but for name and checksum of its file."""

    section: InputGate
    numbers: GateNumbers


def fit_gate(
    train: GateImages,
    val: GateImages,
    *,
    fit: Fit,
    ages: Int64[np.ndarray, " n"],
    effort: float = 1.0,
    progress: ProgressCallback | None = None,
) -> FittedGate:
    """Fit an input gate; the same arguments give the same gate on the same machine.

    Args:
        train: The training images.
        val: The validation images.
        fit: How images that are not square were fitted.
        ages: Ages of the training images in whole years, of those for which they are known.
        effort: Share of the drawn pictures and of the steps; less than 1 is quicker, and not for use.
        progress: Receives the numbers of pictures and steps, in three stages.
    """
    random = np.random.Generator(np.random.Philox(key=integer_seed(_SEED, "gate", step=0)))
    drawn, made, lateral = (round(effort * number) for number in (_PICTURES, _NOT_CHESTS, _LATERALS))
    num_pictures = (2 + _COPIES) * _used(train) + drawn + made + lateral
    count = _counting(progress, "preparing the input gate", num_pictures)
    pictures = [_small(image) for image in count(_prepared(train))]
    plain = _features(count(_prepared(train)), fit)
    changes = (
        _features(count(changed(picture, random) for picture in pictures), fit) for _ in range(_COPIES)
    )
    copies = np.concatenate([plain, *changes])
    chosen = random.integers(0, len(pictures), made)
    not_chests = (not_a_chest(pictures[number], random) for number in chosen)
    others = [_features(count(some), fit) for some in (_drawn(drawn, _SEED), not_chests)]
    laterals = _features(count(draw_lateral(random) for _ in range(lateral)), fit)
    draw = _drawing(copies, np.concatenate(others), laterals)
    done = stage_progress(progress, "fitting the input gate", unit="steps")
    steps, mirror_steps = round(effort * _STEPS), round(effort * _MIRROR_STEPS)
    total = steps + mirror_steps
    size = NetSize(plain.shape[1], _UNITS, GATE_CLASSES, steps)
    net = train_net(draw, size, dropout=0.2, random=random, step_done=_counted(done, 0, total))
    mirror = train_net(
        _drawing_mirrored(copies),
        NetSize(plain.shape[1], _MIRROR_UNITS, 2, mirror_steps),
        dropout=0.4,
        random=random,
        step_done=_counted(done, steps, total),
    )
    mean = copies.mean(axis=0)
    axes = np.linalg.eigh(np.cov(copies - mean, rowvar=False))[1][:, ::-1][:, :_AXES].T
    numbers = gate_of_bytes(gate_bytes(_numbers(net, mirror, mean, axes, ages)))
    count = _counting(progress, "checking the input gate", 2 * _used(val) + _OTHER_PICTURES)
    return FittedGate(_section(_check(numbers, val, fit, random, count), train, val), numbers)


def _counted(
    done: Callable[[int, int], None] | None, before: int, total: int
) -> Callable[[int], None] | None:
    return None if done is None else lambda step: done(before + step, total)


def _counting(progress: ProgressCallback | None, stage: str, total: int) -> _Count:
    """Return what passes pictures on and counts them, those of one call after those of another."""
    report, done = stage_progress(progress, stage, unit="pictures"), 0

    def count(pictures: Iterable[Picture]) -> Iterator[Picture]:
        nonlocal done
        for picture in pictures:
            yield picture
            done += 1
            if report is not None:
                report(done, total)

    return count


def _numbers(
    net: Net, mirror: Net, mean: np.ndarray, axes: np.ndarray, ages: Int64[np.ndarray, " n"]
) -> GateNumbers:
    return GateNumbers(
        hidden=net.hidden,
        hidden_bias=net.hidden_bias,
        out=net.out,
        out_bias=net.out_bias,
        mirror=mirror.hidden,
        mirror_bias=mirror.hidden_bias,
        mirror_out=mirror.out[:, 1] - mirror.out[:, 0],
        mean=mean,
        axes=axes.astype(np.float32),
        ages=np.bincount(np.clip(ages, 0, 150), minlength=151).astype(np.int32),
    )


# ---- images ----------------------------------------------------------------------------------------


def _used(images: GateImages) -> int:
    return min(len(images.rows), _MOST_IMAGES)


def _prepared(images: GateImages) -> Iterator[Picture]:
    """Yield at most `_MOST_IMAGES` of some images, one by one, since those of a store may be large."""
    order = permutation(_SEED, "gate images", epoch=0, length=len(images.rows))[: _used(images)]
    return (images.read(images.rows[[at]])[0] for at in np.sort(order))


def _small(image: Picture) -> Picture:
    size = (PICTURE_SIDE, PICTURE_SIDE)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))


def _features(pictures: Iterable[Picture], fit: Fit) -> Features:
    """Return the features of pictures, a few hundred at a time."""
    thumbnails = [thumbnail(picture, fit) for picture in pictures]
    parts = [np.stack(thumbnails[start : start + 256]) for start in range(0, len(thumbnails), 256)]
    return np.concatenate([features(part) for part in parts])


def _drawn(number: int, seed: int) -> Iterator[Picture]:
    return (picture.pixels for picture in draw_pictures(number, seed=seed))


def _drawing(
    chests: AnyFeatures, others: AnyFeatures, laterals: AnyFeatures
) -> Callable[[np.random.Generator], Batch]:
    """Return what draws a batch: chests in all eight ways, some of them mirrored; others in any way."""

    def draw(random: np.random.Generator) -> Batch:
        values = chests[random.integers(0, len(chests), _BATCH * 5 // 8)]
        mirror = random.random(len(values)) < 0.3  # noqa: PLR2004
        values[mirror] = mirrored(values[mirror])
        ways = random.choice(8, len(values), p=[0.3, *[0.1] * 7])
        for way in range(1, 8):
            values[ways == way] = _as_shown(values[ways == way], way)
        rest = others[random.integers(0, len(others), _BATCH // 4)]
        for way in range(8):
            values_in_way = rest[way::8]
            rest[way::8] = _as_shown(values_in_way, way)
        side = laterals[random.integers(0, len(laterals), _BATCH // 8)]
        classes = [ways, np.full(len(rest), OTHER), np.full(len(side), LATERAL)]
        return np.concatenate([values, rest, side]), np.concatenate(classes)

    return draw


def _drawing_mirrored(chests: Features) -> Callable[[np.random.Generator], Batch]:
    def draw(random: np.random.Generator) -> Batch:
        values = chests[random.integers(0, len(chests), _BATCH)]
        mirror = random.random(len(values)) < 0.5  # noqa: PLR2004
        values[mirror] = mirrored(values[mirror])
        return values, mirror.astype(np.int64)

    return draw


def _as_shown(values: Features, way: int) -> Features:
    """Return the features of images shown in one of the eight ways: quarters turned, plus `INVERTED`."""
    shown = turned(values, way % INVERTED)
    return inverted(shown) if way >= INVERTED else shown


# ---- limits ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Checked:
    """Scores of validation images, of their copies, and of drawn pictures that were not learned from."""

    plain: GateScores
    changed: GateScores
    turned: GateScores
    inverted: GateScores
    mirrored: GateScores
    pictures: GateScores


def _check(
    numbers: GateNumbers, val: GateImages, fit: Fit, random: np.random.Generator, count: _Count
) -> _Checked:
    plain = _features(count(_prepared(val)), fit)
    copies = _features(count(changed(_small(image), random) for image in _prepared(val)), fit)
    others = _features(count(_drawn(_OTHER_PICTURES, _SEED + 1)), fit)
    return _Checked(
        plain=gate_scores(numbers, plain),
        changed=gate_scores(numbers, copies),
        turned=gate_scores(numbers, np.concatenate([turned(plain, quarters) for quarters in (1, 2, 3)])),
        inverted=gate_scores(numbers, inverted(plain)),
        mirrored=gate_scores(numbers, mirrored(plain)),
        pictures=gate_scores(numbers, others),
    )


def _section(checked: _Checked, train: GateImages, val: GateImages) -> InputGate:
    """Set the limits, and count what they do to the images that they were set on."""
    plain, wrong = checked.plain, (checked.turned, checked.inverted, checked.pictures)
    right = float(np.quantile(plain.upright, _HELD_BACK))
    highest = float(np.quantile(np.concatenate([scores.upright for scores in wrong]), 1 - _PASSES))
    least_upright = min(right, (right + highest) / 2)
    usual = float(np.quantile(plain.unlike, 1 - _HELD_BACK))
    too_unlike = max(usual, _ROOM * float(np.quantile(checked.changed.unlike, 1 - _PASSES)))
    most_mirrored = float(np.quantile(plain.mirrored, 1 - _HELD_BACK))

    def held_back(scores: GateScores) -> Rate:
        return _rate((scores.upright < least_upright) | (scores.unlike > too_unlike))

    return InputGate(
        name="",
        sha256="",
        fitted_on=train.reference,
        chosen_on=val.reference,
        least_upright=least_upright,
        most_unlike=usual,
        too_unlike=too_unlike,
        most_mirrored=most_mirrored,
        held_back=held_back(plain),
        turned_caught=held_back(checked.turned),
        inverted_caught=held_back(checked.inverted),
        mirrored_caught=_rate(checked.mirrored.mirrored > most_mirrored),
        mirrored_called=_rate(plain.mirrored > most_mirrored),
        pictures_caught=held_back(checked.pictures),
    )


def _rate(caught: Bool[np.ndarray, " n"]) -> Rate:
    return Rate(count=int(caught.sum()), of=len(caught))
