"""Results in notebooks: HTML representations, and pandas tables."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from thorax.evaluation.classification import Rate
from thorax.evaluation.compare import Comparison
from thorax.evaluation.discrimination import FindingDiscrimination
from thorax.evaluation.evaluate import Context, Evaluation
from thorax.evaluation.localization.scores import Localization, MapFaithfulness, MapScores
from thorax.evaluation.side_by_side import ModelDecisions
from thorax.evaluation.statistics.intervals import Interval
from thorax.evaluation.thresholds import TUNED_MARK
from thorax.notebook import Html, notes, page, table
from thorax.packages import missing_extras_named
from thorax.reporting.comparison import (
    RUNS_HEADER,
    SEEDS_NOTE,
    comparison_header,
    comparison_rows,
    comparison_title,
    has_seeds,
    runs_rows,
    side_by_side_header,
)
from thorax.reporting.figures import forest_svg, interval_axis
from thorax.reporting.localization import CURVES_HEADER, TABLE_HEADER, curves_rows, table_rows
from thorax.reporting.side_by_side import side_by_side_rows, thresholds_text
from thorax.reporting.summary import audit_headline, headline

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "comparison_columns",
    "comparison_html",
    "evaluation_columns",
    "evaluation_html",
    "frame",
    "localization_columns",
    "localization_html",
]

_RATES: tuple[Rate, ...] = ("sensitivity", "specificity", "ppv", "npv", "f1")


def evaluation_html(evaluation: Evaluation, context: Context, audit: Sequence[tuple[str, str]]) -> str:
    """Return the headline, a forest plot of the AUCs with the best on top, and warnings.

    Args:
        evaluation: The numbers.
        context: Their context.
        audit: Severity and text of each problem; only errors and warnings are shown.
    """
    ranking = evaluation.ranking
    existing = sorted((result for result in ranking.findings if result.auc.exists), key=_falling_auc)
    absent = [result.finding.label for result in ranking.findings if not result.auc.exists]
    rows = [(f"{result.finding.label} ({result.num_positive:,})", result.auc) for result in existing]
    mean = (f"Mean of {ranking.num_findings}", ranking.macro_auc)
    figure = forest_svg(rows, mean, interval_axis([result.auc for result in existing]))
    tuned = f"{TUNED_MARK}: thresholds or a calibration were chosen on the reported images."
    return page(
        _capital(headline(ranking, context)),
        Html(figure),
        notes(
            [
                "AUC with 95 % intervals; the dotted line is chance, positive images are in parentheses.",
                f"Model {context.model.name}.",
                f"No AUC, because all images are positive or all negative: {', '.join(absent)}."
                if absent
                else "",
                tuned if evaluation.test_tuned else "",
                audit_headline(audit) + ".",
                *context.notes,
                *(f"Audit, {severity}: {text}" for severity, text in audit if severity != "note"),
            ]
        ),
    )


def comparison_html(
    comparison: Comparison, contexts: Mapping[str, Context], decisions: Mapping[str, ModelDecisions]
) -> str:
    """Return a table of differences for each pair of models, and one of all models' decisions.

    Args:
        comparison: The differences.
        contexts: The context of each model's numbers, by its name.
        decisions: Each model's decisions at its own thresholds, by its name.
    """
    context = next(iter(contexts.values()))
    tables = [
        piece
        for pair in comparison.pairs
        for piece in (
            notes([comparison_title(pair, comparison, context)]),
            table(comparison_header(pair), comparison_rows(pair)),
        )
    ]
    if has_seeds(comparison):
        tables += [table(RUNS_HEADER, runs_rows(comparison)), notes([SEEDS_NOTE])]
    if decisions:
        header, rows = side_by_side_header(decisions), side_by_side_rows(decisions, intervals=False)
        tables += [notes(thresholds_text(decisions)), table(header, rows)]
    warnings = [f"{name}: {text}" for name, model_context in contexts.items() for text in model_context.notes]
    return page(f"Comparison of {_listed(contexts)}", *tables, notes(warnings))


def localization_html(localization: Localization, curves: Sequence[MapFaithfulness], context: Context) -> str:
    """Return a table of how well maps point at boxes, and one of deletion and insertion if measured.

    Args:
        localization: The results of maps and baselines.
        curves: Deletion and insertion; may be empty.
        context: The context of the numbers.
    """
    boxes = f"{localization.num_pairs:,} boxes of {localization.num_patients:,} patients"
    faithfulness = [table(CURVES_HEADER, curves_rows(curves))] if curves else []
    return page(
        f"Localization: {context.where}, {boxes}",
        table(TABLE_HEADER, table_rows(localization)),
        *faithfulness,
        notes(context.notes),
    )


# ---- pandas tables -----------------------------------------------------------------------------


def frame(columns: Mapping[str, Sequence[Any]]) -> "pd.DataFrame":
    """Return a pandas table.

    Args:
        columns: The values of each column, by its name.

    Raises:
        MissingExtra: pandas is not installed.
    """
    with missing_extras_named("a table of results"):
        import pandas as pd
    return pd.DataFrame({name: list(values) for name, values in columns.items()})


def evaluation_columns(evaluation: Evaluation) -> dict[str, Sequence[Any]]:
    """Return one row per finding: AUC, average precision, and the rates at the first operating point."""
    findings = evaluation.ranking.findings
    classified = evaluation.primary.classification.findings
    columns: dict[str, Sequence[Any]] = {
        "finding": [result.finding.name for result in findings],
        "images": [result.num_known for result in findings],
        "positives": [result.num_positive for result in findings],
        **_interval_columns("auc", [result.auc for result in findings]),
        **_interval_columns("average_precision", [result.average_precision for result in findings]),
        "threshold": list(evaluation.primary.points.thresholds),
    }
    for rate in _RATES:
        columns |= _interval_columns(rate, [finding.rates[rate].interval for finding in classified])
    return columns


def comparison_columns(comparison: Comparison) -> dict[str, Sequence[Any]]:
    """Return one row per pair of models and finding: both AUCs, their difference, and p values."""
    rows = [(pair, row) for pair in comparison.pairs for row in pair.findings]
    return {
        "model": [pair.model for pair, _ in rows],
        "baseline": [pair.baseline for pair, _ in rows],
        "finding": [row.finding.name for _, row in rows],
        "model_auc": [row.auc.model_auc for _, row in rows],
        "baseline_auc": [row.auc.baseline_auc for _, row in rows],
        **_interval_columns("difference", [row.auc.difference for _, row in rows]),
        "p": [row.auc.p for _, row in rows],
        "p_adjusted": [row.auc.p_adjusted for _, row in rows],
    }


def localization_columns(localization: Localization) -> dict[str, Sequence[Any]]:
    """Return one row per kind of map and finding: how often it points into the box, and their overlap."""
    maps: tuple[MapScores, ...] = (*localization.methods, *localization.baselines)
    rows = [
        (map_scores.name, finding, scores)
        for map_scores in maps
        for finding, scores in map_scores.by_finding.items()
    ]
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


def _falling_auc(result: FindingDiscrimination) -> tuple[float, str]:
    return -result.auc.value, result.finding.name


def _listed(names: Iterable[str]) -> str:
    *before, last = names
    return f"{', '.join(before)} and {last}" if before else last


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
