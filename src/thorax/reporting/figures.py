"""Figures of the report: small SVG elements, and positions in CSS, styled by the page's colors and font.

They are written as text: a plotting library takes seconds for forty of them, and each needs only a path and
a few lines. Classes name the roles that the page colors: `grid`, `wash`, `chance`, `curve`, `dot`.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from thorax.evaluation.calibration.measure import ReliabilityBin
from thorax.evaluation.curves import Band, Curves
from thorax.evaluation.decision_curves import DecisionCurve, NetBenefit, cost_ratio
from thorax.evaluation.statistics.intervals import Interval

__all__ = [
    "IntervalAxis",
    "Strip",
    "close_axis",
    "decision_svg",
    "forest_svg",
    "interval_axis",
    "precision_recall_svg",
    "reliability_svg",
    "roc_svg",
    "svg_file",
]

_LEFT: Final = 22.0
_TOP: Final = 5.0
_SIDE: Final = 116.0
"""The square that curves are drawn in, within a view box of 144 by 136."""

_FULL: Final = ((0.0, "0"), (0.5, ".5"), (1.0, "1"))
_LEAST_BENEFIT: Final = -0.25
"""The lower end of the axis of net benefits, as a share of the best."""
_MARKED_THRESHOLDS: Final = (0.01, 0.1, 0.5)
_SCALES: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
_Points = Sequence[tuple[float, float]]


def roc_svg(curves: Curves) -> str:
    """Return a small ROC figure with its band, as an SVG element without a fixed size.

    Args:
        curves: Must have the points of a ROC curve; the band is drawn if it is not empty.
    """
    return _figure(
        [_band(curves.roc_band), _line("chance", ((0.0, 0.0), (1.0, 1.0))), _line("curve", curves.roc)], _FULL
    )


def precision_recall_svg(curves: Curves, *, prevalence: float) -> str:
    """Return a small figure of precision against recall with its band; the dotted line is chance.

    Args:
        curves: Must have the points of a precision-recall curve.
        prevalence: Share of positives, in [0, 1].
    """
    chance = _line("chance", ((0.0, prevalence), (1.0, prevalence)))
    return _figure(
        [_band(curves.precision_recall_band), chance, _line("curve", curves.precision_recall)], _FULL
    )


def reliability_svg(bins: Sequence[ReliabilityBin]) -> str:
    """Return a small figure of the share of positives against mean probability, with intervals.

    Both axes end at 5, 10, 20, 50 or 100 %, so that the points of a rare finding do not crowd in a corner.

    Args:
        bins: At least one.
    """
    largest = max(max(bin_.mean_probability, bin_.share_positive.high) for bin_ in bins)
    scale = next(end for end in _SCALES if end >= largest or end == _SCALES[-1])
    marks = [_line("chance", ((0.0, 0.0), (1.0, 1.0)))]
    for bin_ in bins:
        x, share = bin_.mean_probability / scale, bin_.share_positive
        marks.append(_line("whisker", ((x, share.low / scale), (x, share.high / scale))))
        left, top = _place(x, share.value / scale)
        marks.append(f'<circle class="dot" cx="{left}" cy="{top}" r="2.6"/>')
    ticks = [(tick, f"{100 * tick * scale:.3g} %" if tick else "0") for tick in (0.0, 0.5, 1.0)]
    return _figure(marks, ticks)


def decision_svg(curve: DecisionCurve) -> str:
    """Return a small figure of net benefit against thresholds, as a share of the best that is possible.

    The dotted line decides positive for every image, the line at 0 for none; the curve ends where no image is
    called positive any more. Thresholds are spaced by the
    logarithm of their odds, which are the false positives that a true positive is worth.

    Args:
        curve: Must have points and positives.
    """
    prevalence = curve.num_positive / curve.num_known
    first, last = (math.log(1 / cost_ratio(curve.points[end].threshold)) for end in (0, -1))

    def place(threshold: float) -> float:
        return (math.log(1 / cost_ratio(threshold)) - first) / (last - first)

    def height(net_benefit: float) -> float:
        return (net_benefit / prevalence - _LEAST_BENEFIT) / (1 - _LEAST_BENEFIT)

    def band(point: NetBenefit) -> tuple[float, float, float]:
        return place(point.threshold), height(point.model.low), height(point.model.high)

    called = [k for k, point in enumerate(curve.points) if point.model.value != 0]
    points = curve.points[: max(called, default=0) + 1]  # beyond, no image is called positive
    everyone = [(place(point.threshold), height(point.treat_all.value)) for point in curve.points]
    marks = [
        _band(tuple(band(point) for point in points)),
        _line("none", ((0.0, height(0.0)), (1.0, height(0.0)))),
        _line("chance", [(x, y) for x, y in everyone if y >= 0] or everyone[:1]),
        _line("curve", [(place(point.threshold), height(point.model.value)) for point in points]),
    ]
    across = [(place(threshold), f"{100 * threshold:g} %") for threshold in _MARKED_THRESHOLDS]
    return _figure(marks, across, [(height(prevalence * share), text) for share, text in _FULL])


def _figure(
    marks: Sequence[str],
    ticks: Sequence[tuple[float, str]],
    upward: Sequence[tuple[float, str]] | None = None,
) -> str:
    """Return the figure of some marks; `upward` are the ticks of the other axis where they differ."""
    lines, labels = [], []
    for (across, text), (up, beside) in zip(ticks, upward or ticks, strict=True):
        lines += [_line("grid", ((across, 0.0), (across, 1.0))), _line("grid", ((0.0, up), (1.0, up)))]
        left, top = _place(across, up)
        labels.append(f'<text x="{left}" y="{_number(_TOP + _SIDE + 12)}" text-anchor="middle">{text}</text>')
        labels.append(
            f'<text x="{_number(_LEFT - 4)}" y="{_number(float(top) + 3)}" text-anchor="end">{beside}</text>'
        )
    elements = "".join([*lines, *marks, *labels])
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 144 136" aria-hidden="true">'
        + elements
        + "</svg>"
    )


def _band(band: Band) -> str:
    """Return the area between the ends; "" for an empty band."""
    if not band:
        return ""
    outline = [(x, high) for x, _, high in band] + [(x, low) for x, low, _ in reversed(band)]
    return f'<path class="wash" d="{_path(outline)}Z"/>'


def _line(kind: str, points: _Points) -> str:
    return f'<path class="{kind}" d="{_path(points)}"/>'


def _path(points: _Points) -> str:
    return "M" + "L".join(" ".join(_place(x, y)) for x, y in points)


def _place(x: float, y: float) -> tuple[str, str]:
    """Return the position of a point of the unit square, to 0.1 units; points outside move to the edge."""
    x, y = (min(max(coordinate, 0.0), 1.0) for coordinate in (x, y))
    return _number(_LEFT + _SIDE * x), _number(_TOP + _SIDE * (1 - y))


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


@dataclass(frozen=True, slots=True)
class Strip:
    """The position of an interval on its axis, in percent of the axis from the left."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class IntervalAxis:
    """An axis of AUCs.

    Attributes:
        start: Left end.
        end: Right end.
        ticks: Marked values and their positions, in percent from the left.
    """

    start: float
    end: float
    ticks: tuple[tuple[float, float], ...]

    def percent(self, value: float) -> float:
        """Return the position of a value, in percent of the axis from the left."""
        return round(100 * (value - self.start) / (self.end - self.start), 2)

    def strip(self, interval: Interval) -> Strip:
        """Return the position of an interval; one without ends shrinks to its value."""
        low = interval.value if math.isnan(interval.low) else interval.low
        high = interval.value if math.isnan(interval.high) else interval.high
        return Strip(self.percent(interval.value), self.percent(low), self.percent(high))


