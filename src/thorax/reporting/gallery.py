"""The gallery of a report: examples of each outcome, with the model's maps."""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from jaxtyping import Float64, Int8, UInt8
from PIL import Image

from thorax.arrays import PixelsBatch, Probabilities, Rows
from thorax.evaluation.labeled import LabeledImages
from thorax.evaluation.thresholds import ThresholdSet
from thorax.explain.methods import Maps, Method
from thorax.explain.overlay import overlay
from thorax.findings import Finding

__all__ = [
    "OUTCOMES",
    "Example",
    "Gallery",
    "GalleryPicture",
    "MapSource",
    "Opening",
    "Outcome",
    "draw_gallery",
    "pick_examples",
]

Outcome = Literal["true positive", "false positive", "false negative", "true negative"]

OUTCOMES: Final[dict[Outcome, tuple[bool, int]]] = {
    "true positive": (True, 1),
    "false positive": (True, 0),
    "false negative": (False, 1),
    "true negative": (False, 0),
}
"""What each kind is: whether the finding is called, and its label."""


@dataclass(frozen=True, slots=True)
class Example:
    """One image of one finding.

    Attributes:
        row: Which image.
        outcome: The kind of call.
        marks: "surest": furthest from the threshold of its kind, the highest probability of what is called
            and the lowest of what is not; "most uncertain": nearest to it. One image may be both.
    """

    row: int
    outcome: Outcome
    marks: tuple[Literal["surest", "most uncertain"], ...]


def pick_examples(
    targets: Int8[np.ndarray, " n"], probabilities: Float64[np.ndarray, " n"], *, threshold: float
) -> Sequence[Example]:
    """Pick at most two images of each kind of call; of equals, the first.

    Args:
        targets: One finding's labels; only 1 and 0 count.
        probabilities: What the model says.
        threshold: What reaches it is called.
    """
    away = np.abs(probabilities - threshold)
    called = probabilities >= threshold
    found: list[Example] = []
    for outcome, (is_called, label) in OUTCOMES.items():
        rows = np.flatnonzero((called == is_called) & (targets == label))
        if not len(rows):
            continue
        surest, nearest = (int(rows[pick(away[rows])]) for pick in (np.argmax, np.argmin))
        if surest == nearest:
            found.append(Example(surest, outcome, ("surest", "most uncertain")))
        else:
            found.append(Example(surest, outcome, ("surest",)))
            found.append(Example(nearest, outcome, ("most uncertain",)))
    return found


_SIDES: Final = (256, 208, 160, 128, 96, 72)
"""Sides of pictures in pixels; the first that keeps within the budget is taken."""

_BUDGET: Final = 3_500_000
"""Bytes of all pictures together, as they stand in the page: curves and tables of 14 findings take 0.3 MB."""

_MOST: Final = 24
"""Findings at most: at the smallest side, pictures of pure noise keep within the budget."""

_QUALITY: Final = 82
_OPACITY: Final = 0.6
_STOPS: Final = 9

MapsOf = Callable[[PixelsBatch, Finding], Maps]
"""Maps (n, 1, s, s) of a finding on prepared images."""

