"""Curves of a training run over its epochs, as SVG: losses, AUCs, learning rate.

All figures share their axis of epochs, on which a value lies where its epoch ended: the first at 1.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

from thorax.findings import Finding
from thorax.reporting.run_log import RunLog, read_log
from thorax.run_files import LOG

__all__ = [
    "EpochCurve",
    "EpochFigure",
    "curves_of_run",
    "epoch_figure_svg",
    "finding_figures",
    "main_figures",
    "run_curves_svg",
]

_LEFT: Final = 46.0
_TOP: Final = 26.0
_RIGHT: Final = 8.0
_BOTTOM: Final = 24.0
_SIZE: Final = (300.0, 176.0)
_SMALL: Final = (186.0, 112.0)
_GAP: Final = 14.0
_PER_ROW: Final = 5
_LONGEST_TICK: Final = 5
_MOST_POINTS: Final = 300
"""Points of a curve; of more, every second, third ... is drawn."""

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class EpochCurve:
    """A quantity over the epochs.

    Attributes:
        name: Its name in the legend; "" without one.
        points: Epoch and value, by rising epoch.
    """

    name: str
    points: Points


@dataclass(frozen=True, slots=True)
class EpochFigure:
    """One figure.

    Attributes:
        title: What is drawn.
        curves: One or two.
        value: The value at the chosen epoch, beside the title; "" without.
        chance: A value to mark by a dotted line, such as 0.5 for an AUC.
        ends: Lower and upper end that the axis has at least; None follows the curves alone.
    """

    title: str
    curves: Sequence[EpochCurve]
    value: str = ""
    chance: float | None = None
    ends: tuple[float, float] | None = None


def main_figures(log: RunLog) -> list[EpochFigure]:
    """Return the figures of both losses, of the mean AUC on validation and of the learning rate."""
    losses = [
        EpochCurve("training", log.curve("train_loss")),
        EpochCurve("validation", log.curve("val_loss")),
    ]
    figures = [
        EpochFigure("Loss", losses),
        EpochFigure("Mean AUC on validation", [EpochCurve("", log.curve("macro_auc"))]),
    ]
    rates = log.learning_rates()
    return [*figures, EpochFigure("Learning rate", [EpochCurve("", rates)])] if rates else figures


def curves_of_run(folder: Path | None) -> tuple[str, ...]:
    """Return the `main_figures` of the run in a folder, as SVG elements; none without a log of an epoch."""
    if folder is None or not (folder / LOG).is_file():
        return ()
    log = RunLog(read_log(folder / LOG))
    if not log.epochs:
        return ()
    figures = main_figures(log)
    return tuple(epoch_figure_svg(figure, last=log.last_epoch, chosen=log.kept_epoch) for figure in figures)


def finding_figures(log: RunLog, *, chosen: int) -> list[EpochFigure]:
    """Return a figure of each finding's AUC on validation, all with the same axis.

    Args:
        log: The run.
        chosen: The epoch whose value is written beside the name, counted from 1.
    """
    by_finding = {name: log.finding_curve(name) for name in log.findings}
    values = [value for points in by_finding.values() for _, value in points]
    ends = (min(0.5, *values), max(0.5, *values)) if values else None
    return [
        EpochFigure(
            Finding(name).label,
            [EpochCurve("", points)],
            value=_value(dict(points).get(chosen)),
            chance=0.5,
            ends=ends,
        )
        for name, points in by_finding.items()
    ]


def run_curves_svg(log: RunLog, *, chosen: int) -> str:
    """Return all figures of a run in one picture with its size.

    Args:
        log: The run; "" if no epoch has ended.
        chosen: The chosen epoch, counted from 1; a dotted line marks it in each figure.
    """
    if not log.epochs:
        return ""
    main, small = main_figures(log), finding_figures(log, chosen=chosen)
    across = max(len(main) * (_SIZE[0] + _GAP), min(len(small), _PER_ROW) * (_SMALL[0] + _GAP)) - _GAP
    marks = [
        _moved(_marks(figure, log.last_epoch, chosen, _SIZE), number * (_SIZE[0] + _GAP), 0)
        for number, figure in enumerate(main)
    ]
    top = _SIZE[1] + 20
    title = "AUC of each finding on validation" if small else ""
    marks.append(f'<text x="0" y="{_number(top + 8)}">{title}</text>')
    top += 24
    for number, figure in enumerate(small):
        row, column = divmod(number, _PER_ROW)
        left, down = column * (_SMALL[0] + _GAP), top + row * (_SMALL[1] + _GAP)
        marks.append(_moved(_marks(figure, log.last_epoch, chosen, _SMALL), left, down))
    rows = -(-len(small) // _PER_ROW)
    bottom = top + rows * (_SMALL[1] + _GAP) + 4
    note = f"Over the epochs; the dotted upright line is epoch {chosen}, whose weights are kept"
    marks.append(f'<text x="0" y="{_number(bottom)}">{note}</text>')
    size = f'width="{_number(across)}" height="{_number(bottom + 6)}"'
    box = f'viewBox="0 0 {_number(across)} {_number(bottom + 6)}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {box}>{"".join(marks)}</svg>'


def epoch_figure_svg(figure: EpochFigure, *, last: int, chosen: int, small: bool = False) -> str:
    """Return one figure as an SVG element without a fixed size.

    Args:
        figure: What is drawn.
        last: The last epoch of the axis.
        chosen: The chosen epoch, counted from 1; a dotted line marks it.
        small: Whether the figure is one of many.
    """
    width, height = _SMALL if small else _SIZE
    name = escape(figure.title, quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_number(width)} {_number(height)}" '
        f'role="img" aria-label="{name}">{_marks(figure, last, chosen, (width, height))}</svg>'
    )


def _moved(marks: str, left: float, down: float) -> str:
    return f'<g transform="translate({_number(left)} {_number(down)})">{marks}</g>'


def _marks(figure: EpochFigure, last: int, chosen: int, size: tuple[float, float]) -> str:
    width, height = size
    right, bottom = width - _RIGHT, height - _BOTTOM
    marks = [f'<text x="0" y="12">{escape(figure.title)}</text>']
    if figure.value:
        marks.append(
            f'<text class="named" x="{_number(right)}" y="12" text-anchor="end">{figure.value}</text>'
        )
    values = [value for curve in figure.curves for _, value in curve.points]
    if not values:
        return "".join([*marks, f'<text x="{_number(_LEFT)}" y="{_number(height / 2)}">n/a</text>'])
    ticks = _ticks([*values, *(figure.ends or ())], most=4 if height > _SMALL[1] else 3)
    low, high = ticks[0], ticks[-1]

    def place(epoch: float, value: float) -> tuple[str, str]:
        x = _LEFT + (right - _LEFT) * epoch / last
        return _number(x), _number(bottom - (bottom - _TOP) * (value - low) / (high - low))

    across = _number(right - _LEFT)
    for tick, written in zip(ticks, _tick_texts(ticks), strict=True):
        y = place(0, tick)[1]
        marks.append(f'<path class="grid" d="M{_number(_LEFT)} {y}h{across}"/>')
        text = f'<text x="{_number(_LEFT - 6)}" y="{y}" dy="4" text-anchor="end">{written}</text>'
        marks.append(text)
    if figure.chance is not None and low <= figure.chance <= high:
        marks.append(f'<path class="chance" d="M{_number(_LEFT)} {place(0, figure.chance)[1]}h{across}"/>')
    if chosen:
        marks.append(f'<path class="chance" d="M{place(chosen, low)[0]} {_number(_TOP)}V{_number(bottom)}"/>')
    for epoch in _epoch_ticks(last, most=5 if height > _SMALL[1] else 3):
        x = place(epoch, low)[0]
        marks.append(f'<text x="{x}" y="{_number(bottom + 16)}" text-anchor="middle">{epoch}</text>')
    marks += _curves(figure.curves, place, right=right)
    return "".join(marks)


def _curves(
    curves: Sequence[EpochCurve], place: Callable[[float, float], tuple[str, str]], *, right: float
) -> list[str]:
    marks = []
    for number, curve in enumerate(curves):
        points = curve.points[:: -(-len(curve.points) // _MOST_POINTS)] if curve.points else ()
        other = " other" if number else ""
        if len(points) == 1:
            ((epoch, value),) = points
            x, y = place(epoch, value)
            marks.append(f'<circle class="dot{other}" cx="{x}" cy="{y}" r="3"/>')
        elif points:
            path = "L".join(" ".join(place(*point)) for point in points)
            marks.append(f'<path class="curve{other}" d="M{path}"/>')
        if curve.name:
            x = _number(right - 76 * (len(curves) - 1 - number))
            kind = "other" if number else "named"
            marks.append(f'<text class="{kind}" x="{x}" y="12" text-anchor="end">{escape(curve.name)}</text>')
    return marks


def _ticks(values: Sequence[float], *, most: int) -> list[float]:
    """Return round values, at most `most` + 1 of them, the first and last of which enclose all values."""
    low, high = min(values), max(values)
    if high - low <= 1e-9 * max(abs(high), 1e-12):
        margin = abs(high) / 10 or 0.5
        low, high = low - margin, high + margin
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    for factor in (1, 2, 5, 10, 20):
        step = power * factor
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if last - first <= most:
            break
    return [number * step for number in range(first, last + 1)]


def _tick_texts(values: Sequence[float]) -> list[str]:
    """Return round values in few characters, all in one form: "0.25" and "0.5", or "5e-4" and "1e-3"."""
    texts = [f"{value:.6g}" for value in values]
    if max(map(len, texts)) <= _LONGEST_TICK:
        return texts
    parts = [f"{value:.6e}".partition("e") for value in values]
    return ["0" if not float(digits) else f"{float(digits):g}e{int(power)}" for digits, _, power in parts]


def _epoch_ticks(last: int, *, most: int) -> list[int]:
    """Return 0 and further epochs at distances of 1, 2 or 5 times 10^n."""
    steps = (factor * 10**power for power in range(9) for factor in (1, 2, 5))
    step = next(step for step in steps if last / step <= most)
    return list(range(0, last + 1, step))


def _value(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
