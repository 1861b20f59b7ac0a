"""Results in a notebook: what they show of themselves, and their figures as tables of pandas."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from thorax.evaluation.classification import Rate
from thorax.evaluation.compare import Comparison
from thorax.evaluation.discrimination import FindingDiscrimination
from thorax.evaluation.evaluate import Context, Evaluation
from thorax.evaluation.localization.scores import Localization, MapFaithfulness, MapScores
from thorax.evaluation.statistics.intervals import Interval
from thorax.evaluation.thresholds import TUNED_MARK
from thorax.notebook import Html, notes, page, table
from thorax.packages import missing_extras_named
from thorax.reporting.comparison import COMPARISON_HEADER, comparison_rows, comparison_title
from thorax.reporting.figures import EpochCurve, epochs_svg, forest_svg, interval_axis
from thorax.reporting.localization import CURVES_HEADER, TABLE_HEADER, curves_rows, table_rows
from thorax.reporting.summary import headline

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "comparison_columns",
    "comparison_html",
    "evaluation_columns",
    "evaluation_html",
    "frame",
    "learning_curves_svg",
    "localization_columns",
    "localization_html",
]

_RATES: tuple[Rate, ...] = ("sensitivity", "specificity", "ppv", "npv", "f1")


def evaluation_html(evaluation: Evaluation, context: Context, audit: Sequence[tuple[str, str]]) -> str:
    """Return headline and forest plot of the AUCs, the best on top, with what a reader must know.

    Args:
        evaluation: The figures.
        context: What they travel with.
        audit: What an audit found, as severity and text; only errors and warnings are shown.
    """
    ranking = evaluation.ranking
    existing = sorted((each for each in ranking.findings if each.auc.exists), key=_falling_auc)
    absent = [each.finding.label for each in ranking.findings if not each.auc.exists]
    rows = [(each.finding.label, each.auc) for each in existing]
    mean = (f"Mean of {ranking.num_findings}", ranking.macro_auc)
    figure = forest_svg(rows, mean, interval_axis([each.auc for each in existing]))
    tuned = f"{TUNED_MARK}: thresholds or a calibration were chosen on these very images."
    return page(
        _capital(headline(ranking, context)),
        Html(figure),
        notes(
            [
                f"AUC with 95 % intervals; the dotted line is guessing. Model {context.model.name}.",
                f"No AUC, for want of images with or without it: {', '.join(absent)}." if absent else "",
                tuned if evaluation.test_tuned else "",
                *context.warnings,
                *(f"Audit, {severity}: {text}" for severity, text in audit if severity != "note"),
            ]
        ),
    )


def comparison_html(comparison: Comparison, contexts: Mapping[str, Context]) -> str:
    """Return a table of differences for each pair of models.

    Args:
        comparison: The differences.
        contexts: What the figures of each model travel with, by its name.
    """
    context = next(iter(contexts.values()))
    tables = [
        piece
        for pair in comparison.pairs
        for piece in (
            notes([comparison_title(pair, comparison, context)]),
            table(COMPARISON_HEADER, comparison_rows(pair)),
        )
    ]
    warnings = [f"{name}: {text}" for name, each in contexts.items() for text in each.warnings]
    return page(f"Comparison of {_listed(contexts)}", *tables, notes(warnings))


def localization_html(localization: Localization, curves: Sequence[MapFaithfulness], context: Context) -> str:
    """Return a table of how well maps point at boxes, and one of deletion and insertion if there are any.

    Args:
        localization: The figures of maps and baselines.
        curves: Deletion and insertion, which may be empty.
        context: What the figures travel with.
    """
    boxes = f"{localization.num_pairs:,} boxes of {localization.num_patients:,} patients"
    more = [table(CURVES_HEADER, curves_rows(curves))] if curves else []
    return page(
        f"Localization: {context.where}, {boxes}",
        table(TABLE_HEADER, table_rows(localization)),
        *more,
        notes(context.warnings),
    )


def learning_curves_svg(events: Iterable[Mapping[str, Any]], *, chosen: int) -> str:
    """Return the loss of training and validation and the mean AUC on validation, over the epochs.

    Args:
        events: A run's log, as `read_log` gives it.
        chosen: The chosen epoch, counted from 1.
    """
    epochs = [event for event in events if event.get("event") == "epoch"]

    def curve(name: str, key: str) -> EpochCurve:
        return EpochCurve(name, [event.get(key) for event in epochs])

    losses = [curve("training", "train_loss"), curve("validation", "val_loss")]
    panels = [("Loss", losses), ("Mean AUC on validation", [curve("", "macro_auc")])]
    return epochs_svg(panels, chosen=chosen)


# ---- tables of pandas --------------------------------------------------------------------------


def frame(columns: Mapping[str, Sequence[Any]]) -> "pd.DataFrame":
    """Return a table of pandas.

    Args:
        columns: Values by the name of the column.

    Raises:
        MissingExtra: pandas is not installed.
    """
    with missing_extras_named("a table of results"):
        import pandas as pd
    return pd.DataFrame({name: list(values) for name, values in columns.items()})


def evaluation_columns(evaluation: Evaluation) -> dict[str, Sequence[Any]]:
    """Return a row for each finding: AUC, average precision, and the rates at the first operating point."""
    findings = evaluation.ranking.findings
    called = evaluation.primary.classification.findings
    columns: dict[str, Sequence[Any]] = {
        "finding": [each.finding.name for each in findings],
        "images": [each.num_known for each in findings],
        "positives": [each.num_positive for each in findings],
        **_interval_columns("auc", [each.auc for each in findings]),
        **_interval_columns("average_precision", [each.average_precision for each in findings]),
        "threshold": list(evaluation.primary.points.thresholds),
    }
    for rate in _RATES:
        columns |= _interval_columns(rate, [each.rates[rate].interval for each in called])
    return columns


def comparison_columns(comparison: Comparison) -> dict[str, Sequence[Any]]:
    """Return a row for each pair of models and finding: both AUCs, their difference, and p values."""
    rows = [(pair, each) for pair in comparison.pairs for each in pair.findings]
    return {
        "model": [pair.model for pair, _ in rows],
        "baseline": [pair.baseline for pair, _ in rows],
        "finding": [each.finding.name for _, each in rows],
        "model_auc": [each.auc.model_auc for _, each in rows],
        "baseline_auc": [each.auc.baseline_auc for _, each in rows],
        **_interval_columns("difference", [each.auc.difference for _, each in rows]),
        "p": [each.auc.p for _, each in rows],
        "p_adjusted": [each.auc.p_adjusted for _, each in rows],
        "delong_p_adjusted": [each.auc.delong_p_adjusted for _, each in rows],
    }


def localization_columns(localization: Localization) -> dict[str, Sequence[Any]]:
    """Return a row for each kind of map and finding: how often it points into the box, and their overlap."""
    maps: tuple[MapScores, ...] = (*localization.methods, *localization.baselines)
    rows = [(each.name, finding, scores) for each in maps for finding, scores in each.by_finding.items()]
    return {
        "map": [name for name, _, _ in rows],
        "finding": [finding.name for _, finding, _ in rows],
        "boxes": [scores.num_pairs for _, _, scores in rows],
        **_interval_columns("pointing", [scores.pointing for _, _, scores in rows]),
        **_interval_columns("iou", [scores.iou for _, _, scores in rows]),
    }


def _interval_columns(name: str, intervals: Sequence[Interval]) -> dict[str, Sequence[float]]:
    return {
        name: [interval.value for interval in intervals],
        f"{name}_low": [interval.low for interval in intervals],
        f"{name}_high": [interval.high for interval in intervals],
    }


def _falling_auc(each: FindingDiscrimination) -> tuple[float, str]:
    return -each.auc.value, each.finding.name


def _listed(names: Iterable[str]) -> str:
    *before, last = names
    return f"{', '.join(before)} and {last}" if before else last


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