def interval_axis(intervals: Sequence[Interval]) -> IntervalAxis:
    """Return an axis from 0.5, or lower where an interval needs it, to 1; undefined intervals are ignored."""
    ends = [end for interval in intervals for end in (interval.value, interval.low) if not math.isnan(end)]
    tenths = math.floor(10 * min([0.5, *ends]) + 1e-9)
    step = 1 if tenths >= 4 else 2  # noqa: PLR2004  (more than seven labels collide on a phone)
    return _axis(tenths / 10, 1.0, [tenth / 10 for tenth in range(10, tenths - 1, -step)])


def close_axis(intervals: Sequence[Interval]) -> IntervalAxis:
    """Return the shortest axis in steps of 0.05 that holds the intervals, for similar results."""
    ends = [
        end
        for interval in intervals
        for end in (interval.value, interval.low, interval.high)
        if not math.isnan(end)
    ] or [0.5, 1.0]
    first, last = math.floor(20 * min(ends) + 1e-9), math.ceil(20 * max(ends) - 1e-9)
    last = max(last, first + 1)
    return _axis(first / 20, last / 20, [twentieth / 20 for twentieth in range(last, first - 1, -1)])


def _axis(start: float, end: float, falling: Sequence[float]) -> IntervalAxis:
    bare = IntervalAxis(start=start, end=end, ticks=())
    return IntervalAxis(start, end, tuple((mark, bare.percent(mark)) for mark in reversed(falling)))


