"""One radiograph explained: maps at its own resolution, with the place and the box that each points at."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from thorax.arrays import Attribution
from thorax.boxes import Box
from thorax.evaluation.localization.regions import box_around, highest_places, region
from thorax.explain.geometry import box_on_radiograph, map_on_radiograph
from thorax.explain.methods import Explainer, Method
from thorax.explain.overlay import Panel
from thorax.findings import Finding, Findings
from thorax.imaging import prepare
from thorax.radiograph import Radiograph

__all__ = ["Explained", "explain_radiograph", "side_by_side"]

_COLUMNS: Final = 4
"""Panels side by side, where nothing else orders them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explained:
    """Where one method sees one finding.

    Attributes:
        finding: The finding.
        method: The method.
        attribution: The map at the radiograph's resolution; NaN where the net saw nothing.
        highest: The map's largest value in the prepared image, in the method's unit.
        place: x and y of its highest place, in pixels of the radiograph; of several, the one nearest to their
            middle. None where nothing speaks for the finding.
        box: The box around the region that holds it; None likewise.
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
        explainer: Of a bundle.
        radiograph: Any radiograph.
        findings: Some of the bundle's.
        methods: Which methods.
        level: Part of the map's height that its region begins at.
        seed: Of methods that draw.

    Raises:
        DataError: The bundle does not know one of the findings.
        RecipeError: A method does not go with a net.
    """
    preparation = explainer.bundle.manifest.preparation
    pixels = prepare(radiograph, preparation)[None]
    maps = {method: explainer.maps(pixels, findings, method=method, seed=seed)[0] for method in methods}
    height, width = radiograph.pixels.shape

    def carried(box: Box) -> Box:
        return box_on_radiograph(box, height=height, width=width, preparation=preparation)

    found = []
    for column, finding in enumerate(findings):
        for method in methods:
            attribution = maps[method][column]
            around = box_around(region(attribution, level=level))
            x, y, _, _ = carried(Box(*_highest_place(attribution), 0.0, 0.0))
            found.append(
                Explained(
                    finding=finding,
                    method=method,
                    attribution=map_on_radiograph(
                        attribution, height=height, width=width, preparation=preparation
                    ),
                    highest=float(np.max(attribution)),
                    place=None if around is None else (x, y),
                    box=None if around is None else carried(around),
                )
            )
    return found


def side_by_side(found: Sequence[Explained]) -> tuple[list[Panel], int]:
    """Return maps as panels beside the radiograph, and how many of them stand side by side.

    Several findings by several methods get a row for each finding, which begins with the radiograph.

    Args:
        found: What `explain_radiograph` returned.
    """
    plain = Panel(caption="Radiograph", attribution=None)
    maps = [
        Panel(caption=f"{each.finding.label}, {each.method}", attribution=each.attribution, box=each.box)
        for each in found
    ]
    num_methods = len({each.method for each in found})
    if num_methods in {1, len(found)}:
        return [plain, *maps], min(_COLUMNS, 1 + len(maps))
    rows = [maps[first : first + num_methods] for first in range(0, len(maps), num_methods)]
    return [panel for row in rows for panel in (plain, *row)], 1 + num_methods


def _highest_place(attribution: Attribution) -> tuple[float, float]:
    places = highest_places(attribution)
    distances = np.hypot(*(places - np.mean(places, axis=0)).T)
    x, y = places[int(np.argmin(distances))].tolist()
    return x, y
