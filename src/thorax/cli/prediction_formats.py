"""Predictions as `thorax predict` prints them: tables, JSON lines, or CSV."""

import csv
import sys
from collections.abc import Iterable
from typing import Final

from thorax.cli.output import say, say_json
from thorax.prediction import Prediction
from thorax.quoting import path_cell, visible

__all__ = ["print_csv", "print_json", "print_tables"]

_COLUMNS: Final = (
    "source", "finding", "probability", "threshold", "positive", "prevalence", "decision", "undecided_from",
    "undecided_to", "warnings",
)  # fmt: skip


def print_json(predictions: Iterable[Prediction]) -> None:
    """Print one object per image and line."""
    for prediction in predictions:
        say_json(prediction.as_json())


def print_csv(predictions: Iterable[Prediction]) -> None:
    """Print a table with one line per image and finding."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for prediction in predictions:
        for finding in prediction.findings:
            positive = "" if finding.positive is None else int(finding.positive)
            numbers = (finding.probability, finding.threshold, positive, finding.prevalence)
            band = (finding.decision, *(finding.undecided or ("", "")))
            warnings = "; ".join(prediction.warnings)
            writer.writerow((path_cell(prediction.source), finding.finding, *numbers, *band, warnings))


def print_tables(predictions: Iterable[Prediction]) -> None:
    """Print one table per image, and its warnings to standard error."""
    from thorax.cli.console import print_table

    footnote = ""
    for prediction in predictions:
        print_table(*prediction.as_table(), title=prediction.source)
        footnote = footnote or prediction.missing_thresholds
        for warning in prediction.warnings:
            say(visible(f"{prediction.source}: warning: {warning}"), err=True)
    if footnote:
        say(footnote)
