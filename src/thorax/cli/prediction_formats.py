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
    from thorax.workflows.predicting import FilePrediction, LeftOut

__all__ = ["print_csv", "print_held_back", "print_json", "print_row", "print_text", "print_wide"]


def print_json(predictions: "Iterable[FilePrediction[Any]]") -> None:
    """Print one object per image and line."""
    for image in predictions:
        ids = {} if image.identity is None else {"ids": image.identity.as_json()}
        say_json(image.prediction.as_json() | ids)


def print_held_back(image: "LeftOut") -> None:
    """Print an object for an image that the input gate holds back: its error, and no probabilities."""
    say_json(image.as_json())


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
        _print_tables(first)


def _print_tables(images: "Iterable[FilePrediction[Any]]") -> None:
    from thorax.cli.console import print_table

    footnote = ""
    for image in _under_studies(images):
        prediction = image.prediction
        if image.identity is not None and image.identity.named:
            say(image.identity.named)
        print_table(*prediction.as_table(), path=prediction.source)
        footnote = footnote or prediction.missing_thresholds
        for warning in prediction.warnings:
            say(visible(f"{prediction.source}: warning: {warning}"), err=True, prose=True)
    if footnote:
        say(footnote, prose=True)


def _print_rows(first: "list[FilePrediction[Any]]", others: "Iterator[FilePrediction[Any]]") -> None:
    width = max(len(visible(image.prediction.source)) for image in first)
    for image in _under_studies(chain(first, others)):
        ids = "" if image.identity is None or not image.identity.named else f"; {image.identity.named}"
        indent = "  " if image.file.study else ""
        path = visible(image.prediction.source)
        say(f"{indent}{path:{width}}  {image.prediction.as_line()}{ids}")


def _under_studies(images: "Iterable[FilePrediction[Any]]") -> "Iterator[FilePrediction[Any]]":
    """Yield images, and print a heading before those of one study."""
    study = None
    for image in images:
        if image.file.study and image.file.study != study:
            number, count = image.file.study
            say(f"study {number}, {count} images")
        study = image.file.study
        yield image


def print_row(prediction: Prediction) -> None:
    """Print a line: the path, and what is positive."""
    say(f"{visible(prediction.source)}  {prediction.as_line()}")
