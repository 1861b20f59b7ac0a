"""Predictions as rows of CSV: one per image and finding, or one per image."""

from collections.abc import Sequence

from thorax.findings import Findings
from thorax.imaging.identity import IDENTIFIERS, Identity
from thorax.prediction import Prediction
from thorax.quoting import is_formula, path_cell, visible

__all__ = ["long_header", "long_rows", "wide_header", "wide_row"]

_LONG = (
    "source", "finding", "probability", "threshold", "positive", "prevalence", "decision", "undecided_from",
    "undecided_to", "warnings",
)  # fmt: skip

Cell = str | float | None


def long_header(*, ids: bool = False) -> tuple[str, ...]:
    """Return the columns of `long_rows`."""
    return (*_LONG, *(IDENTIFIERS if ids else ()))


def long_rows(prediction: Prediction, identity: Identity | None = None) -> list[tuple[Cell, ...]]:
    """Return one row per finding; with an identity, its values are the last columns of each."""
    rows = []
    for finding in prediction.findings:
        positive = "" if finding.positive is None else int(finding.positive)
        numbers = (finding.probability, finding.threshold, positive, finding.prevalence)
        band = (finding.decision, *(finding.undecided or ("", "")))
        warnings = "; ".join(prediction.warnings)
        cells = (path_cell(prediction.source), finding.finding.name, *numbers, *band, warnings)
        rows.append((*cells, *_id_cells(identity)))
    return rows


def wide_header(findings: Findings, *, ids: bool = False) -> tuple[str, ...]:
    """Return the columns of `wide_row`: those of probabilities are named like the findings."""
    names = [finding.name for finding in findings]
    return (
        "Image Index",
        *names,
        *(f"{name}_threshold" for name in names),
        *(f"{name}_decision" for name in names),
        "warnings",
        *(IDENTIFIERS if ids else ()),
        "path",
    )


def wide_row(name: str, prediction: Prediction, identity: Identity | None = None) -> tuple[Cell, ...]:
    """Return one row with every finding of an image, with every digit of its probabilities.

    Args:
        name: The image as labels name it: its path within its folder.
        prediction: The prediction; the last cell is its path as given.
        identity: Adds its values before that.
    """
    findings = prediction.findings
    return (
        path_cell(name),
        *(entry.probability for entry in findings),
        *(entry.threshold for entry in findings),
        *(entry.decision for entry in findings),
        "; ".join(prediction.warnings),
        *_id_cells(identity),
        path_cell(prediction.source),
    )


def _id_cells(identity: Identity | None) -> Sequence[str]:
    """Return identifiers so that no spreadsheet runs them: with an apostrophe before a formula."""
    if identity is None:
        return ()
    shown = map(visible, identity.values())
    return [f"'{value}" if is_formula(value) else value for value in shown]
