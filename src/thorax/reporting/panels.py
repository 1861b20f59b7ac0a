"""A grid of small figures, written as SVG: one column for each thing that varies, one row for each measure.

All figures of a row share their axis, so that columns can be compared at a glance.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from thorax.evaluation.statistics.intervals import Interval

__all__ = ["PanelColumn", "PanelRow", "panels_svg"]

_LEFT: Final = 40.0
_TOP: Final = 26.0
_HEIGHT: Final = 108.0
_ACROSS: Final = 10.0
_DOWN: Final = 50.0
_INSET: Final = 10.0
_SMALL: Final = 'style="font-size:10.5px"'
"""Ticks and titles of a column: a page's own size would make them run into each other."""


@dataclass(frozen=True, slots=True)
class PanelColumn:
    """A column of figures.

    Attributes:
        title: What varies, with its unit.
        ticks: Its values as text, from left to right.
    """

    title: str
    ticks: Sequence[str]


@dataclass(frozen=True, slots=True)
class PanelRow:
    """A row of figures.

    Attributes:
        title: What is measured.
        points: One interval per tick of each column; one that does not exist is left out.
        scale: Factor from values to what the axis shows: 100 for percent.
    """

    title: str
    points: Sequence[Sequence[Interval]]
    scale: float = 1.0


def panels_svg(columns: Sequence[PanelColumn], rows: Sequence[PanelRow], *, panel_width: float = 92.0) -> str:
    """Return the grid as an SVG element with its size; the dotted line of each figure is 0.

    Args:
        columns: At least one.
        rows: At least one, each with points for every column.
        panel_width: Width of one figure.
    """
    marks = []
    for number, row in enumerate(rows):
        top = _TOP + 18 + number * (_HEIGHT + _DOWN)
        # Of several rows, each has its title, and all share those of the columns above them.
        title_at, columns_at = (12.0, top - 8) if len(rows) == 1 else (top - 12, 12.0)
        marks.append(f'<text x="0" y="{_number(title_at)}">{escape(row.title)}</text>')
        axis = _axis([interval for points in row.points for interval in points])
        for place, (column, points) in enumerate(zip(columns, row.points, strict=True)):
            left = _LEFT + place * (panel_width + _ACROSS)
            marks += _panel(column, points, axis, left=left, top=top, across=panel_width)
            if place == 0:
                marks += _labels(axis, row.scale, left=left, top=top)
            if number == 0:
                at = f'x="{_number(left + panel_width / 2)}" y="{_number(columns_at)}" text-anchor="middle"'
                marks.append(f"<text {at} {_SMALL}>{escape(column.title)}</text>")
    width = _LEFT + len(columns) * (panel_width + _ACROSS)
    height = _TOP + 18 + len(rows) * (_HEIGHT + _DOWN) - _DOWN + 18
    size = f'width="{_number(width)}" height="{_number(height)}"'
    box = f'viewBox="0 0 {_number(width)} {_number(height)}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {box}>{"".join(marks)}</svg>'


@dataclass(frozen=True, slots=True)
class _Axis:
    low: float
    high: float
    ticks: tuple[float, ...]

    def place(self, value: float) -> float:
        """Return a position from 0 (low) to 1 (high)."""
        return (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)


def _axis(intervals: Sequence[Interval]) -> _Axis:
    """Return an axis with 0 and all intervals on it, and three to six round ticks."""
    ends = [0.0]
    for interval in intervals:
        ends += [end for end in (interval.value, interval.low, interval.high) if not math.isnan(end)]
    low, high = min(ends), max(ends)
    if high - low < 1e-6:  # noqa: PLR2004  (nothing changed)
        low, high = -0.01, 0.01
    power = 10.0 ** math.floor(math.log10((high - low) / 3))
    step = max(power * factor for factor in (1, 2, 5) if power * factor <= (high - low) / 2)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return _Axis(first * step, last * step, tuple(number * step for number in range(first, last + 1)))


def _panel(
    column: PanelColumn, points: Sequence[Interval], axis: _Axis, *, left: float, top: float, across: float
) -> list[str]:
    def down(value: float) -> str:
        return _number(top + _HEIGHT * (1 - axis.place(value)))

    marks = []
    for value in axis.ticks:
        line = "chance" if value == 0 else "grid"
        marks.append(f'<path class="{line}" d="M{_number(left)} {down(value)}h{_number(across)}"/>')
    step = (across - 2 * _INSET) / max(len(column.ticks) - 1, 1)
    for number, (tick, interval) in enumerate(zip(column.ticks, points, strict=True)):
        x = _number(left + _INSET + number * step)
        below = _number(top + _HEIGHT + 14)
        marks.append(f'<text x="{x}" y="{below}" text-anchor="middle" {_SMALL}>{escape(tick)}</text>')
        if not interval.exists:
            continue
        if not math.isnan(interval.low):
            marks.append(f'<path class="whisker" d="M{x} {down(interval.low)}V{down(interval.high)}"/>')
        marks.append(f'<circle class="dot" cx="{x}" cy="{down(interval.value)}" r="3"/>')
    return marks


def _labels(axis: _Axis, scale: float, *, left: float, top: float) -> list[str]:
    texts = []
    for tick in axis.ticks:
        y = _number(top + _HEIGHT * (1 - axis.place(tick)) + 4)
        text = f"{round(tick * scale, 9) + 0.0:g}"
        texts.append(f'<text x="{_number(left - 6)}" y="{y}" text-anchor="end" {_SMALL}>{text}</text>')
    return texts


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
