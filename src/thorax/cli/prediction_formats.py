"""Predictions as `thorax predict` prints them: tables, a row per image, JSON lines, or CSV."""

import csv
import sys
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from thorax.cli.output import say, say_json
from thorax.findings import Findings
from thorax.prediction import Prediction
from thorax.quoting import visible

if TYPE_CHECKING:
    from thorax.workflows.predicting import FilePrediction

__all__ = ["print_csv", "print_json", "print_row", "print_text", "print_wide"]


def print_json(predictions: "Iterable[FilePrediction[Any]]") -> None:
    """Print one object per image and line."""
    for image in predictions:
        ids = {} if image.identity is None else {"ids": image.identity.as_json()}
        say_json(image.prediction.as_json() | ids)


def print_csv(predictions: "Iterable[FilePrediction[Any]]", *, ids: bool) -> None:
    """Print a table with one line per image and finding."""
    from thorax.reporting.prediction_tables import long_header, long_rows

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(long_header(ids=ids))
    for image in predictions:
        writer.writerows(long_rows(image.prediction, image.identity))


def print_wide(predictions: "Iterable[FilePrediction[Any]]", findings: Findings, *, ids: bool) -> None:
    """Print a table with one line per image and one column per finding."""
    from thorax.reporting.prediction_tables import wide_header, wide_row

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(wide_header(findings, ids=ids))
    for image in predictions:
        writer.writerow(wide_row(image.file.name, image.prediction, image.identity))


def print_text(predictions: "Iterable[FilePrediction[Any]]", *, few: int) -> None:
    """Print a table for each of a few images, with its warnings on standard error, or a row for each of many.

    Args:
        predictions: The predictions.
        few: The largest number of images that get tables.
    """
    coming = iter(predictions)
    first = list(islice(coming, few + 1))
    if len(first) > few:
        _print_rows(first, coming)
    else:
        _print_tables(image.prediction for image in first)


def _print_tables(predictions: Iterable[Prediction]) -> None:
    from thorax.cli.console import print_table

    footnote = ""
    for prediction in predictions:
        print_table(*prediction.as_table(), path=prediction.source)
        footnote = footnote or prediction.missing_thresholds
        for warning in prediction.warnings:
            say(visible(f"{prediction.source}: warning: {warning}"), err=True)
    if footnote:
        say(footnote)


def _print_rows(first: "list[FilePrediction[Any]]", others: "Iterator[FilePrediction[Any]]") -> None:
    width = max(len(visible(image.prediction.source)) for image in first)
    for image in chain(first, others):
        print_row(image.prediction, width=width)


def print_row(prediction: Prediction, *, width: int = 0) -> None:
    """Print a line: the path, padded to a width, and what is positive."""
    say(f"{visible(prediction.source):{width}}  {prediction.as_line()}")
