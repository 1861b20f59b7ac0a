"""The gallery of a report: examples of each outcome, with the model's attribution maps."""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from jaxtyping import Float64, Int8, UInt8
from PIL import Image

from thorax.arrays import Attribution, Pixels, PixelsBatch, Probabilities, Rows
from thorax.evaluation.labeled_images import LabeledImages
from thorax.evaluation.thresholds import ThresholdSet
from thorax.explain.explainers import Maps, Method
from thorax.explain.overlay import Scale, blended, overlay
from thorax.findings import Finding

__all__ = [
    "OUTCOMES",
    "Example",
    "FindingExamples",
    "Gallery",
    "GalleryPicture",
    "MapSource",
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
"""The decision (whether the finding is predicted positive) and the label of each outcome."""


@dataclass(frozen=True, slots=True)
class Example:
    """An image that shows one outcome for one finding.

    Attributes:
        row: Row of the image.
        outcome: Its outcome.
        marks: "most confident": of the images with this outcome, the probability is furthest from the
            threshold; "least confident": it is nearest. One image may be both.
    """

    row: int
    outcome: Outcome
    marks: tuple[Literal["most confident", "least confident"], ...]


def pick_examples(
    targets: Int8[np.ndarray, " n"], probabilities: Float64[np.ndarray, " n"], *, threshold: float
) -> Sequence[Example]:
    """Pick the most and the least confident image of each outcome; among equals, the first.

    Args:
        targets: One finding's labels; those other than 0 and 1 are ignored.
        probabilities: The model's probabilities, in [0, 1].
        threshold: A probability at or above it is a positive decision.
    """
    distance = np.abs(probabilities - threshold)
    positive = probabilities >= threshold
    examples: list[Example] = []
    for outcome, (decision, label) in OUTCOMES.items():
        rows = np.flatnonzero((positive == decision) & (targets == label))
        if not len(rows):
            continue
        furthest, nearest = (int(rows[pick(distance[rows])]) for pick in (np.argmax, np.argmin))
        if furthest == nearest:
            examples.append(Example(furthest, outcome, ("most confident", "least confident")))
        else:
            examples.append(Example(furthest, outcome, ("most confident",)))
            examples.append(Example(nearest, outcome, ("least confident",)))
    return examples


_SIDES: Final = (256, 208, 160, 128, 96, 72)
"""Sides of pictures in pixels; the first that fits the budget is used."""

_BUDGET: Final = 3_500_000
"""Bytes of all encoded pictures in the page; curves and tables of 14 findings take 0.3 MB more."""

_MAX_FINDINGS: Final = 24
"""With so many findings, even pictures of pure noise fit the budget at the smallest side."""

_QUALITY: Final = 82
"""JPEG quality, from 0 to 95."""

_OPACITY: Final = 0.6
"""Opacity of a map at its maximum."""

_EQUAL: Final = 1e-6
"""Values of a map that differ by less are equal but for rounding."""

_STOPS: Final = 9
"""Colors of the gradient that is the scale of a map."""

MapsOf = Callable[[PixelsBatch, Finding], Maps]
"""Maps (n, 1, s, s) of a finding on prepared images."""

GrayOrColor = UInt8[np.ndarray, "s s"] | UInt8[np.ndarray, "s s 3"]


Shown = tuple[slice, slice]
"""The rows and columns of a prepared square that show the image, and not the bars that pad it."""


def _whole(row: int) -> Shown:
    """Return all of the square."""
    del row
    return slice(None), slice(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSource:
    """A source of attribution maps.

    Attributes:
        method: Name of the method.
        maps: Computes the maps.
        notes: Caveats for the reader of the maps.
        shown: Returns the rows and columns of the prepared square that show the image of a row.
        instead: A source for images on which a map has the same value everywhere; None for none.
    """

    method: Method
    maps: MapsOf
    notes: Sequence[str] = ()
    shown: Callable[[int], Shown] = _whole
    instead: "MapSource | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryPicture:
    """The pictures of one example.

    Attributes:
        example: Its outcome, and why it was picked.
        image: The image's name.
        probability: The model's probability, in [0, 1].
        radiograph: The radiograph, as a data URI.
        mapped: The radiograph with the map over it, as a data URI; None without maps, and where the map has
            the same value everywhere.
        highest: The map's highest value within the radiograph, in the method's unit; None without maps.
        lowest: The value at which the colors begin: 0, or the map's mean where no value is above 0.
        method: Method of this map; None without maps.
    """

    example: Example
    image: str
    probability: float
    radiograph: str
    mapped: str | None
    highest: float | None
    lowest: float
    method: Method | None

    @property
    def relative(self) -> bool:
        """Whether the map has no evidence for the finding and is drawn relative to its mean."""
        return self.lowest != 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingExamples:
    """The examples of one finding at its threshold."""

    finding: Finding
    threshold: float
    pictures: Sequence[GalleryPicture]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """All examples of a report.

    Attributes:
        points: The thresholds of the decisions.
        findings: The findings that have a threshold and an example, in the order of the report.
        left_out: Findings that would have made the page too large.
        side: Side of the pictures in pixels.
        method: Method of the maps; None without maps.
        notes: Caveats for the reader; without maps, why there are none.
        ramp: The colors of a map from the low to the high end of its scale, as a CSS gradient.
    """

    points: ThresholdSet
    findings: Sequence[FindingExamples]
    left_out: Sequence[Finding]
    side: int
    method: Method | None
    notes: Sequence[str]
    ramp: str

    @property
    def num_relative(self) -> tuple[int, int]:
        """How many maps are drawn relative to their mean, and how many are drawn."""
        drawn = [picture for group in self.findings for picture in group.pictures if picture.mapped]
        return sum(picture.relative for picture in drawn), len(drawn)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Drawn:
    """An example whose pictures are not encoded yet."""

    example: Example
    radiograph: Image.Image
    mapped: Image.Image | None
    highest: float | None = None
    lowest: float = 0.0
    method: Method | None = None


def draw_gallery(
    cohort: LabeledImages,
    probabilities: Probabilities,
    points: ThresholdSet,
    *,
    read: Callable[[Rows], PixelsBatch],
    source: MapSource | None,
    absent: str = "",
) -> Gallery:
    """Pick examples and draw them.

    Args:
        cohort: The images with their labels.
        probabilities: In [0, 1]; one column per finding of the cohort.
        points: Thresholds; a finding without one has no examples.
        read: Reads the prepared pixels of rows of the cohort.
        source: Computes the maps; None draws no maps.
        absent: Why there are no maps.

    Raises:
        RecipeError: The network does not support the method.
    """
    columns = [column for column, threshold in enumerate(points.thresholds) if threshold is not None]
    num_positive = np.sum(cohort.targets == 1, axis=0)
    chosen = sorted(sorted(columns, key=lambda column: -int(num_positive[column]))[:_MAX_FINDINGS])
    drawn: dict[int, list[_Drawn]] = {}
    for column in chosen:
        picked = pick_examples(
            cohort.targets[:, column], probabilities[:, column], threshold=points.thresholds[column] or 0.0
        )
        if picked:
            drawn[column] = _draw(picked, cohort.findings[column], read=read, source=source)
    side = _side_within_budget([example for examples in drawn.values() for example in examples])
    return Gallery(
        points=points,
        findings=[
            FindingExamples(
                finding=cohort.findings[column],
                threshold=points.thresholds[column] or 0.0,
                pictures=[
                    _encoded(example, column, cohort, probabilities, side=side) for example in examples
                ],
            )
            for column, examples in drawn.items()
        ],
        left_out=[cohort.findings[column] for column in columns if column not in chosen],
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
    pixels = read(np.array([example.row for example in picked], dtype=np.int64))
    if source is None:
        return [
            _Drawn(example=example, radiograph=_shrunk(image), mapped=None)
            for example, image in zip(picked, pixels, strict=True)
        ]
    maps = source.maps(pixels, finding)[:, 0]
    drawn = []
    for example, image, attribution in zip(picked, pixels, maps, strict=True):
        seen = source.shown(example.row)
        mapped = _mapped(example, image, attribution[seen], seen, source.method)
        if mapped.mapped is None and source.instead is not None:
            other = source.instead.maps(image[None], finding)[0, 0]
            mapped = _mapped(example, image, other[seen], seen, source.instead.method)
        drawn.append(mapped)
    return drawn


def _mapped(example: Example, image: Pixels, attribution: Attribution, seen: Shown, method: Method) -> _Drawn:
    """Draw a map over an image, from 0; from its mean where no value is above 0; not where all are equal."""
    highest = float(np.max(attribution))
    scale = Scale(0.0 if highest > 0 else float(np.mean(attribution)), highest)
    mapped = None
    if highest - scale.low > _EQUAL * max(1.0, abs(highest)):
        colors = blended(image, None, opacity=_OPACITY)
        colors[seen] = overlay(image[seen], attribution, opacity=_OPACITY, scale=scale)
        mapped = _shrunk(colors)
    return _Drawn(
        example=example,
        radiograph=_shrunk(image),
        mapped=mapped,
        highest=highest,
        lowest=scale.low,
        method=method,
    )


def _shrunk(pixels: GrayOrColor, side: int = _SIDES[0]) -> Image.Image:
    image = Image.fromarray(pixels)
    return image if image.width <= side else image.resize((side, side), Image.Resampling.BOX)


def _side_within_budget(drawn: Sequence[_Drawn]) -> int:
    """Return the largest side at which all pictures fit the budget, or the smallest side."""
    pictures = [picture for example in drawn for picture in (example.radiograph, example.mapped) if picture]
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
        lowest=drawn.lowest,
        method=drawn.method,
    )


def _data_uri(picture: Image.Image, side: int) -> str:
    content = io.BytesIO()
    sized = picture if picture.width <= side else picture.resize((side, side), Image.Resampling.BOX)
    sized.save(content, format="JPEG", quality=_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode("ascii")


def _ramp() -> str:
    """Return the colors of a map over middle gray, from 0 to its highest value, as a CSS gradient."""
    gray = np.full((1, _STOPS), 128, dtype=np.uint8)
    colors = overlay(gray, np.linspace(0, 1, _STOPS, dtype=np.float32)[None], opacity=_OPACITY)[0]
    return f"linear-gradient(90deg,{','.join('#' + bytes(color).hex() for color in colors)})"
