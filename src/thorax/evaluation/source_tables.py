"""The tables that the five source projects print about their own models, to be shown beside ours.

None was measured on the images of an evaluation: every number comes from another split, and none has an
interval. They are never comparisons.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final, Literal, get_args

from thorax.evaluation.classification import AVERAGES, Average
from thorax.findings import Finding, parse_finding

__all__ = ["SOURCE_TABLES", "MeanOver", "SourceMeasure", "SourceRow", "SourceTable"]

SourceMeasure = Literal["auc", "ppv", "sensitivity", "specificity", "f1", "accuracy"]
"""What a column holds. Recall is sensitivity, precision is PPV."""

MeanOver = Literal["mean", "mean-with-no-finding"]
"""The mean over the findings; the second counts No Finding as one of them, which our means never do."""


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One row of a project's table.

    Attributes:
        name: What it is of.
        of: The number of ours beside which it is shown: of a finding, an average as scikit-learn counts it,
            or a mean.
        values: The printed numbers as (low, high), equal unless a range is printed.
    """

    name: str
    of: Finding | Average | MeanOver
    values: Mapping[SourceMeasure, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class SourceTable:
    """One table of a project.

    Attributes:
        project: The project.
        title: What the table shows.
        source: Where it is printed.
        measured: What is known of how it was measured.
        rows: The rows, in the project's order.
    """

    project: str
    title: str
    source: str
    measured: str
    rows: tuple[SourceRow, ...]

    @property
    def measures(self) -> tuple[SourceMeasure, ...]:
        """The measures that some row has, in their order."""
        printed = {measure for row in self.rows for measure in row.values}
        return tuple(measure for measure in get_args(SourceMeasure) if measure in printed)


def _row(table: Mapping[str, Any]) -> SourceRow:
    of: Finding | Average | MeanOver = table["of"]
    name = table.get("name", f"{of} average")
    if of not in {*AVERAGES, *get_args(MeanOver)}:
        of = parse_finding(table["of"], where="the source projects' tables")
        name = of.label
    values = {
        measure: (number[0], number[1]) if isinstance(number, list) else (number, number)
        for measure in get_args(SourceMeasure)
        if (number := table.get(measure)) is not None
    }
    return SourceRow(name.capitalize() if "name" not in table else name, of, values)


def _table(table: Mapping[str, Any]) -> SourceTable:
    texts = {name: table[name] for name in ("project", "title", "source", "measured")}
    return SourceTable(**texts, rows=tuple(map(_row, table["rows"])))


_FILE: Final = files("thorax.evaluation").joinpath("source_tables.toml")

SOURCE_TABLES: Final = tuple(_table(table) for table in tomllib.loads(_FILE.read_text("utf-8"))["tables"])
"""Every table of the five projects, in the projects' order."""
