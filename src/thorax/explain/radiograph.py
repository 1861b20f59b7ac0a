"""The explanation of one radiograph: maps at its own resolution, with their peaks and boxes.

Peaks and boxes lie in the radiograph, never in the bars that pad it to a square.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from thorax.arrays import Attribution
from thorax.boxes import Box
from thorax.evaluation.localization.regions import box_around, highest_pixels, region
from thorax.explain.explainers import Explainer, Method
from thorax.explain.geometry import box_on_radiograph, map_on_radiograph
from thorax.explain.overlay import Scale
from thorax.explain.picture import Panel
from thorax.findings import Finding, Findings
from thorax.imaging import map_box, prepare
from thorax.prediction import FindingPrediction, ModelIdentity
from thorax.radiograph import Radiograph
from thorax.recipe.schema import Preparation
from thorax.wording import three_digits

__all__ = ["Explained", "explain_radiograph", "inside", "picture_heading", "side_by_side", "silent_notes"]

_COLUMNS: Final = 4
"""Most panels in a picture of one row; more panels take two rows."""

_UNITS: Final[dict[Method, str]] = {
    "cam": "logits",
    "hirescam": "logits",
    "occlusion": "logits",
    "rise": "logits",
    "integrated-gradients": "logits per pixel",
    "smooth-grad": "logits per gray value",
    "rollout": "of the attention",
}
"""Units of the values of maps; those of the other methods have none."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explained:
    """The explanation of one finding by one method.

    Attributes:
        finding: The finding.
        method: The method.
        attribution: The map at the radiograph's resolution, or reduced; NaN where the network saw nothing.
        highest: The map's maximum within the radiograph, in the method's unit.
        mean: Its mean within the radiograph.
        place: x and y of the maximum, in pixels of the radiograph; of several, the one closest to their mean.
            None if the map has no evidence for the finding.
        box: The box around the region that contains it; None likewise.
    """

    finding: Finding
    method: Method
    attribution: Attribution
    highest: float
    mean: float
    place: tuple[float, float] | None
    box: Box | None

    @property
    def unit(self) -> str:
        """The unit of the map's values; "" if they have none."""
        return _UNITS.get(self.method, "")


def explain_radiograph(  # noqa: PLR0913  (what is explained, how, and four options)
    explainer: Explainer,
    radiograph: Radiograph,
    findings: Findings,
    *,
    methods: Sequence[Method],
    level: float = 0.5,
    seed: int = 0,
    largest: int | None = None,
) -> list[Explained]:
    """Explain findings in one radiograph: for each finding, each method.

    Args:
        explainer: The explainer of a bundle.
        radiograph: The radiograph.
        findings: Some of the bundle's findings.
        methods: The methods.
        level: Fraction of the map's maximum at which its region begins.
        seed: Seed of the random methods.
        largest: Longest side of the maps, which are reduced with the radiograph by `overlay.resized`; None:
            those of the radiograph. Places and boxes are in its own pixels in either case.

    Raises:
        DataError: The bundle does not predict one of the findings.
        RecipeError: A network does not support a method.
    """
    preparation = explainer.bundle.manifest.preparation
    pixels = prepare(radiograph, preparation)[None]
    maps = {method: explainer.maps(pixels, findings, method=method, seed=seed)[0] for method in methods}
    return [
        _explained(
            finding, method, maps[method][column], radiograph, preparation, level=level, largest=largest
        )
        for column, finding in enumerate(findings)
        for method in methods
    ]


def inside(height: int, width: int, preparation: Preparation) -> tuple[slice, slice]:
    """Return the rows and columns of a prepared square that show the image, and not the bars that pad it.

    Args:
        height: Rows of the image.
        width: Columns of the image.
        preparation: How it was prepared.
    """
    whole = Box(0.0, 0.0, float(width), float(height))
    x, y, across, down = map_box(whole, height=height, width=width, preparation=preparation)
    return slice(round(y), round(y + down)), slice(round(x), round(x + across))


def _explained(  # noqa: PLR0913  (a map, its image, and two options)
    finding: Finding,
    method: Method,
    attribution: Attribution,
    radiograph: Radiograph,
    preparation: Preparation,
    *,
    level: float,
    largest: int | None,
) -> Explained:
    height, width = radiograph.pixels.shape
    factor = 1.0 if largest is None else min(1.0, largest / max(height, width))
    rows, columns = inside(height, width, preparation)
    seen = attribution[rows, columns]

    def on_radiograph(box: Box) -> Box:
        moved = Box(box.x + columns.start, box.y + rows.start, box.width, box.height)
        return box_on_radiograph(moved, height=height, width=width, preparation=preparation)

    box = box_around(region(seen, level=level))
    x, y, _, _ = on_radiograph(Box(*_peak(seen), 0.0, 0.0))
    return Explained(
        finding=finding,
        method=method,
        attribution=map_on_radiograph(
            attribution,
            height=max(1, round(factor * height)),
            width=max(1, round(factor * width)),
            preparation=preparation,
        ),
        highest=float(np.max(seen)),
        mean=float(np.mean(seen)),
        place=None if box is None else (x, y),
        box=None if box is None else on_radiograph(box),
    )


