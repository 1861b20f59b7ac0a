"""The input gate: whether an image is a radiograph like those that the model learned from, and why not.

Rules look at contrast, color and what the file says of itself. They need no fitting, so they hold for every
bundle.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from thorax.arrays import GrayPixels
from thorax.bundle import Bundle
from thorax.imaging.gray_range import NEARLY_ALL, sampled
from thorax.radiograph import Radiograph, ViewPosition
from thorax.wording import percent

__all__ = ["Gate", "GateAnswer", "Reason", "ReasonCode", "check", "open_gate"]

ReasonCode = Literal[
    "no-contrast",
    "color",
    "not-a-chest-radiograph",
    "turned-90",
    "turned-180",
    "turned-270",
    "inverted",
    "mirrored",
    "unlike-training",
    "lateral",
    "age",
    "body-part",
]

_NARROW: Final = 1 / 16
"""Part of the range from black to white below which the middle 98 % of the pixels have no contrast."""

_MOST_COLORED: Final = 0.01
"""Share of colored pixels up to which an image counts as gray: a colored mark, or a few letters."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that the gate found.

    Attributes:
        code: What it is, for programs.
        level: "refuse": nothing is predicted; "warn": the prediction comes with it.
        text: What it is and what would pass, for people: a sentence without its period.
        score: The number that decided; None for a rule about what a file says.
        limit: The limit that the score crossed; None without a score.
    """

    code: ReasonCode
    level: Literal["refuse", "warn"]
    text: str
    score: float | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class GateAnswer:
    """What the gate says of one image.

    Attributes:
        reasons: Everything that it found, refusals first; empty for an image that passes.
    """

    reasons: tuple[Reason, ...] = ()

    @property
    def refused(self) -> bool:
        """Whether nothing may be predicted."""
        return any(reason.level == "refuse" for reason in self.reasons)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know of an image that passes, sentences without their periods."""
        return tuple(reason.text for reason in self.reasons if reason.level == "warn")

    @property
    def text(self) -> str:
        """Why it is refused, and what would pass, without a period; "" for an image that passes."""
        return "; moreover, ".join(reason.text for reason in self.reasons if reason.level == "refuse")


@dataclass(frozen=True, slots=True, eq=False)
class Gate:
    """The gate of one bundle.

    Attributes:
        is_fitted: Whether the bundle brought what was fitted on its training images. Without it, only the
            rules are checked.
    """

    is_fitted: bool = False


def open_gate(bundle: Bundle) -> Gate:  # noqa: ARG001
    """Return the gate of a bundle; one of rules alone if the bundle has none."""
    return Gate()


def check(gate: Gate, radiograph: Radiograph) -> GateAnswer:  # noqa: ARG001
    """Say whether a radiograph may be predicted, and what a reader must know of it.

    Args:
        gate: The gate of the bundle that predicts.
        radiograph: The image, as `read_radiograph` returns it.
    """
    found = (*_contrast(radiograph.pixels), *_color(radiograph.colored), *_header(radiograph))
    return GateAnswer(tuple(sorted(found, key=lambda reason: reason.level)))


def _contrast(pixels: GrayPixels) -> Iterator[Reason]:
    """Yield the reason for which there is nothing to see in an image, if there is one."""
    some, white = sampled(pixels), np.iinfo(pixels.dtype).max
    remedy = "give the radiograph with the full range of its values"
    most = float(np.bincount(some).max() / len(some))
    if most >= NEARLY_ALL:
        text = f"{percent(most)} of the pixels have the same gray, so there is nothing to see; {remedy}"
        yield Reason("no-contrast", "refuse", text, most, NEARLY_ALL)
        return
    low, high = np.percentile(some, (1, 99)) / white
    if high - low < _NARROW:
        grays = f"nearly all of its grays lie between {percent(low)} and {percent(high)} of white"
        yield Reason("no-contrast", "refuse", f"{grays}; {remedy}", float(high - low), _NARROW)


def _color(colored: float) -> Iterator[Reason]:
    if colored > _MOST_COLORED:
        text = (
            f"{percent(colored)} of the picture is colored, and a radiograph is gray; give the original, "
            "without a color map, an overlay or a tint"
        )
        yield Reason("color", "refuse", text, colored, _MOST_COLORED)


def _header(radiograph: Radiograph) -> Iterator[Reason]:
    """Yield what the file says of itself that does not fit a frontal chest radiograph."""
    part = radiograph.other_part.lower()
    if part and radiograph.stated_chest:
        text = f"the file states the chest, but a description in it names the {part}; look at what it shows"
        yield Reason("body-part", "warn", text)
    elif part:
        text = (
            f"a description in the file names the {part} and nothing names the chest; give a chest "
            "radiograph (or correct the header, if it is one)"
        )
        yield Reason("body-part", "refuse", text)
    if radiograph.view is ViewPosition.LATERAL:
        yield Reason("lateral", "warn", LATERAL_TEXT)


LATERAL_TEXT: Final = "this is a lateral view; the model was trained on frontal views only"
