"""Precision, recall and F1 of several models beside one another, as rows of tables and as CSV."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from thorax.evaluation.classification import REPORT_RATES, Measure, Rate
from thorax.evaluation.side_by_side import ModelDecisions
from thorax.evaluation.statistics.intervals import Interval
from thorax.reporting.summary import number_json, short, value_text

__all__ = [
    "RATE_NAMES",
    "ReportRow",
    "classification_csv",
    "report_rows",
    "side_by_side_rows",
    "thresholds_text",
]

RATE_NAMES: Final = ("Precision", "Recall", "F1")
"""Names of `REPORT_RATES`."""


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One row of a model's classification report.

    Attributes:
        name: The finding's name, or the average's, for example "macro avg".
        label: The same for people.
        threshold: The finding's threshold; None without one, and for averages.
        measures: Precision, recall and F1 by rate.
        support: The number of positive labels.
        is_average: Whether the row is an average, as scikit-learn counts it: undefined rates are 0.
    """

    name: str
    label: str
    threshold: float | None
    measures: Mapping[Rate, Measure]
    support: int
    is_average: bool


def report_rows(decisions: ModelDecisions) -> list[ReportRow]:
    """Return a row per finding, then the micro, macro, weighted and samples averages."""
    measured = decisions.classification
    rows = [
        ReportRow(
            name=result.finding.name,
            label=result.finding.label,
            threshold=threshold,
            measures={rate: result.rates[rate] for rate in REPORT_RATES},
            support=result.confusion.true_positives + result.confusion.false_negatives,
            is_average=False,
        )
        for result, threshold in zip(measured.findings, decisions.points.thresholds, strict=True)
    ]
    return rows + [
        ReportRow(
            name=f"{average} avg",
            label=f"{average.capitalize()} average",
            threshold=None,
            measures=rates,
            support=measured.support,
            is_average=True,
        )
        for average, rates in measured.zero_averages.items()
    ]


def side_by_side_rows(
    decisions: Mapping[str, ModelDecisions], *, intervals: bool = True
) -> list[tuple[str, ...]]:
    """Return rows of text: a label, the support, and precision, recall and F1 of each model in turn.

    Args:
        decisions: Each model's decisions on the same images and findings, by the model's name.
        intervals: Whether each number has its interval.
    """
    write: Callable[[Interval], str] = short if intervals else value_text
    reports = [report_rows(one) for one in decisions.values()]
    return [
        (
            rows[0].label,
            f"{max(row.support for row in rows):,}",  # a model without a threshold counts none
            *(write(row.measures[rate].interval) for row in rows for rate in REPORT_RATES),
        )
        for rows in zip(*reports, strict=True)
    ]


def thresholds_text(decisions: Mapping[str, ModelDecisions]) -> list[str]:
    """Return a sentence per model on its thresholds and what chose them."""
    return [f"{name}: {one.points.name}, {one.points.describe()}" for name, one in decisions.items()]


def classification_csv(decisions: Mapping[str, ModelDecisions]) -> str:
    """Return the reports of all models as CSV, with one row per model and finding or average."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    names = ("precision", "recall", "f1")
    columns = [f"{name}{end}" for name in names for end in ("", "_low", "_high")]
    writer.writerow(("model", "row", "threshold", *columns, "support", "rule", "thresholds"))
    for model, one in decisions.items():
        for row in report_rows(one):
            numbers = [number for rate in REPORT_RATES for number in _numbers(row.measures[rate].interval)]
            threshold = "" if row.threshold is None else row.threshold
            origin = (one.points.name, one.points.describe())
            writer.writerow((model, row.name, threshold, *numbers, row.support, *origin))
    return text.getvalue()


def _numbers(interval: Interval) -> Sequence[float | str]:
    values = (number_json(number) for number in (interval.value, interval.low, interval.high))
    return ["" if value is None else value for value in values]