def silent_notes(explanations: Sequence[Explained], *, has_weights: bool) -> list[str]:
    """Return a note on the maps that have nothing above 0, as a sentence without a period; none: no note.

    Args:
        explanations: The result of `explain_radiograph`.
        has_weights: Whether the bundle has weights, so that other methods can be advised.
    """
    silent = [explanation for explanation in explanations if explanation.place is None]
    names = dict.fromkeys(f"{explanation.finding.label} ({explanation.method})" for explanation in silent)
    tried = any(explanation.method == "layer-cam" for explanation in explanations)
    advice = "; try method layer-cam" if has_weights and not tried else ""
    return [f"no location in the image supports {', '.join(names)}{advice}"] if names else []


def picture_heading(source: str, model: ModelIdentity) -> tuple[str, ...]:
    """Return the lines above a picture: the file, the model, and what neither may be used for.

    Args:
        source: Path or name of the image; its folders are left out, since they may name patients.
        model: The model.
    """
    identity = f"Model {model.name}, bundle {model.bundle_sha256[:8]}. Research use only, not for diagnosis."
    stated = (f"{model.statement[0].upper()}{model.statement[1:]}.",) if model.statement else ()
    return (source.replace("\\", "/").rsplit("/", 1)[-1], identity, *stated)


def side_by_side(
    explanations: Sequence[Explained], radiograph: Radiograph, predicted: Sequence[FindingPrediction]
) -> tuple[list[Panel], int]:
    """Return the radiograph and its maps as panels, and the number of panels per row.

    Maps by the same method share a scale. Several findings by several methods get one row per finding, which
    begins with the radiograph, or half as many rows of two.

    Args:
        explanations: The result of `explain_radiograph`.
        radiograph: The radiograph.
        predicted: The predictions of their findings.
    """
    height, width = radiograph.pixels.shape
    view = f", {radiograph.view} view" if radiograph.view else ""
    plain = Panel(caption=["Radiograph", f"{width} x {height} pixels{view}"], attribution=None)
    by_finding = {prediction.finding: prediction for prediction in predicted}
    maps = [
        _panel(explanation, explanations, by_finding[explanation.finding]) for explanation in explanations
    ]
    num_methods = len({explanation.method for explanation in explanations})
    if num_methods in {1, len(explanations)}:
        panels = [plain, *maps]
        return panels, len(panels) if len(panels) <= _COLUMNS else -(-len(panels) // 2)
    rows = [maps[first : first + num_methods] for first in range(0, len(maps), num_methods)]
    return [panel for row in rows for panel in (plain, *row)], (1 + num_methods) * -(-len(rows) // 2)


def _panel(explained: Explained, all_maps: Sequence[Explained], predicted: FindingPrediction) -> Panel:
    label, probability, threshold, decision = predicted.as_texts()
    decided = f"threshold {threshold}: {decision}" if predicted.threshold is not None else "no threshold"
    alike = [
        other
        for other in all_maps
        if other.method == explained.method and (other.place is None) == (explained.place is None)
    ]
    if explained.place is None:
        supported = f"no location supports it (highest {three_digits(explained.highest)})"
        # Of several, the widest scale: every map keeps its own mean as the low end.
        span = max(other.highest - other.mean for other in alike)
        scale = Scale(explained.mean, explained.mean + span)
        note = "drawn relative to its own mean, at the left end" if span > 0 else "the same everywhere"
    else:
        supported = "highest {} at x {:.0f}, y {:.0f}".format(
            three_digits(explained.highest), *explained.place
        )
        scale = Scale(0.0, max(other.highest for other in alike))
        note = f"one scale for these {len(alike)} maps" if len(alike) > 1 else ""
    return Panel(
        caption=[f"{label} {probability}, {decided}", f"{explained.method}: {supported}"],
        attribution=explained.attribution,
        scale=scale,
        unit=explained.unit,
        note=note,
        box=explained.box,
    )


def _peak(attribution: Attribution) -> tuple[float, float]:
    """Return x and y of the maximum; of several, those of the one closest to their mean."""
    maxima = highest_pixels(attribution)
    distances = np.hypot(*(maxima - np.mean(maxima, axis=0)).T)
    x, y = maxima[int(np.argmin(distances))].tolist()
    return x, y
