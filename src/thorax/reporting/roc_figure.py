"""All ROC curves of a model in one picture, and all its precision-recall curves in another."""

from textwrap import fill
from typing import TYPE_CHECKING

from thorax.evaluation.discrimination import Discrimination, FindingDiscrimination
from thorax.evaluation.evaluate import Context
from thorax.quoting import visible
from thorax.reporting.plotting import COLORS, DASHES, GRID, MUTED, FigureKind, plotting, saved
from thorax.reporting.summary import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_precision_recall_curves", "draw_roc_curves", "titled", "with_title"]


def draw_roc_curves(ranking: Discrimination, context: Context, kind: FigureKind) -> bytes:
    """Return a picture of every ROC curve, with the AUCs and their intervals in the legend, best first.

    The same curves give the same bytes, for one version of matplotlib.

    Args:
        ranking: Findings without both classes have no curve, and are named below the legend.
        context: Model and images, for the title.
        kind: PNG at 150 dots per inch; SVG or PDF, with text as text.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    with plotting("the figure of the ROC curves") as new_figure:
        figure = new_figure(figsize=(9.6, 6.6), facecolor="white")
        axes = figure.add_axes((0.07, 0.095, 0.58, 0.8))
        axes.plot((0, 1), (0, 1), color=MUTED, linewidth=1, linestyle=(0, (2, 3)), label="Chance .500")
        results = sorted((result for result in ranking.findings if result.auc.exists), key=_falling_auc)
        for number, result in enumerate(results):
            _curve(axes, number, result.curves.roc, f"{result.finding.label} {short(result.auc)}")
        axes.set_xlabel("1 \N{MINUS SIGN} specificity (false positive rate)")
        axes.set_ylabel("Sensitivity (true positive rate)")
        mean = f"Mean of {ranking.num_findings}: {short(ranking.macro_auc)}"
        _finish(axes, f"AUC (95 % interval)\n{mean}", ranking, first_last=True)
        with_title(figure, ranking, context)
        return saved(figure, kind)


def draw_precision_recall_curves(ranking: Discrimination, context: Context, kind: FigureKind) -> bytes:
    """Return a picture of every precision-recall curve, with average precisions in the legend, best first.

    Args:
        ranking: See `draw_roc_curves`.
        context: See `draw_roc_curves`.
        kind: See `draw_roc_curves`.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    with plotting("the figure of the precision-recall curves") as new_figure:
        figure = new_figure(figsize=(9.6, 6.6), facecolor="white")
        axes = figure.add_axes((0.07, 0.095, 0.58, 0.8))
        results = sorted((result for result in ranking.findings if result.auc.exists), key=_falling_precision)
        for number, result in enumerate(results):
            label = f"{result.finding.label} {short(result.average_precision)}"
            _curve(axes, number, result.curves.precision_recall, label)
        axes.set_xlabel("Recall (sensitivity)")
        axes.set_ylabel("Precision (positive predictive value)")
        mean = f"Mean of {ranking.num_findings}: {short(ranking.macro_average_precision)}"
        _finish(axes, f"Average precision (95 % interval)\n{mean}", ranking, first_last=False)
        with_title(figure, ranking, context)
        return saved(figure, kind)


def with_title(figure: "Figure", ranking: Discrimination, context: Context) -> None:
    """Write the model and the images above a figure."""
    images = f"{ranking.num_images:,} images of {ranking.num_patients:,} patients"
    titled(figure, context.model.name, f"{context.where}, {images}")


def titled(figure: "Figure", title: str, words: str) -> None:
    """Write a title and a line below it above a figure, in the same place whatever its height."""
    height = figure.get_size_inches()[1]
    left = 0.672 / figure.get_size_inches()[0]
    figure.text(left, 1 - 0.297 / height, visible(title), fontsize=13, fontweight="bold")
    figure.text(left, 1 - 0.528 / height, visible(words), fontsize=9.5, color=MUTED)


def _curve(axes: "Axes", number: int, points: tuple[tuple[float, float], ...], label: str) -> None:
    group, color = divmod(number, len(COLORS))
    across, up = zip(*points, strict=True)
    dashes = DASHES[group % len(DASHES)]
    axes.plot(across, up, color=COLORS[color], linestyle=dashes, linewidth=1.5, label=label)


def _finish(axes: "Axes", title: str, ranking: Discrimination, *, first_last: bool) -> None:
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.grid(color=GRID, linewidth=0.7)
    absent = [result.finding.label for result in ranking.findings if not result.auc.exists]
    lines, labels = axes.get_legend_handles_labels()
    axes.legend(
        [*lines[1:], lines[0]] if first_last else lines,
        [*labels[1:], labels[0]] if first_last else labels,
        title=title,
        alignment="left",
        loc="upper left",
        bbox_to_anchor=(1.03, 1.0),
        borderaxespad=0,
        frameon=False,
        fontsize=9,
        title_fontproperties={"size": 9.5, "weight": "bold"},
        handlelength=2.6,
        labelspacing=0.55,
    )
    if absent:
        note = fill(f"No curve, since all images are positive or all negative: {', '.join(absent)}", 46)
        axes.text(1.04, 0.0, note, transform=axes.transAxes, fontsize=8, color=MUTED)


def _falling_auc(result: FindingDiscrimination) -> tuple[float, str]:
    return -result.auc.value, result.finding.name


def _falling_precision(result: FindingDiscrimination) -> tuple[float, str]:
    return -result.average_precision.value, result.finding.name
