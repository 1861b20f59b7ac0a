"""The source projects' own tables, and published AUCs by finding, beside this model's numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from thorax.datasets import NIH_LAYOUT
from thorax.evaluation.classification import AVERAGES
from thorax.evaluation.evaluate import Context, Evaluation
from thorax.evaluation.published_results import PUBLISHED, PUBLISHED_ON, PublishedResult
from thorax.evaluation.source_tables import SOURCE_TABLES, SourceMeasure, SourceRow
from thorax.evaluation.statistics.intervals import Interval
from thorax.findings import NO_FINDING, Finding
from thorax.reporting.summary import short

__all__ = ["ANOTHER_SPLIT", "ShownTable", "published_by_finding", "source_tables"]

ANOTHER_SPLIT: Final = "another split"
"""The mark on numbers that were measured on other images than ours."""

_NAMES: Final[Mapping[SourceMeasure, str]] = {
    "auc": "AUC",
    "ppv": "Precision",
    "sensitivity": "Recall",
    "specificity": "Specificity",
    "f1": "F1",
    "accuracy": "Accuracy",
}


@dataclass(frozen=True, slots=True)
class ShownTable:
    """A table of a report.

    Attributes:
        title: Its title.
        note: What a reader must know of its numbers.
        header: Names of the columns.
        rows: The cells, as text.
    """

    title: str
    note: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]


def source_tables(evaluation: Evaluation, context: Context) -> list[ShownTable]:
    """Return the source projects' tables, each column of theirs followed by ours; empty for other data.

    Rates of ours are at the first operating point, and averages as scikit-learn counts them. A mean over 15
    with No Finding, as one project counts it, is computed for its row alone.
    """
    if context.dataset not in {PUBLISHED_ON, NIH_LAYOUT}:
        return []
    shown = []
    for table in SOURCE_TABLES:
        columns = [
            name
            for measure in table.measures
            for name in (f"{_NAMES[measure]}, theirs ({ANOTHER_SPLIT})", f"{_NAMES[measure]}, this model")
        ]
        rows = [
            (
                row.name,
                *(
                    cell
                    for measure in table.measures
                    for cell in (_printed(row, measure), _ours(evaluation, row, measure))
                ),
            )
            for row in table.rows
        ]
        note = f"{ANOTHER_SPLIT.capitalize()}, not a comparison. {table.measured} From {table.source}."
        theirs = {row.of for row in table.rows if isinstance(row.of, Finding)}
        ours = {result.finding for result in evaluation.ranking.findings} - {NO_FINDING}
        if theirs != ours and any(row.of in AVERAGES for row in table.rows):
            note += f" Its averages are over these {len(theirs)} findings, this model's over {len(ours)}."
        shown.append(ShownTable(f"{table.project}: {table.title}", note, ("", *columns), rows))
    return shown


def published_by_finding(evaluation: Evaluation, context: Context) -> ShownTable | None:
    """Return the published AUCs by finding beside ours; None for other data or other findings.

    Each column says whether it is of our split or of another one.
    """
    ranking = evaluation.ranking
    published = [result for result in PUBLISHED if result.by_finding]
    known = [result for result in ranking.findings if result.finding in published[0].by_finding]
    if context.dataset != PUBLISHED_ON or not known:
        return None
    comparable = evaluation.published.results
    header = [_published_name(result, same=result in comparable) for result in published]
    rows = [
        (
            result.finding.label,
            short(result.auc),
            *(_bare(column.by_finding[result.finding]) for column in published),
        )
        for result in known
    ]
    if len(known) == len(published[0].by_finding) == ranking.num_findings:
        means = (_bare(result.auc.value) for result in published)
        rows.append((f"Mean of {ranking.num_findings}", short(ranking.macro_auc), *means))
    note = (
        "As the papers print them, without intervals. The same model scores about 3 points more on a random "
        "split than on the official one; a column of another split is not a comparison."
    )
    return ShownTable("AUC of each finding, as published", note, ("Finding", "This model", *header), rows)


def _published_name(result: PublishedResult, *, same: bool) -> str:
    split = f"{result.split} split"
    return f"{result.name} ({split}{'' if same else f', {ANOTHER_SPLIT}'})"


def _printed(row: SourceRow, measure: SourceMeasure) -> str:
    if measure not in row.values:
        return ""
    low, high = row.values[measure]
    return _bare(low) if low == high else f"{_bare(low)} to {_bare(high)}"


def _bare(value: float) -> str:
    """Write at most four digits, as printed, without the nought: .8094, .81."""
    return f"{value:.4f}".removeprefix("0").rstrip("0")


def _ours(evaluation: Evaluation, row: SourceRow, measure: SourceMeasure) -> str:
    """Return our number for a cell of theirs; "" where they have none, "n/a" where we have none."""
    if measure not in row.values:
        return ""
    interval = _our_auc(evaluation, row.of) if measure == "auc" else _our_rate(evaluation, row.of, measure)
    return "n/a" if interval is None else short(interval)


def _our_auc(evaluation: Evaluation, of: object) -> Interval | None:
    ranking = evaluation.ranking
    aucs = {result.finding: result.auc for result in ranking.findings if result.auc.exists}
    if isinstance(of, Finding):
        return aucs.get(of)
    if of == "mean":
        return ranking.macro_auc
    if NO_FINDING not in aucs:
        return None
    mean = sum(auc.value for auc in aucs.values()) / len(aucs)
    return Interval(mean, float("nan"), float("nan"))


def _our_rate(evaluation: Evaluation, of: object, measure: SourceMeasure) -> Interval | None:
    assert measure != "auc"
    measured = evaluation.primary.classification
    if isinstance(of, Finding):
        return next(
            (result.rates[measure].interval for result in measured.findings if result.finding == of), None
        )
    averages = measured.zero_averages if of in AVERAGES else {"mean": measured.averages["macro"]}
    return averages[of][measure].interval  # type: ignore[index]
