"""The figures of a report as files, for a thesis or paper: PNG, SVG and PDF, drawn by matplotlib."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from thorax.atomic_io import write_bytes
from thorax.evaluation.calibration.measure import ReliabilityBin
from thorax.evaluation.decision_curves import DecisionCurve
from thorax.evaluation.evaluate import Context, Evaluation
from thorax.evaluation.statistics.intervals import Interval
from thorax.reporting.figures import interval_axis
from thorax.reporting.plotting import COLORS, GRID, MUTED, FigureKind, plotting, saved
from thorax.reporting.roc_figure import draw_precision_recall_curves, draw_roc_curves, with_title
from thorax.reporting.summary import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FIGURES", "axis_titles", "panel_grid", "write_figures"]

_WIDTH: Final = 9.6
"""Inches of every figure; it is made smaller to fit a page."""

_ACROSS: Final = 4
"""Panels of a figure side by side."""

_ABOVE: Final = 0.95
"""Inches for the title, and for that of a panel."""

_SIDE: Final = 1.6
_DOWN: Final = 0.62
"""Inches: side of a panel, and distance of two rows."""

_ENDS: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Where the axes of a reliability diagram may end."""


def write_figures(
    evaluation: Evaluation, context: Context, *, out: Path, kinds: Sequence[FigureKind]
) -> tuple[Path, ...]:
    """Write each figure that an evaluation has numbers for, as NAME.KIND; return the paths.

    The same numbers give the same bytes, for one version of matplotlib.

    Args:
        evaluation: The numbers.
        context: Their context, for the titles.
        out: The folder; created if it does not exist.
        kinds: Kinds of files.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, draw in FIGURES.items():
        for kind in kinds:
            content = draw(evaluation, context, kind)
            if content:
                paths.append(out / f"{name}.{kind}")
                write_bytes(paths[-1], content)
    return tuple(paths)


def panel_grid(figure: "Figure", count: int, *, above: float = 0.0) -> Iterator["Axes"]:
    """Yield the axes of a grid of square panels under the title, after giving the figure its height.

    Args:
        figure: A figure without axes.
        count: Number of panels.
        above: Inches to leave free between the title and the panels.
    """
    rows = math.ceil(count / _ACROSS)
    top = _ABOVE + above
    height = top + rows * (_SIDE + _DOWN) + 0.1
    figure.set_size_inches(_WIDTH, height)
    for number in range(count):
        row, column = divmod(number, _ACROSS)
        x = 0.82 + column * (_SIDE + 0.62)
        y = height - top - _SIDE - row * (_SIDE + _DOWN)
        axes = figure.add_axes((x / _WIDTH, y / height, _SIDE / _WIDTH, _SIDE / height))
        axes.grid(color=GRID, linewidth=0.6)
        axes.tick_params(labelsize=7.5)
        yield axes


def _roc(evaluation: Evaluation, context: Context, kind: FigureKind) -> bytes:
    return draw_roc_curves(evaluation.ranking, context, kind)


def _precision_recall(evaluation: Evaluation, context: Context, kind: FigureKind) -> bytes:
    return draw_precision_recall_curves(evaluation.ranking, context, kind)


def _auc(evaluation: Evaluation, context: Context, kind: FigureKind) -> bytes:
    """Draw a forest plot: the AUC of each finding with its interval, best first, and their mean."""
    ranking = evaluation.ranking
    results = sorted(
        (result for result in ranking.findings if result.auc.exists), key=lambda result: -result.auc.value
    )
    rows = [(result.finding.label, result.auc) for result in results]
    if ranking.macro_auc.exists:
        rows.append((f"Mean of {ranking.num_findings}", ranking.macro_auc))
    if not rows:
        return b""
    with plotting("the figure of the AUCs") as new_figure:
        height = _ABOVE + 0.3 * len(rows) + 0.45
        figure = new_figure(figsize=(_WIDTH, height), facecolor="white")
        axes = figure.add_axes((0.2, 0.55 / height, 0.56, 0.3 * len(rows) / height))
        for number, (_, auc) in enumerate(rows):
            is_mean = number == len(rows) - 1 and ranking.macro_auc.exists
            _with_interval(axes, auc, number, "D" if is_mean else "o")
            axes.text(1.02, number, short(auc), transform=axes.get_yaxis_transform(), va="center", fontsize=9)
        axes.axvline(0.5, color=MUTED, linewidth=1, linestyle=(0, (2, 3)))
        shown = interval_axis([auc for _, auc in rows])
        axes.set(xlim=(shown.start, shown.end), ylim=(len(rows) - 0.4, -0.6))
        axes.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=9)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color=GRID, linewidth=0.7)
        axes.set_xlabel("AUC with its 95 % interval; the dotted line is chance")
        with_title(figure, ranking, context)
        return saved(figure, kind)


def _with_interval(axes: "Axes", interval: Interval, y: float, marker: str) -> None:
    if not math.isnan(interval.low):
        axes.plot((interval.low, interval.high), (y, y), color=COLORS[0], linewidth=2, alpha=0.5)
    axes.plot((interval.value,), (y,), marker=marker, markersize=6, color=COLORS[0])


def _reliability(evaluation: Evaluation, context: Context, kind: FigureKind) -> bytes:
    """Draw a reliability diagram of each finding; its axes end where its probabilities do."""
    findings = [finding for finding in evaluation.calibration.findings if finding.curve]
    if not findings:
        return b""
    with plotting("the figure of the calibration") as new_figure:
        figure = new_figure(facecolor="white")
        for finding, axes in zip(findings, panel_grid(figure, len(findings)), strict=True):
            axes.set_title(finding.finding.label, fontsize=9, loc="left")
            _reliability_panel(axes, finding.curve)
        axis_titles(figure, "Mean predicted probability", "Share with the finding")
        with_title(figure, evaluation.ranking, context)
        return saved(figure, kind)


def _reliability_panel(axes: "Axes", bins: Sequence[ReliabilityBin]) -> None:
    largest = max(max(bin_.mean_probability, bin_.share_positive.high) for bin_ in bins)
    end = next(end for end in _ENDS if end >= largest or end == _ENDS[-1])
    axes.plot((0, end), (0, end), color=MUTED, linewidth=1, linestyle=(0, (2, 3)))
    for bin_ in bins:
        x, share = bin_.mean_probability, bin_.share_positive
        axes.plot((x, x), (share.low, share.high), color=COLORS[0], linewidth=1.2, alpha=0.6)
        axes.plot((x,), (share.value,), marker="o", markersize=3.5, color=COLORS[0], clip_on=False)
    ticks = [0, end / 2, end]
    axes.set(xlim=(0, end), ylim=(0, end), xticks=ticks, yticks=ticks)
    labels = [f"{100 * tick:.3g} %" for tick in ticks]
    axes.set_xticklabels(labels)
    axes.set_yticklabels(labels)


def _net_benefit(evaluation: Evaluation, context: Context, kind: FigureKind) -> bytes:
    """Draw the decision curve of each finding: net benefit as a share of the best possible."""
    curves = [curve for curve in evaluation.decision_curves if curve.num_positive and curve.points]
    if not curves:
        return b""
    with plotting("the figure of the net benefit") as new_figure:
        figure = new_figure(facecolor="white")
        for curve, axes in zip(curves, panel_grid(figure, len(curves)), strict=True):
            axes.set_title(curve.finding.label, fontsize=9, loc="left")
            _net_benefit_panel(axes, curve)
        axis_titles(
            figure,
            "Threshold; solid: the model, dotted: all positive, gray: none positive",
            "Net benefit, share of the best",
        )
        with_title(figure, evaluation.ranking, context)
        return saved(figure, kind)


def _net_benefit_panel(axes: "Axes", curve: DecisionCurve) -> None:
    best = curve.num_positive / curve.num_known
    called = [number for number, point in enumerate(curve.points) if point.model.value != 0]
    points = curve.points[: max(called, default=0) + 1]  # beyond, no image is called positive
    thresholds = [point.threshold for point in points]
    low, high = ([getattr(point.model, end) / best for point in points] for end in ("low", "high"))
    axes.fill_between(thresholds, low, high, color=COLORS[0], alpha=0.18, linewidth=0)
    axes.axhline(0, color=MUTED, linewidth=0.9)
    everyone = [point.treat_all.value / best for point in curve.points]
    every_threshold = [point.threshold for point in curve.points]
    axes.plot(every_threshold, everyone, color=MUTED, linewidth=1, linestyle=(0, (2, 3)))
    axes.plot(thresholds, [point.model.value / best for point in points], color=COLORS[0], linewidth=1.5)
    axes.set_xscale("logit")
    marked = [mark for mark in (0.01, 0.1, 0.5) if every_threshold[0] <= mark <= every_threshold[-1]]
    axes.set_xticks(marked, [f"{100 * mark:g} %" for mark in marked])
    axes.set_xticks([], minor=True)
    axes.set(xlim=(every_threshold[0], every_threshold[-1]), ylim=(-0.25, 1), yticks=(0, 0.5, 1))


def axis_titles(figure: "Figure", across: str, up: str) -> None:
    """Write the titles that the axes of all panels share."""
    width, height = figure.get_size_inches()
    figure.text(0.5, 0.12 / height, across, ha="center", fontsize=9.5)
    middle = (height - _ABOVE + 0.5) / 2 / height
    figure.text(0.16 / width, middle, up, rotation=90, va="center", ha="center", fontsize=9.5)


FIGURES: Final[dict[str, Callable[[Evaluation, Context, FigureKind], bytes]]] = {
    "roc": _roc,
    "precision-recall": _precision_recall,
    "auc": _auc,
    "reliability": _reliability,
    "net-benefit": _net_benefit,
}
"""The figures by their names; one without numbers is empty."""
