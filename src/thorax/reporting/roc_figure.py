"""All ROC curves of a model in one picture, as PNG and SVG."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from textwrap import fill
from typing import TYPE_CHECKING, Final, Literal
from warnings import catch_warnings, filterwarnings

from thorax.evaluation.discrimination import Discrimination, FindingDiscrimination
from thorax.evaluation.evaluate import Context
from thorax.packages import missing_extras_named
from thorax.quoting import visible
from thorax.reporting.summary import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_roc_curves"]

_COLORS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#404040")
"""Seven colors that color-blind readers can tell apart (after Okabe and Ito)."""

_DASHES: Final = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)))
"""Each next group of seven findings has another kind of line."""

_GRID: Final = "#dde2e7"
_MUTED: Final = "#5a6672"


def draw_roc_curves(ranking: Discrimination, context: Context, kind: Literal["png", "svg"]) -> bytes:
    """Return a picture of every ROC curve, with the AUCs and their intervals in the legend, best first.

    The same curves give the same bytes, for one version of matplotlib.

    Args:
        ranking: Findings without both classes have no curve, and are named below the legend.
        context: Model and images, for the title.
        kind: PNG at 150 dots per inch, or SVG with its text as text.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    with missing_extras_named("the figure of the ROC curves"), _without_remarks():
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    drawn = sorted((result for result in ranking.findings if result.auc.exists), key=_falling_auc)
    with (
        rc_context(
            {
                "svg.fonttype": "none",
                "svg.hashsalt": "thorax",
                "path.simplify": False,
                "font.family": "DejaVu Sans",
                "text.parse_math": False,
            }
        ),
        catch_warnings(),
        _without_remarks(),
    ):
        # A name may have characters that the font lacks; they are drawn as boxes.
        filterwarnings("ignore", message="Glyph")
        figure = Figure(figsize=(9.6, 6.6), facecolor="white")
        axes = figure.add_axes((0.07, 0.095, 0.58, 0.8))
        _draw(axes, drawn, ranking)
        figure.text(0.07, 0.955, visible(context.model.name), fontsize=13, fontweight="bold")
        images = f"{ranking.num_images:,} images of {ranking.num_patients:,} patients"
        figure.text(0.07, 0.92, visible(f"{context.where}, {images}"), fontsize=9.5, color=_MUTED)
        file = io.BytesIO()
        # Without the date and the program's name the bytes depend on the numbers alone.
        metadata = {"Software": None} if kind == "png" else {"Date": None}
        figure.savefig(file, format=kind, dpi=150, metadata=metadata)
    return file.getvalue()


@contextmanager
def _without_remarks() -> Iterator[None]:
    """Keep matplotlib's remarks on folders that cannot be written off the standard error."""
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _draw(axes: "Axes", drawn: list[FindingDiscrimination], ranking: Discrimination) -> None:
    axes.plot((0, 1), (0, 1), color=_MUTED, linewidth=1, linestyle=(0, (2, 3)), label="Chance .500")
    for number, result in enumerate(drawn):
        group, color = divmod(number, len(_COLORS))
        rates, sensitivities = zip(*result.curves.roc, strict=True)
        axes.plot(
            rates,
            sensitivities,
            color=_COLORS[color],
            linestyle=_DASHES[group % len(_DASHES)],
            linewidth=1.5,
            label=f"{result.finding.label} {short(result.auc)}",
        )
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set_xlabel("1 \N{MINUS SIGN} specificity (false positive rate)")
    axes.set_ylabel("Sensitivity (true positive rate)")
    axes.grid(color=_GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    absent = [result.finding.label for result in ranking.findings if not result.auc.exists]
    lines, labels = axes.get_legend_handles_labels()
    axes.legend(
        [*lines[1:], lines[0]],
        [*labels[1:], labels[0]],
        title=f"AUC (95 % interval)\nMean of {ranking.num_findings}: {short(ranking.macro_auc)}",
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
        axes.text(1.04, 0.0, note, transform=axes.transAxes, fontsize=8, color=_MUTED)


def _falling_auc(result: FindingDiscrimination) -> tuple[float, str]:
    return -result.auc.value, result.finding.name
