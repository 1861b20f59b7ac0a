"""The explanation of one radiograph: maps at its own resolution, with their peaks and boxes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from thorax.arrays import Attribution
from thorax.boxes import Box
from thorax.evaluation.localization.regions import box_around, highest_pixels, region
from thorax.explain.explainers import Explainer, Method
from thorax.explain.geometry import box_on_radiograph, map_on_radiograph
from thorax.explain.overlay import Panel
from thorax.findings import Finding, Findings
from thorax.imaging import prepare
from thorax.radiograph import Radiograph

__all__ = ["Explained", "explain_radiograph", "side_by_side", "silent_notes"]

_COLUMNS: Final = 4
"""Panels per row, if findings and methods do not determine it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explained:
    """The explanation of one finding by one method.

    Attributes:
        finding: The finding.
        method: The method.
        attribution: The map at the radiograph's resolution; NaN where the network saw nothing.
        highest: The map's maximum in the prepared image, in the method's unit.
        place: x and y of the maximum, in pixels of the radiograph; of several, the one closest to their mean.
            None if the map has no evidence for the finding.
        box: The box around the region that contains it; None likewise.
    """

    finding: Finding
    method: Method
    attribution: Attribution
    highest: float
    place: tuple[float, float] | None
    box: Box | None


def explain_radiograph(
    explainer: Explainer,
    radiograph: Radiograph,
    findings: Findings,
    *,
    methods: Sequence[Method],
    level: float = 0.5,
    seed: int = 0,
) -> list[Explained]:
    """Explain findings in one radiograph: for each finding, each method.

    Args:
        explainer: The explainer of a bundle.
        radiograph: The radiograph.
        findings: Some of the bundle's findings.
        methods: The methods.
        level: Fraction of the map's maximum at which its region begins.
        seed: Seed of the random methods.

    Raises:
        DataError: The bundle does not predict one of the findings.
        RecipeError: A network does not support a method.
    """
    preparation = explainer.bundle.manifest.preparation
    pixels = prepare(radiograph, preparation)[None]
    maps = {method: explainer.maps(pixels, findings, method=method, seed=seed)[0] for method in methods}
    height, width = radiograph.pixels.shape

    def on_radiograph(box: Box) -> Box:
        return box_on_radiograph(box, height=height, width=width, preparation=preparation)

    explanations = []
    for column, finding in enumerate(findings):
        for method in methods:
            attribution = maps[method][column]
            box = box_around(region(attribution, level=level))
            x, y, _, _ = on_radiograph(Box(*_peak(attribution), 0.0, 0.0))
            explanations.append(
                Explained(
                    finding=finding,
                    method=method,
                    attribution=map_on_radiograph(
                        attribution, height=height, width=width, preparation=preparation
                    ),
                    highest=float(np.max(attribution)),
                    place=None if box is None else (x, y),
                    box=None if box is None else on_radiograph(box),
                )
            )
    return explanations


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


def side_by_side(explanations: Sequence[Explained]) -> tuple[list[Panel], int]:
    """Return the radiograph and its maps as panels, and the number of panels per row.

    Several findings by several methods get one row per finding, which begins with the radiograph.

    Args:
        explanations: The result of `explain_radiograph`.
    """
    plain = Panel(caption="Radiograph", attribution=None)
    maps = [
        Panel(
            caption=f"{explanation.finding.label}, {explanation.method}",
            attribution=explanation.attribution,
            box=explanation.box,
        )
        for explanation in explanations
    ]
    num_methods = len({explanation.method for explanation in explanations})
    if num_methods in {1, len(explanations)}:
        return [plain, *maps], min(_COLUMNS, 1 + len(maps))
    rows = [maps[first : first + num_methods] for first in range(0, len(maps), num_methods)]
    return [panel for row in rows for panel in (plain, *row)], 1 + num_methods


def _peak(attribution: Attribution) -> tuple[float, float]:
    """Return x and y of the maximum; of several, those of the one closest to their mean."""
    maxima = highest_pixels(attribution)
    distances = np.hypot(*(maxima - np.mean(maxima, axis=0)).T)
    x, y = maxima[int(np.argmin(distances))].tolist()
    return x, y
