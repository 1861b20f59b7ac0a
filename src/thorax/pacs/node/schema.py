"""The database of a node's queue: its tables, and how it is opened so that nothing committed is ever lost."""

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from thorax.errors import ServiceError

__all__ = ["SharedDatabase", "errors_named", "open_database"]

_APPLICATION: Final = 0x5468786E
_VERSION: Final = 2
_BUSY_SECONDS: Final = 30.0
_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

_MODELS: Final = """
CREATE TABLE models (
    sha256 TEXT NOT NULL,
    name TEXT NOT NULL,
    described TEXT NOT NULL,
    PRIMARY KEY (sha256, name)
) STRICT, WITHOUT ROWID;
"""
"""What format 2 added."""

_SCHEMA: Final = (
    """
CREATE TABLE objects (
    id INTEGER PRIMARY KEY,
    sop_uid TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    study_uid TEXT NOT NULL,
    calling TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    received_at REAL NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('received', 'predicted', 'sent', 'skipped', 'failed')),
    attempts INTEGER NOT NULL DEFAULT 0,
    next_try REAL NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    done_at REAL NOT NULL DEFAULT 0,
    outcome TEXT NOT NULL DEFAULT '',
    result_bytes INTEGER NOT NULL DEFAULT 0,
    kept INTEGER NOT NULL DEFAULT 1 CHECK (kept IN (0, 1)),
    UNIQUE (sop_uid, sha256)
) STRICT;
CREATE INDEX objects_by_state ON objects (state, next_try);
CREATE TABLE deliveries (
    object INTEGER NOT NULL REFERENCES objects (id),
    destination TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'sent', 'failed')),
    attempts INTEGER NOT NULL DEFAULT 0,
    next_try REAL NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    commitment TEXT NOT NULL DEFAULT '',
    committed INTEGER CHECK (committed IN (0, 1)),
    PRIMARY KEY (object, destination)
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_by_state ON deliveries (destination, state, next_try);
CREATE INDEX deliveries_by_commitment ON deliveries (commitment) WHERE commitment != '';
"""
    + _MODELS
)


def open_database(path: Path, *, create: bool = True) -> sqlite3.Connection:
    """Open the database of a queue, readable by this user alone; every commit is flushed to disk.

    Args:
        path: The file.
        create: Whether to make it if it does not exist.

    Raises:
        ServiceError: It cannot be used, or is something else.
    """
    try:
        flags = os.O_RDWR | (os.O_CREAT if create else 0)
        os.close(os.open(path, flags | os.O_CLOEXEC, 0o600))
        # Threads share the connection, under a lock of the queue.
        database = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    except OSError as error:
        raise ServiceError(
            f"{path} cannot be opened ({error.strerror}); set `queue` to the folder of a node's queue"
        ) from error
    try:
        _prepare(database, path)
    except sqlite3.DatabaseError as error:
        database.close()
        raise ServiceError(
            f"{path} is not the database of a node's queue ({error}); set `queue` to a new folder, or to one "
            "that a node has made"
        ) from error
    except BaseException:
        database.close()
        raise
    return database


class SharedDatabase:
    """The database of a queue, for the threads of a process.

    Args:
        path: The file.
        create: Whether to make it if it does not exist.

    Raises:
        ServiceError: It cannot be used.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self._database = open_database(path, create=create)
        self._lock = threading.RLock()

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the database; on success, everything is committed and flushed to disk, otherwise nothing."""
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._database.execute(statement, values).fetchall()


@contextmanager
def errors_named(path: Path) -> Iterator[None]:
    """Raise what SQLite cannot do with an open database of a queue as an error that says what to do.

    Raises:
        ServiceError: It is damaged, or another program or a full disk prevents its use.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        # The low byte is the kind of error; the rest says more of it.
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
            raise ServiceError(
                f"{path} is damaged ({error}); end the node, keep this folder for your records, and set "
                "`queue` to a new one: images that are sent again get results with the same UIDs"
            ) from error
        raise ServiceError(
            f"{path} cannot be used ({error}); see whether its disk is full or another program holds it, and "
            "try again"
        ) from error


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("BEGIN IMMEDIATE")
    try:
        _make(database, path)
        database.execute("COMMIT")
    except BaseException:
        database.execute("ROLLBACK")
        raise


def _make(database: sqlite3.Connection, path: Path) -> None:
    """Make the tables of a new database, or what format 1 lacks; refuse one of something else."""
    ((application,),) = database.execute("PRAGMA application_id")
    ((version,),) = database.execute("PRAGMA user_version")
    ((tables,),) = database.execute("SELECT count(*) FROM sqlite_master")
    if application == _APPLICATION and version == _VERSION:
        return
    if application == _APPLICATION and version == 1:
        _execute(database, _MODELS)
        return
    if application == _APPLICATION:
        raise ServiceError(
            f"{path} is of format {version}, and this version of Thorax uses format {_VERSION}; let the "
            "version that made it send what waits, and set `queue` to a new folder"
        )
    if tables:
        raise sqlite3.DatabaseError("it holds other tables")
    _execute(database, _SCHEMA)
    database.execute(f"PRAGMA application_id = {_APPLICATION}")


def _execute(database: sqlite3.Connection, statements: str) -> None:
    """Execute statements, after which the database has this format."""
    for statement in statements.split(";")[:-1]:
        database.execute(statement)
    database.execute(f"PRAGMA user_version = {_VERSION}")
