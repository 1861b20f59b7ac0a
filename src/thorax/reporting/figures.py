"""Figures of the report: small SVG elements and positions that the page's own colours and font apply to.

They are written as text: forty of them take a drawing library seconds, and a page wants no more than a path
and a few lines of each. Classes name what the page gives a colour: `grid`, `wash`, `chance`, `curve`, `dot`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from thorax.evaluation.calibration.measure import ReliabilityBin
from thorax.evaluation.curves import Band, Curves
from thorax.evaluation.statistics.intervals import Interval

__all__ = [
    "IntervalAxis",
    "Strip",
    "close_axis",
    "interval_axis",
    "precision_recall_svg",
    "reliability_svg",
    "roc_svg",
]

_LEFT: Final = 22.0
_TOP: Final = 5.0
_SIDE: Final = 116.0
"""The square that curves are drawn in, within a view box of 144 by 144."""

_FULL: Final = ((0.0, "0"), (0.5, ".5"), (1.0, "1"))
_SCALES: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
_Points = Sequence[tuple[float, float]]


def roc_svg(curves: Curves) -> str:
    """Return a small ROC figure with its band, as an SVG element without a size of its own.

    Args:
        curves: With the points of a ROC curve; without a band none is drawn.
    """
    return _figure(
        [_band(curves.roc_band), _line("chance", ((0.0, 0.0), (1.0, 1.0))), _line("curve", curves.roc)], _FULL
    )


def precision_recall_svg(curves: Curves, *, prevalence: float) -> str:
    """Return a small figure of precision against recall with its band; the dotted line is guessing.

    Args:
        curves: With the points of a precision-recall curve.
        prevalence: Share of positives, in [0, 1].
    """
    chance = _line("chance", ((0.0, prevalence), (1.0, prevalence)))
    return _figure(
        [_band(curves.precision_recall_band), chance, _line("curve", curves.precision_recall)], _FULL
    )


def reliability_svg(bins: Sequence[ReliabilityBin]) -> str:
    """Return a small figure: share that has the finding against mean probability, with intervals.

    Both axes end at 5, 10, 20, 50 or 100 %, so that a rare finding is not drawn in a corner.

    Args:
        bins: At least one.
    """
    reach = max(max(each.mean_probability, each.share_positive.high) for each in bins)
    scale = next(each for each in _SCALES if each >= reach or each == _SCALES[-1])
    marks = [_line("chance", ((0.0, 0.0), (1.0, 1.0)))]
    for each in bins:
        x, share = each.mean_probability / scale, each.share_positive
        marks.append(_line("whisker", ((x, share.low / scale), (x, share.high / scale))))
        left, top = _place(x, share.value / scale)
        marks.append(f'<circle class="dot" cx="{left}" cy="{top}" r="2.6"/>')
    ticks = [(each, f"{100 * each * scale:.3g}%" if each else "0") for each in (0.0, 0.5, 1.0)]
    return _figure(marks, ticks)


def _figure(marks: Sequence[str], ticks: Sequence[tuple[float, str]]) -> str:
    lines = [
        part
        for position, _ in ticks
        for part in (
            _line("grid", ((position, 0.0), (position, 1.0))),
            _line("grid", ((0.0, position), (1.0, position))),
        )
    ]
    labels = []
    for position, text in ticks:
        left, top = _place(position, position)
        labels.append(f'<text x="{left}" y="{_number(_TOP + _SIDE + 12)}" text-anchor="middle">{text}</text>')
        labels.append(
            f'<text x="{_number(_LEFT - 4)}" y="{_number(float(top) + 3)}" text-anchor="end">{text}</text>'
        )
    inside = "".join([*lines, *marks, *labels])
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 144 136" aria-hidden="true">'
        + inside
        + "</svg>"
    )


def _band(band: Band) -> str:
    """Return the area between the ends; "" without any."""
    if not band:
        return ""
    outline = [(x, high) for x, _, high in band] + [(x, low) for x, low, _ in reversed(band)]
    return f'<path class="wash" d="{_path(outline)}Z"/>'


def _line(kind: str, points: _Points) -> str:
    return f'<path class="{kind}" d="{_path(points)}"/>'


def _path(points: _Points) -> str:
    return "M" + "L".join(" ".join(_place(x, y)) for x, y in points)


def _place(x: float, y: float) -> tuple[str, str]:
    """Return where a point of the unit square lies, to a tenth of a unit; what is outside is on its edge."""
    x, y = (min(max(each, 0.0), 1.0) for each in (x, y))
    return _number(_LEFT + _SIDE * x), _number(_TOP + _SIDE * (1 - y))


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


@dataclass(frozen=True, slots=True)
class Strip:
    """Where an interval lies on its axis, in per cent of the axis from the left."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class IntervalAxis:
    """An axis of AUCs.

    Attributes:
        start: Left end.
        end: Right end.
        ticks: Marked values and where they lie, in per cent from the left.
    """

    start: float
    end: float
    ticks: tuple[tuple[float, float], ...]

    def percent(self, value: float) -> float:
        """Return where a value lies, in per cent of the axis from the left."""
        return round(100 * (value - self.start) / (self.end - self.start), 2)

    def strip(self, interval: Interval) -> Strip:
        """Return where an interval lies; one without ends is drawn as its value alone."""
        low = interval.value if math.isnan(interval.low) else interval.low
        high = interval.value if math.isnan(interval.high) else interval.high
        return Strip(self.percent(interval.value), self.percent(low), self.percent(high))


def interval_axis(intervals: Sequence[Interval]) -> IntervalAxis:
    """Return an axis that holds all the intervals that exist, from 0.5 or lower up to 1."""
    ends = [end for each in intervals for end in (each.value, each.low) if not math.isnan(end)]
    tenths = math.floor(10 * min([0.5, *ends]) + 1e-9)
    step = 1 if tenths >= 4 else 2  # noqa: PLR2004  (more than seven labels collide on a phone)
    return _axis(tenths / 10, 1.0, [tenth / 10 for tenth in range(10, tenths - 1, -step)])


def close_axis(intervals: Sequence[Interval]) -> IntervalAxis:
    """Return an axis of whole steps of .05 just around the intervals, for results that are much alike."""
    ends = [
        end for each in intervals for end in (each.value, each.low, each.high) if not math.isnan(end)
    ] or [0.5, 1.0]
    first, last = math.floor(20 * min(ends) + 1e-9), math.ceil(20 * max(ends) - 1e-9)
    last = max(last, first + 1)
    return _axis(first / 20, last / 20, [twentieth / 20 for twentieth in range(last, first - 1, -1)])


def _axis(start: float, end: float, falling: Sequence[float]) -> IntervalAxis:
    bare = IntervalAxis(start=start, end=end, ticks=())
    return IntervalAxis(start, end, tuple((mark, bare.percent(mark)) for mark in reversed(falling)))
