"""Readers' assessments of findings, kept in an SQLite file on this machine; nothing of it leaves."""

import csv
import io
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from thorax.errors import ServiceError
from thorax.quoting import is_formula, visible

__all__ = ["Assessment", "Assessments", "Kept"]

Verdict = Literal["read", "agree", "disagree", "amended"]
"""What a reader says: "read" before the model is shown; the others are answers to the model."""

AiShown = Literal["before", "after"]
"""Whether a reader said so before or after seeing what the model says."""

_APPLICATION: Final = 0x54685861
_VERSION: Final = 1
_HASH = Field(pattern="^[0-9a-f]{64}$", max_length=64)
_BUSY_SECONDS: Final = 10.0

_SCHEMA: Final = """
CREATE TABLE assessments (
    id INTEGER PRIMARY KEY,
    assessed_at TEXT NOT NULL,
    reader TEXT NOT NULL,
    image TEXT NOT NULL,
    image_sha256 TEXT NOT NULL,
    model TEXT NOT NULL,
    bundle_sha256 TEXT NOT NULL,
    finding TEXT NOT NULL,
    verdict TEXT NOT NULL CHECK (verdict IN ('read', 'agree', 'disagree', 'amended')),
    present INTEGER CHECK (present IN (0, 1)),
    ai_shown TEXT NOT NULL CHECK (ai_shown IN ('before', 'after')),
    comment TEXT NOT NULL,
    probability REAL NOT NULL,
    decision TEXT NOT NULL
) STRICT
"""


class Assessment(BaseModel):
    """What a reader says of one finding in one image."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reader: Annotated[str, Field(min_length=1, max_length=100)]
    """Who: a name or a code."""
    image: Annotated[str, Field(min_length=1, max_length=300)]
    """Name of the image's file, by which labels are joined with predictions."""
    image_sha256: Annotated[str, _HASH]
    """Hash of its pixels."""
    bundle_sha256: Annotated[str, _HASH]
    """The model that the reader saw, or would have seen."""
    finding: Annotated[str, Field(min_length=1, max_length=200)]
    verdict: Verdict
    present: bool | None
    """Whether the finding is present, as the reader says; None: uncertain."""
    ai_shown: AiShown
    comment: Annotated[str, Field(max_length=2000)] = ""
    probability: Annotated[float, Field(ge=0, le=1)]
    """What the model gave."""
    decision: Literal["yes", "no", "not decided", ""]
    """What the model called; "" without a threshold."""

    @model_validator(mode="after")
    def _consistent(self) -> "Assessment":
        if (self.verdict == "read") != (self.ai_shown == "before"):
            raise ValueError("only what is read before the model is shown is `read`")
        called = {"yes": True, "no": False}.get(self.decision)
        if self.verdict in {"agree", "disagree"}:
            if called is None:
                raise ValueError(
                    "nothing was called, so there is nothing to agree or disagree with; amend it"
                )
            if self.present is not (called if self.verdict == "agree" else not called):
                raise ValueError(f"{self.verdict} does not fit present {self.present}")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An assessment as it is kept, with its time (UTC) and the name of the model."""

    image: str
    image_sha256: str
    reader: str
    finding: str
    present: int | None
    verdict: Verdict
    ai_shown: AiShown
    comment: str
    model: str
    bundle_sha256: str
    probability: float
    decision: str
    assessed_at: str


_COLUMNS: Final = tuple(field.name for field in fields(Kept))


class Assessments:
    """The assessments in a file, which is made if it does not exist, readable by this user alone.

    Nothing is changed or removed: of several by one reader on a finding, the last one counts. Every method
    opens the file anew, so that threads and processes may share it.

    Args:
        path: The file.

    Raises:
        ServiceError: It cannot be used, or holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as error:
            raise ServiceError(
                f"{path} cannot be written ({error.strerror}); set `assessments` to a file in a folder that "
                "exists and may be written to"
            ) from error
        try:
            with self._opened() as database:
                _prepare(database)
        except sqlite3.DatabaseError as error:
            raise ServiceError(
                f"{path} is not a file of assessments ({error}); set `assessments` to a new file, or to one "
                "that thorax serve made"
            ) from error

    def add(self, assessment: Assessment, *, model: str) -> Kept:
        """Keep an assessment, and return it as kept; see `add_all`."""
        (kept,) = self.add_all([(assessment, model)])
        return kept

    def add_all(self, assessments: Sequence[tuple[Assessment, str]]) -> list[Kept]:
        """Keep assessments, all or none, and return them as kept; when this returns, they are on the disk.

        Args:
            assessments: The assessments, each with the name of its model.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        kept = [
            Kept(
                **assessment.model_dump(exclude={"present"}),
                present=None if assessment.present is None else int(assessment.present),
                model=model,
                assessed_at=now,
            )
            for assessment, model in assessments
        ]
        names = ", ".join(_COLUMNS)
        places = ", ".join(f":{name}" for name in _COLUMNS)
        with self._opened() as database:
            database.executemany(
                f"INSERT INTO assessments ({names}) VALUES ({places})",  # noqa: S608  (names of columns)
                map(asdict, kept),
            )
        return kept

    def all(self) -> list[Kept]:
        """Return all assessments, in the order in which they were made."""
        with self._opened() as database:
            rows = database.execute(f"SELECT {', '.join(_COLUMNS)} FROM assessments ORDER BY id").fetchall()  # noqa: S608
        return [Kept(**dict(zip(_COLUMNS, row, strict=True))) for row in rows]

    def as_csv(self) -> str:
        """Return all assessments as CSV, which `evaluate` reads as labels."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\r\n")
        writer.writerow(_COLUMNS)
        for kept in self.all():
            writer.writerow([_cell(value) for value in asdict(kept).values()])
        return text.getvalue()

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """Open the file for one transaction, which is kept at the end unless an error ends it."""
        with closing(sqlite3.connect(self.path, timeout=_BUSY_SECONDS)) as database, database:
            database.execute("PRAGMA synchronous = FULL")
            database.execute("PRAGMA trusted_schema = OFF")
            yield database


def _prepare(database: sqlite3.Connection) -> None:
    """Make the table in an empty file; refuse one of another program or a later version."""
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if (application, version) == (_APPLICATION, _VERSION):
        _refuse_other_columns(database)
        return
    (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables or application or version:
        raise sqlite3.DatabaseError("it has tables of another program or version")
    database.execute("BEGIN IMMEDIATE")
    database.execute(_SCHEMA)
    database.execute(f"PRAGMA application_id = {_APPLICATION}")
    database.execute(f"PRAGMA user_version = {_VERSION}")


def _refuse_other_columns(database: sqlite3.Connection) -> None:
    columns: Sequence[Any] = database.execute("PRAGMA table_info(assessments)").fetchall()
    if {column[1] for column in columns} != {"id", *_COLUMNS}:
        raise sqlite3.DatabaseError("its table has other columns")


def _cell(value: object) -> str:
    """Return a value as a CSV has it: nothing for None, in one line, and no spreadsheet runs it."""
    text = "" if value is None else visible(str(value))
    return f"'{text}" if is_formula(text) else text
