"""Small figures over time: shares of weeks with their intervals, and objects of days."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Final

from thorax.evaluation.statistics.intervals import Interval

__all__ = ["daily_svg", "weekly_svg"]

_WIDTH: Final = 160.0
_HEIGHT: Final = 64.0
_LEFT: Final = 26.0
_TOP: Final = 6.0
_SCALES: Final = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_ACROSS: Final = 640.0
_DOWN: Final = 90.0


def weekly_svg(points: Sequence[Interval | None], *, expected: float) -> str:
    """Return the shares of weeks, from left to right, as an SVG element without a fixed size.

    Args:
        points: A share of each week with its interval; None for a week of too few images.
        expected: The share on validation, a dotted line.
    """
    ends = [expected, *(interval.high for interval in points if interval is not None)]
    top = next((scale for scale in _SCALES if scale >= max(ends)), 1.0)

    def down(share: float) -> str:
        return _number(_TOP + _HEIGHT * (1 - min(share, top) / top))

    step = _WIDTH / max(len(points), 1)
    marks = [
        f'<path class="grid" d="M{_number(_LEFT)} {down(share)}h{_number(_WIDTH)}"/>'
        f'<text x="{_number(_LEFT - 3)}" y="{_number(float(down(share)) + 3)}" text-anchor="end">'
        f"{100 * share:.3g}</text>"
        for share in (0.0, top)
    ]
    marks.append(f'<path class="chance" d="M{_number(_LEFT)} {down(expected)}h{_number(_WIDTH)}"/>')
    for number, interval in enumerate(points):
        if interval is None:
            continue
        x = _number(_LEFT + step * (number + 0.5))
        marks.append(f'<path class="whisker" d="M{x} {down(interval.low)}V{down(interval.high)}"/>')
        marks.append(f'<circle class="dot" cx="{x}" cy="{down(interval.value)}" r="2"/>')
    box = f"0 0 {_number(_LEFT + _WIDTH + 4)} {_number(_TOP + _HEIGHT + 6)}"
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}">{"".join(marks)}</svg>'


def daily_svg(daily: Mapping[str, Counter[str]], *, last: int) -> str:
    """Return the number of objects that came on each of the last days, as an SVG element with its size.

    Args:
        daily: Objects by day (as in ISO 8601) and state, at least one day.
        last: Days at most, the last one of `daily` included.
    """
    final = date.fromisoformat(max(daily))
    first = max(date.fromisoformat(min(daily)), final - timedelta(days=last - 1))
    days = [first + timedelta(days=number) for number in range((final - first).days + 1)]
    counts = [daily.get(day.isoformat(), Counter[str]()).total() for day in days]
    most = max(counts)
    wide = _ACROSS / max(len(days), 14)
    bars = [
        f'<rect class="bar" x="{_number(number * wide + 1)}" y="{_number(14 + _DOWN * (1 - count / most))}" '
        f'width="{_number(max(1.0, wide - 2))}" height="{_number(_DOWN * count / most)}"/>'
        for number, count in enumerate(counts)
        if count
    ]
    marks = [
        f'<path class="grid" d="M0 {_number(14 + _DOWN)}h{_number(_ACROSS)}"/>',
        f'<text x="0" y="10">{most:,} objects</text>',
        f'<text x="0" y="{_number(_DOWN + 28)}">{first.isoformat()}</text>',
        *([_until(final, max(wide * len(days), 140))] if len(days) > 1 else []),
    ]
    size = f'width="{_number(_ACROSS)}" height="{_number(_DOWN + 34)}"'
    box = f'viewBox="0 0 {_number(_ACROSS)} {_number(_DOWN + 34)}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {box}>{"".join([*marks, *bars])}</svg>'


def _until(day: date, x: float) -> str:
    place = f'x="{_number(x)}" y="{_number(_DOWN + 28)}" text-anchor="end"'
    return f"<text {place}>{day.isoformat()}</text>"


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
