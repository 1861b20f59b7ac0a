"""The ROC curves of several models in one picture: one panel for each finding."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from thorax.evaluation.compare import Comparison
from thorax.evaluation.curves import RunRoc
from thorax.evaluation.evaluate import Context
from thorax.findings import Finding
from thorax.quoting import cut, visible
from thorax.reporting.figure_files import axis_titles, panel_grid
from thorax.reporting.plotting import COLORS, DASHES, MUTED, FigureKind, plotting, saved
from thorax.reporting.roc_figure import titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

__all__ = ["draw_comparison_roc"]

_MOST_NUMBERS: Final = 6
"""Models whose AUCs fit into a panel."""


def draw_comparison_roc(
    comparison: Comparison, curves: Sequence[RunRoc], context: Context, kind: FigureKind
) -> bytes:
    """Return a picture with a panel for each finding, in which each model has a color.

    The AUCs are those of the comparison: of a model with several runs, whose curves are thin, their mean.

    Args:
        comparison: The comparison.
        curves: Curves of each run; a finding without any has no panel.
        context: The context of the first model's numbers.
        kind: PNG at 150 dots per inch; SVG or PDF, with text as text.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    findings = tuple(dict.fromkeys(curve.finding for curve in curves if curve.points))
    models = [runs.model for runs in comparison.models]
    aucs = _aucs(comparison)
    with plotting("the figure of the ROC curves") as new_figure:
        figure = new_figure(facecolor="white")
        axes = None
        for finding, axes in zip(
            findings, panel_grid(figure, len(findings), above=0.25 * len(models)), strict=True
        ):
            axes.set_title(finding.label, fontsize=9, loc="left")
            _panel(axes, finding, [curve for curve in curves if curve.finding == finding], models, aucs)
        if axes is not None:
            _legend(figure, axes, models)
        axis_titles(figure, "1 \N{MINUS SIGN} specificity", "Sensitivity")
        images = f"{comparison.num_images:,} images of {comparison.num_patients:,} patients"
        several = any(len(runs.runs) > 1 for runs in comparison.models)
        numbers = "a line is a run, a number the mean AUC of the runs" if several else "the numbers are AUCs"
        titled(figure, "ROC curves", f"{context.where}, {images}; {numbers}")
        return saved(figure, kind)


def _aucs(comparison: Comparison) -> Mapping[tuple[str, Finding], float]:
    aucs = {}
    for pair in comparison.pairs:
        for entry in pair.findings:
            aucs[pair.baseline, entry.finding] = entry.auc.baseline_auc
            aucs[pair.model, entry.finding] = entry.auc.model_auc
    return aucs


def _panel(
    axes: "Axes",
    finding: Finding,
    curves: Sequence[RunRoc],
    models: Sequence[str],
    aucs: Mapping[tuple[str, Finding], float],
) -> None:
    axes.plot((0, 1), (0, 1), color=MUTED, linewidth=0.9, linestyle=(0, (2, 3)))
    for number, model in enumerate(models):
        own = [curve.points for curve in curves if curve.model == model and curve.points]
        for points in own:
            _line(axes, number, *zip(*points, strict=True), width=1.4 if len(own) == 1 else 0.6)
        auc = aucs.get((model, finding), math.nan)
        if own and not math.isnan(auc) and len(models) <= _MOST_NUMBERS:
            y = 0.05 + 0.1 * (len(models) - 1 - number)
            text = f"{auc:.3f}".removeprefix("0")
            axes.text(0.97, y, text, color=COLORS[number % len(COLORS)], fontsize=7.5, ha="right")
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))


def _line(
    axes: "Axes", number: int, across: Sequence[float], up: Sequence[float], *, width: float
) -> "Line2D":
    """Draw a line of the model with this number, and return it."""
    group, color = divmod(number, len(COLORS))
    dashes = DASHES[group % len(DASHES)]
    (line,) = axes.plot(across, up, color=COLORS[color], linestyle=dashes, linewidth=width)
    return line


def _legend(figure: "Figure", axes: "Axes", models: Sequence[str]) -> None:
    """Name the models under the title, each beside its line."""
    width, height = figure.get_size_inches()
    for number, model in enumerate(models):
        y = (height - 0.8 - 0.23 * number) / height
        line = _line(axes, number, (), (), width=1.8)
        line.set_transform(figure.transFigure)
        line.set_clip_on(False)
        line.set_data((0.672 / width, 1.05 / width), (y + 0.045 / height, y + 0.045 / height))
        figure.text(1.15 / width, y, visible(cut(model, 90)), fontsize=9)
