"""What the sources print about themselves, as Thorax's reports show it beside a model's own figures."""

import csv
import dataclasses
from functools import cache

from tests.helpers.assessments import CONTEXT, assessment_of, shown_text
from tests.source_projects.rows import Row
from tests.source_projects.workshop import Workshop
from thorax.evaluation.published_results import PUBLISHED
from thorax.evaluation.source_tables import SOURCE_TABLES
from thorax.findings import NIH14, find_finding
from thorax.reporting.report import render_html
from thorax.reporting.source_tables import published_by_finding


@cache
def report() -> str:
    """What a reader sees of a report on NIH images."""
    context = dataclasses.replace(CONTEXT, dataset="nih-chestxray14")
    return shown_text(render_html(assessment_of(NIH14, resamples=2, context=context), context))


def chexnet(row: Row, workshop: Workshop) -> None:
    """The 14 AUCs of CheXNet's paper are in the column of its name, beside the model's."""
    (result,) = (result for result in PUBLISHED if result.name == "CheXNet")
    theirs = {find_finding(name): auc for name, auc in row.source["auc"].items()}
    assert dict(result.by_finding) == theirs
    context = dataclasses.replace(CONTEXT, dataset="nih-chestxray14")
    table = published_by_finding(assessment_of(NIH14, resamples=2, context=context), context)
    assert table is not None
    column = next(number for number, name in enumerate(table.header) if name.startswith("CheXNet"))
    printed = {line[0]: float(line[column]) for line in table.rows[:14]}
    assert printed == {finding.label: auc for finding, auc in theirs.items()}
    assert "CheXNet" in report()


def own_tables(row: Row, workshop: Workshop) -> None:
    """Precision, recall and F1 of both models of the source, of each finding and on average."""
    tables = [table for table in SOURCE_TABLES if len(table.rows) == len(row.source["ours"])]
    for table, name in zip(tables, ("ours", "torchxrayvision"), strict=True):
        printed = {
            str(line.of): [line.values[rate][0] for rate in ("ppv", "sensitivity", "f1")]
            for line in table.rows
        }
        assert printed == {key: list(values) for key, values in row.source[name].items()}
        assert table.title in report()


def side_by_side(row: Row, workshop: Workshop) -> None:
    """The comparison has precision, recall and F1 of both models, of each finding and on average."""
    workshop.show(row)
    with (workshop.folder / "comparisons" / "baseline" / "classification.csv").open() as file:
        lines = list(csv.DictReader(file))
    text = {value for line in lines for value in line.values()}
    assert text >= {finding.name for finding in NIH14} | set(row.source["averages"])
    assert {line["model"] for line in lines} == set(row.source["models"])
