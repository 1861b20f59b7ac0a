"""The input gate: whether an image is a radiograph like those that the model learned from, and why not.

Rules look at contrast, color and what the file says of itself. They need no fitting, so they hold for every
bundle. Whether the picture is an upright frontal chest radiograph, and like those of training, is decided by
what was fitted on the training images, on a thumbnail.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from thorax.arrays import GrayPixels
from thorax.bundle import Bundle
from thorax.bundle.input_gate import GateNumbers, InputGate, read_gate
from thorax.distributions import GATE_SCORES
from thorax.imaging.gray_range import NEARLY_ALL, sampled
from thorax.inference.gate_features import Features, features, inverted, thumbnail, turned
from thorax.inference.gate_scores import INVERTED, LATERAL, OTHER, gate_scores
from thorax.radiograph import Radiograph, ViewPosition
from thorax.recipe.literals import Fit
from thorax.wording import percent

__all__ = [
    "PICTURE_REASONS",
    "Gate",
    "GateAnswer",
    "Reason",
    "ReasonCode",
    "check",
    "check_pixels",
    "open_gate",
]

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

PICTURE_REASONS: Final[frozenset[ReasonCode]] = frozenset({"unlike-training", "mirrored"})
"""Warnings about the picture alone; others are about what a file says of itself."""

_NARROW: Final = 1 / 16
"""Part of the range from black to white below which the middle 98 % of the pixels have no contrast."""

_MOST_COLORED: Final = 0.01
"""Share of colored pixels up to which an image counts as gray: a colored mark, or a few letters."""

_CHILD: Final = 16
"""Age in years below which a patient is a child."""

_FEW_CHILDREN: Final = 0.05
_FEW: Final = 0.01
"""Shares of the training images below which ages were hardly covered: of children, of others as old."""


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
        scores: Its scores by name, as in `GateScores`; empty where nothing was fitted, and for an image in
            which there is nothing to see.
    """

    reasons: tuple[Reason, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def refused(self) -> bool:
        """Whether nothing may be predicted."""
        return any(reason.level == "refuse" for reason in self.reasons)

    @property
    def codes(self) -> frozenset[ReasonCode]:
        """The codes of everything that it found."""
        return frozenset(reason.code for reason in self.reasons)

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
        fit: How the bundle fits an image that is not square.
        section: What the manifest says of the gate; None for a bundle without one, of which only the rules
            are checked.
        numbers: What it computes with; None as above.
    """

    fit: Fit = "pad"
    section: InputGate | None = None
    numbers: GateNumbers | None = None

    @property
    def is_fitted(self) -> bool:
        """Whether the bundle brought what was fitted on its training images."""
        return self.numbers is not None


def open_gate(bundle: Bundle) -> Gate:
    """Return the gate of a bundle; one of rules alone if the bundle has none.

    Raises:
        BundleError: The file of its numbers is missing, changed, or does not hold those of a gate.
    """
    section, fit = bundle.manifest.gate, bundle.manifest.preparation.fit
    return Gate(fit, section, read_gate(bundle.folder, section) if section else None)


def check(gate: Gate, radiograph: Radiograph) -> GateAnswer:
    """Say whether a radiograph may be predicted, and what a reader must know of it.

    Args:
        gate: The gate of the bundle that predicts.
        radiograph: The image, as `read_radiograph` returns it.
    """
    header = (*_color(radiograph.colored), *_header(radiograph), *_age(gate, radiograph.age_years))
    seen = check_pixels(gate, radiograph.pixels)
    return _answer([*seen.reasons, *header], seen.scores)


def check_pixels(gate: Gate, pixels: GrayPixels) -> GateAnswer:
    """Say what the gate says of the pixels alone, which may be those of a store."""
    nothing = tuple(_contrast(pixels))
    if nothing or gate.numbers is None or gate.section is None:
        return GateAnswer(nothing)
    values = features(thumbnail(pixels, gate.fit)[None])
    scores = gate_scores(gate.numbers, values)
    by_name: dict[str, float] = {name: float(getattr(scores, name)[0]) for name in GATE_SCORES}
    kind = int(scores.looks_like[0])
    return _answer(list(_picture(gate.section, gate.numbers, values, by_name, kind)), by_name)


def _answer(found: list[Reason], scores: Mapping[str, float]) -> GateAnswer:
    return GateAnswer(tuple(sorted(found, key=lambda reason: reason.level)), scores)


def _picture(
    section: InputGate,
    numbers: GateNumbers,
    values: Features,
    scores: Mapping[str, float],
    kind: int,
) -> Iterator[Reason]:
    """Yield what a net of the gate finds in an image, of which it gets the features and their scores."""
    upright, unlike, mirror = (scores[name] for name in GATE_SCORES)
    if not upright >= section.least_upright:
        righted = gate_scores(numbers, _righted(values, kind))
        passes = righted.upright[0] >= section.least_upright and righted.unlike[0] <= section.too_unlike
        for code, text in _looks_like(kind, righted_passes=bool(passes)):
            yield Reason(code, "refuse", text, upright, section.least_upright)
    elif not unlike <= section.too_unlike:
        text = (
            "it is far from all images that the model learned from; give a frontal chest radiograph without "
            "anything around it"
        )
        yield Reason("unlike-training", "refuse", text, unlike, section.too_unlike)
    else:
        if unlike > section.most_unlike:
            text = (
                f"it is unlike the images that the model learned from (distance {unlike:.3f}, and "
                f"{section.most_unlike:.3f} is usual); the probabilities may not hold for it"
            )
            yield Reason("unlike-training", "warn", text, unlike, section.most_unlike)
        if mirror > section.most_mirrored:
            text = (
                f"it is perhaps mirrored: found in {section.mirrored_caught} mirrored copies of validation "
                f"images, and in {section.mirrored_called} as they are; compare it with the side marker"
            )
            yield Reason("mirrored", "warn", text, mirror, section.most_mirrored)


_TURNED_CODES: Final[tuple[ReasonCode, ...]] = ("turned-270", "turned-180", "turned-90")
"""For images turned counterclockwise by one, two and three quarters."""


_TURNED: Final = (
    "it is turned by 90 degrees counterclockwise; turn it back, 90 degrees clockwise",
    "it is turned by 180 degrees; turn it back",
    "it is turned by 90 degrees clockwise; turn it back, 90 degrees counterclockwise",
)
"""In the order of `_TURNED_CODES`."""


def _righted(values: Features, kind: int) -> Features:
    """Return the features of an image upright and not inverted, if it is what it looks like."""
    if kind in {LATERAL, OTHER}:
        return values
    upright = turned(values, -(kind % INVERTED))
    return inverted(upright) if kind >= INVERTED else upright


def _looks_like(kind: int, *, righted_passes: bool) -> Iterator[tuple[ReasonCode, str]]:
    """Yield what an image is that is not an upright frontal chest radiograph, and what would pass."""
    if kind == OTHER:
        yield "not-a-chest-radiograph", "it is not a chest radiograph; give a frontal one, PA or AP"
        return
    if kind == LATERAL:
        yield "lateral", "it looks like a lateral view; give the frontal view, PA or AP"
        return
    if not righted_passes:  # other parts of the body look like something, and nothing helps them
        yield "not-a-chest-radiograph", _NO_REMEDY
        return
    quarters = kind % INVERTED
    if quarters:
        yield _TURNED_CODES[quarters - 1], _TURNED[quarters - 1]
    if kind >= INVERTED:
        yield "inverted", "it is inverted, bone is dark; exchange black and white"


_NO_REMEDY: Final = (
    "it may not be a chest radiograph: turning it or exchanging black and white would not make it pass; give "
    "a frontal one, PA or AP"
)


def _contrast(pixels: GrayPixels) -> Iterator[Reason]:
    """Yield the reason for which there is nothing to see in an image, if there is one."""
    some, white = sampled(pixels), np.iinfo(pixels.dtype).max
    remedy = "give the radiograph with the full range of its values"
    most = float(np.bincount(some).max() / len(some))
    if most >= NEARLY_ALL:
        text = (
            f"{percent(most)} of the pixels have the same gray (less than {percent(NEARLY_ALL)} pass), so "
            f"there is nothing to see; {remedy}"
        )
        yield Reason("no-contrast", "refuse", text, most, NEARLY_ALL)
        return
    low, high = np.percentile(some, (1, 99)) / white
    if high - low < _NARROW:
        grays = (
            f"nearly all of its grays lie between {percent(low)} and {percent(high)} of white, less than a "
            "sixteenth of the range"
        )
        yield Reason("no-contrast", "refuse", f"{grays}; {remedy}", float(high - low), _NARROW)


def _color(colored: float) -> Iterator[Reason]:
    if colored > _MOST_COLORED:
        text = (
            f"{percent(colored)} of the picture is colored (up to {percent(_MOST_COLORED)} passes), and a "
            "radiograph is gray; give the original, without a color map, an overlay or a tint"
        )
        yield Reason("color", "refuse", text, colored, _MOST_COLORED)


def _age(gate: Gate, age: int | None) -> Iterator[Reason]:
    """Yield how few of the training images were of patients as young, or as old."""
    if gate.numbers is None or age is None:
        return
    ages = gate.numbers.ages
    total = int(ages.sum())
    young, old = int(ages[: max(age, _CHILD - 1) + 1].sum()), int(ages[min(age, len(ages) - 1) :].sum())
    if age < _CHILD and young < _FEW_CHILDREN * total:
        text = f"were under {_CHILD}"
        few = young
    elif old < _FEW * total:
        text = f"were {age} or older"
        few = old
    else:
        return
    yield Reason(
        "age",
        "warn",
        f"the patient is {age} years old, and of the images that the model learned from {few:,} of {total:,} "
        f"{text}; the probabilities may not hold",
    )


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
        yield Reason("lateral", "warn", _LATERAL_TEXT)


_LATERAL_TEXT: Final = "this is a lateral view; the model was trained on frontal views only"
