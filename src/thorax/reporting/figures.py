"""Figures of the report: pieces of SVG and positions that the page's own colours and font apply to.

matplotlib takes more than a second to import, and is imported where a figure is drawn.
"""

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from thorax.evaluation.intervals import Interval

__all__ = ["IntervalAxis", "Strip", "interval_axis", "roc_svg"]

_SIDE: Final = 2.0
"""Side of a small ROC figure in inches of 72 units; the page scales it to its column."""

# matplotlib writes colours as numbers; each of these stands for a colour that the page names, so that one
# figure serves light and dark.
_PAGE_COLOURS: Final = {
    "#010101": "var(--muted)",
    "#020202": "var(--grid)",
    "#030303": "var(--accent)",
    "#040404": "var(--wash)",
}
_MUTED, _GRID, _ACCENT, _WASH = _PAGE_COLOURS


def roc_svg(points: Sequence[tuple[float, float]]) -> str:
    """Return a small ROC figure as an SVG element without a size of its own.

    The same points give the same text: no date, no random identifier, no setting of the user's.

    Args:
        points: False positive rate and sensitivity, from (0, 0) to (1, 1).
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "thorax", "font.size": 9.5})
        figure = Figure(figsize=(_SIDE, _SIDE), dpi=72, facecolor="none")
        axes = figure.add_axes((0.15, 0.15, 0.82, 0.82), facecolor="none")
        axes.set(xlim=(0, 1), ylim=(0, 1))
        axes.set_xticks([0, 0.5, 1], ["0", ".5", "1"], color=_MUTED)
        axes.set_yticks([0, 0.5, 1], ["0", ".5", "1"], color=_MUTED)
        axes.tick_params(length=0, pad=4)
        axes.grid(visible=True, color=_GRID, linewidth=0.75, clip_on=False)
        axes.set_axisbelow(True)
        for spine in axes.spines.values():
            spine.set_visible(False)
        false_positive_rate, sensitivity = zip(*points, strict=True)
        # A filled outline, not fill_between: that one is written as a shared definition with a name.
        axes.fill(
            [*false_positive_rate, 1], [*sensitivity, 0], facecolor=_WASH, edgecolor="none", clip_on=False
        )
        axes.plot([0, 1], [0, 1], color=_MUTED, linewidth=0.9, linestyle=(0, (2, 3)), clip_on=False)
        axes.plot(false_positive_rate, sensitivity, color=_ACCENT, linewidth=1.8, clip_on=False)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    return _for_the_page(text.getvalue())


def _for_the_page(svg: str) -> str:
    """Return matplotlib's SVG as part of a page: no prologue, no font, no size, no names that clash."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style.*?</style>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r' font-family: [^;"]*;', "", svg)
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    # Nothing refers to a group by name, and fourteen figures on one page would repeat each name.
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = svg.replace("<svg", '<svg aria-hidden="true"', 1)
    for colour, name in _PAGE_COLOURS.items():
        svg = svg.replace(colour, name)
    return svg


@dataclass(frozen=True, slots=True)
class Strip:
    """Where an interval lies on its axis, in per cent of the axis from the left."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class IntervalAxis:
    """An axis of AUC that ends at 1 and shows chance, 0.5.

    Attributes:
        start: Left end, a multiple of a tenth, at most 0.5.
        ticks: Marked values and where they lie, in per cent from the left.
    """

    start: float
    ticks: tuple[tuple[float, float], ...]

    def percent(self, value: float) -> float:
        """Return where a value lies, in per cent of the axis from the left."""
        return round(100 * (value - self.start) / (1 - self.start), 2)

    def strip(self, interval: Interval) -> Strip:
        """Return where an interval lies; one without ends is drawn as its value alone."""
        low = interval.value if math.isnan(interval.low) else interval.low
        high = interval.value if math.isnan(interval.high) else interval.high
        return Strip(self.percent(interval.value), self.percent(low), self.percent(high))


def interval_axis(intervals: Sequence[Interval]) -> IntervalAxis:
    """Return an axis that holds all the intervals that exist, from 0.5 or lower up to 1."""
    ends = [end for each in intervals for end in (each.value, each.low) if not math.isnan(end)]
    tenths = math.floor(10 * min([0.5, *ends]) + 1e-9)
    axis = IntervalAxis(start=tenths / 10, ticks=())
    step = 1 if tenths >= 4 else 2  # noqa: PLR2004  (more than seven labels collide on a phone)
    marked = [tenth / 10 for tenth in range(10, tenths - 1, -step)]
    return IntervalAxis(
        start=axis.start, ticks=tuple((mark, axis.percent(mark)) for mark in reversed(marked))
    )