Shown = UInt8[np.ndarray, "s s"] | UInt8[np.ndarray, "s s 3"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSource:
    """What explains.

    Attributes:
        method: Its name.
        maps: Gives the maps.
        notes: What a reader must know about them.
    """

    method: Method
    maps: MapsOf
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryPicture:
    """One example.

    Attributes:
        example: What kind of call it is, and why it was picked.
        image: The image's name.
        probability: What the model says.
        radiograph: A data URI.
        mapped: Another, with the map over it; None without maps, and where nothing speaks for the finding.
        highest: The map's highest value, in the method's unit; None without maps.
    """

    example: Example
    image: str
    probability: float
    radiograph: str
    mapped: str | None
    highest: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """The examples of one finding, at one threshold."""

    finding: Finding
    threshold: float
    pictures: Sequence[GalleryPicture]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """All examples.

    Attributes:
        points: Which thresholds make the calls.
        findings: Those with a threshold and an image, in the order of the report.
        left_out: Findings that would have made the page too large.
        side: Of the pictures, in pixels.
        method: Whose maps; None without.
        notes: What a reader must know; without maps, why there are none.
        ramp: The colours of a scale from 0 to a map's highest value, as CSS.
    """

    points: ThresholdSet
    findings: Sequence[Opening]
    left_out: Sequence[Finding]
    side: int
    method: Method | None
    notes: Sequence[str]
    ramp: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Drawn:
    """An example before it is encoded."""

    example: Example
    radiograph: Image.Image
    mapped: Image.Image | None
    highest: float | None


def draw_gallery(
    cohort: LabeledImages,
    probabilities: Probabilities,
    points: ThresholdSet,
    *,
    read: Callable[[Rows], PixelsBatch],
    source: MapSource | None,
    absent: str = "",
) -> Gallery:
    """Pick examples, and draw them.

    Args:
        cohort: The images.
        probabilities: A column for each of the cohort's findings.
        points: Thresholds; a finding without one has no examples.
        read: Gives the prepared pixels of some rows of the cohort.
        source: What explains; None draws no maps.
        absent: Why nothing does.

    Raises:
        RecipeError: The method does not go with a net.
    """
    columns = [column for column, threshold in enumerate(points.thresholds) if threshold is not None]
    kept = sorted(sorted(columns, key=lambda each: -int(np.sum(cohort.targets[:, each] == 1)))[:_MOST])
    drawn: dict[int, list[_Drawn]] = {}
    for column in kept:
        picked = pick_examples(
            cohort.targets[:, column], probabilities[:, column], threshold=points.thresholds[column] or 0.0
        )
        if picked:
            drawn[column] = _draw(picked, cohort.findings[column], read=read, source=source)
    side = _side_within_budget([each for several in drawn.values() for each in several])
    return Gallery(
        points=points,
        findings=[
            Opening(
                finding=cohort.findings[column],
                threshold=points.thresholds[column] or 0.0,
                pictures=[_encoded(each, column, cohort, probabilities, side=side) for each in several],
            )
            for column, several in drawn.items()
        ],
        left_out=[cohort.findings[column] for column in columns if column not in kept],
        side=side,
        method=source.method if source else None,
        notes=source.notes if source else ([absent] if absent else []),
        ramp=_ramp(),
    )


def _draw(
    picked: Sequence[Example],
    finding: Finding,
    *,
    read: Callable[[Rows], PixelsBatch],
    source: MapSource | None,
) -> list[_Drawn]:
    pixels = read(np.array([each.row for each in picked], dtype=np.int64))
    maps = source.maps(pixels, finding)[:, 0] if source else [None] * len(picked)
    drawn = []
    for example, image, attribution in zip(picked, pixels, maps, strict=True):
        highest = None if attribution is None else float(np.max(attribution))
        speaks = attribution is not None and highest is not None and highest > 0
        drawn.append(
            _Drawn(
                example=example,
                radiograph=_shrunk(image),
                mapped=_shrunk(overlay(image, attribution, opacity=_OPACITY)) if speaks else None,
                highest=highest,
            )
        )
    return drawn


def _shrunk(shown: Shown, side: int = _SIDES[0]) -> Image.Image:
    image = Image.fromarray(shown)
    return image if image.width <= side else image.resize((side, side), Image.Resampling.BOX)


def _side_within_budget(drawn: Sequence[_Drawn]) -> int:
    """Return the largest side at which all pictures keep within the budget, or the smallest there is."""
    pictures = [picture for each in drawn for picture in (each.radiograph, each.mapped) if picture]
    largest = max((picture.width for picture in pictures), default=_SIDES[0])
    sides = [side for side in _SIDES if side < largest]
    for side in (largest, *sides):
        if sum(len(_data_uri(picture, side)) for picture in pictures) <= _BUDGET:
            return side
    return sides[-1] if sides else largest


def _encoded(
    drawn: _Drawn, column: int, cohort: LabeledImages, probabilities: Probabilities, *, side: int
) -> GalleryPicture:
    row = drawn.example.row
    return GalleryPicture(
        example=drawn.example,
        image=cohort.images[row],
        probability=float(probabilities[row, column]),
        radiograph=_data_uri(drawn.radiograph, side),
        mapped=_data_uri(drawn.mapped, side) if drawn.mapped else None,
        highest=drawn.highest,
    )


def _data_uri(picture: Image.Image, side: int) -> str:
    content = io.BytesIO()
    sized = picture if picture.width <= side else picture.resize((side, side), Image.Resampling.BOX)
    sized.save(content, format="JPEG", quality=_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode("ascii")


def _ramp() -> str:
    """Return a map's colours over middle grey, from 0 to its highest value."""
    gray = np.full((1, _STOPS), 128, dtype=np.uint8)
    colors = overlay(gray, np.linspace(0, 1, _STOPS, dtype=np.float32)[None], opacity=_OPACITY)[0]
    return f"linear-gradient(90deg,{','.join('#' + bytes(each).hex() for each in colors)})"
