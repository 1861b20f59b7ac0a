"""How readers agree with a model, from the assessments that `thorax serve` keeps or exports."""

import csv
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from thorax.errors import DataError
from thorax.evaluation.agreement import Agreement, agreement
from thorax.findings import finding_or_new
from thorax.tabular import open_text

__all__ = ["ReaderAgreement", "agreement_with_model"]

_COLUMNS: Final = (
    "assessed_at", "reader", "image_sha256", "bundle_sha256", "finding", "present", "ai_shown", "decision",
)  # fmt: skip
_CALLED: Final = {"yes": True, "no": False}
_SQLITE: Final = b"SQLite format 3\x00"


@dataclass(frozen=True, slots=True)
class ReaderAgreement:
    """How readers and the model agree on one finding.

    Attributes:
        finding: Name of the finding.
        before: Of words of readers who had not seen what the model says, up to a day.
        since: The same from that day on.
        after: Images of which a reader has spoken only after seeing it, which measures nothing.
    """

    finding: str
    before: Agreement
    since: Agreement
    after: int


def agreement_with_model(path: Path, bundle_sha256: str, *, since: date) -> list[ReaderAgreement]:
    """Return how readers agree with a model, for each finding that they have assessed.

    Of several words of one reader on a finding in an image, the last one before seeing the model counts.
    Each reader and image is one entry.

    Args:
        path: The file of assessments of `thorax serve --assessments`, or the CSV that it exports.
        bundle_sha256: The model.
        since: Divides earlier words from recent ones.

    Raises:
        DataError: The file cannot be read, or is neither.
    """
    words: dict[str, dict[tuple[str, str], tuple[bool, date, bool]]] = {}
    after: dict[str, set[tuple[str, str]]] = {}
    for row in _rows(path):
        called = _CALLED.get(row["decision"])
        if row["bundle_sha256"] != bundle_sha256 or row["present"] in {"", None} or called is None:
            continue
        finding, entry = finding_or_new(row["finding"]).name, (row["reader"], row["image_sha256"])
        if row["ai_shown"] == "after":
            after.setdefault(finding, set()).add(entry)
            continue
        day = datetime.fromisoformat(row["assessed_at"]).date()
        words.setdefault(finding, {})[entry] = (str(row["present"]) == "1", day, called)
    return [
        ReaderAgreement(
            finding,
            _agreement(word for word in words.get(finding, {}).values() if word[1] < since),
            _agreement(word for word in words.get(finding, {}).values() if word[1] >= since),
            len(after.get(finding, set()) - words.get(finding, {}).keys()),
        )
        for finding in dict.fromkeys([*words, *after])
    ]


def _agreement(words: Iterable[tuple[bool, date, bool]]) -> Agreement:
    pairs = [(said, called) for said, _, called in words]
    said, called = np.array(pairs, dtype=bool).reshape(-1, 2).T
    return agreement(said, called)


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of either file, with its columns by name."""
    try:
        with path.open("rb") as file:
            is_database = file.read(len(_SQLITE)) == _SQLITE
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}); give the file of assessments of thorax serve, or "
            "its CSV"
        ) from error
    try:
        yield from _rows_of_database(path) if is_database else _rows_of_csv(path)
    except (sqlite3.DatabaseError, csv.Error, KeyError, ValueError) as error:
        raise DataError(
            f"{path} has no assessments ({error}); give the file of assessments of thorax serve, or its CSV"
        ) from error


def _rows_of_database(path: Path) -> Iterator[Mapping[str, Any]]:
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
        database.row_factory = sqlite3.Row
        names = ", ".join(_COLUMNS)
        yield from database.execute(f"SELECT {names} FROM assessments ORDER BY id")  # noqa: S608  (names of columns)


def _rows_of_csv(path: Path) -> Iterator[Mapping[str, Any]]:
    with open_text(path, what="CSV", remedy="export it again") as file:
        reader = csv.DictReader(file)
        missing = set(_COLUMNS) - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"there is no column {min(missing)}")
        yield from reader