# ---- figures for notebooks: larger, with their own labels --------------------------------------

_ROW: Final = 20.0
"""Height of a row of a forest plot."""

_COLUMNS: Final = (172.0, 448.0, 462.0)
"""Left and right end of the axis of a forest plot, and left end of its numbers."""


def forest_svg(rows: Sequence[tuple[str, Interval]], total: tuple[str, Interval], axis: IntervalAxis) -> str:
    """Return a forest plot: one row per AUC, with its name on the left and its numbers on the right.

    Args:
        rows: Names and intervals, from top to bottom; an undefined interval is shown as "n/a".
        total: Name and interval of their mean, which is the last row.
        axis: The axis of the AUCs, with a dotted line at 0.5.
    """
    bottom = _ROW * (len(rows) + 1) + 4
    chance, above_total = _number(_along(axis.percent(0.5))), _number(_ROW * len(rows) + 2)
    marks = [
        f'<path class="chance" d="M{chance} 0V{_number(bottom)}"/>',
        f'<path class="grid" d="M0 {above_total}H600"/>',
    ]
    for value, percent in axis.ticks:
        x = _number(_along(percent))
        marks.append(f'<path class="grid" d="M{x} 0V{_number(bottom)}"/>')
        marks.append(f'<text x="{x}" y="{_number(bottom + 13)}" text-anchor="middle">{value:.3g}</text>')
    for number, (name, interval) in enumerate([*rows, total]):
        y = _ROW * number + _ROW / 2 + 2
        below = _number(y + 4)
        marks.append(f'<text x="0" y="{below}">{escape(name)}</text>')
        marks.append(
            f'<text x="{_number(_COLUMNS[2])}" y="{below}">{escape(_interval_text(interval))}</text>'
        )
        if interval.exists:
            strip = axis.strip(interval)
            low, high, middle = (_number(_along(end)) for end in (strip.low, strip.high, strip.value))
            marks.append(f'<path class="whisker" d="M{low} {_number(y)}H{high}"/>')
            marks.append(f'<circle class="dot" cx="{middle}" cy="{_number(y)}" r="3.5"/>')
    return _svg(600.0, bottom + 18, marks)


def _interval_text(interval: Interval) -> str:
    return f"{interval.value:.3f} ({interval.ends})" if interval.exists else "n/a"


def _along(percent: float) -> float:
    start, end, _ = _COLUMNS
    return start + (end - start) * min(max(percent, 0.0), 100.0) / 100


_FILE_STYLE: Final = (
    "text{fill:#5a6672;font:12px system-ui,sans-serif}text.named,.dot{fill:#0a6a94}text.other{fill:#b4550f}"
    "path{fill:none;stroke-linejoin:round}.grid{stroke:#dde2e7}.chance{stroke:#5a6672;stroke-dasharray:2 3}"
    ".curve,.whisker{stroke:#0a6a94;stroke-width:2}.curve.other{stroke:#b4550f}.wash{fill:#cfe4ee}"
    ".dot.other{fill:#b4550f}"
)
"""The report's light colors: a file has no page to take them from."""

_MARGIN: Final = 12.0


def svg_file(svg: str) -> str:
    """Return a figure as the text of a file: with colors and fonts of its own, on white, with a margin.

    Args:
        svg: A figure of this module that has a size.
    """
    head, _, marks = svg.partition(">")
    width, height = (float(number) + 2 * _MARGIN for number in _SIZE.findall(head)[:2])
    box = f"{_number(-_MARGIN)} {_number(-_MARGIN)} {_number(width)} {_number(height)}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_number(width)}" height="{_number(height)}" '
        f'viewBox="{box}"><style>{_FILE_STYLE}</style>'
        f'<rect x="{_number(-_MARGIN)}" y="{_number(-_MARGIN)}" width="100%" height="100%" fill="#fff"/>'
        f"{marks}\n"
    )


_SIZE: Final = re.compile(r'(?:width|height)="([\d.]+)"')


def _svg(width: float, height: float, marks: Sequence[str]) -> str:
    size = f'width="{_number(width)}" height="{_number(height)}"'
    box = f'viewBox="0 0 {_number(width)} {_number(height)}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {box}>{"".join(marks)}</svg>'
