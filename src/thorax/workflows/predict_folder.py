"""Predictions of files and folders in a folder of their own: a table, a page, pictures, and a journal.

The folder grows as images are predicted. Killed at any moment and given again, the same call predicts what is
missing, and ends with the same files as an uninterrupted one.
"""

import csv
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

from thorax.atomic_io import StrPath, atomic_write, exclusive_lock, refuse_existing
from thorax.errors import DataError
from thorax.findings import Findings, select_findings
from thorax.imaging.identity import Identity
from thorax.inference.predictor import Predictor
from thorax.prediction import Prediction
from thorax.progress import ProgressCallback
from thorax.quoting import path_cell, visible
from thorax.radiograph import Radiograph
from thorax.reporting.prediction_tables import wide_header, wide_row
from thorax.workflows.predicting import (
    FilePrediction,
    ImageFile,
    LeftOut,
    Tally,
    counting,
    list_files,
    predict_listed,
    refuse_nothing,
)
from thorax.workflows.prediction_journal import JOURNAL, Journal, Row, open_journal

__all__ = ["FolderPredictions", "predict_folder", "prediction_in", "refuse_unusable"]

PREDICTIONS: Final = "predictions.csv"
REJECTED: Final = "rejected.csv"
_FILES: Final = (JOURNAL, PREDICTIONS, REJECTED)
"""What a folder of predictions holds, and what is removed when it is begun again."""

_ENDINGS: Final = (".csv", ".tsv", ".json", ".jsonl", ".html", ".xlsx", ".txt")

_TOGETHER: Final = 32
"""Files that are noted in the journal at once: flushing it to disk takes milliseconds."""

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class FolderPredictions:
    """The result of `predict_folder`.

    Attributes:
        folder: The folder.
        tally: What became of all files that it knows, also of those that were predicted earlier.
        earlier: Files that were done before this call, and that it skipped.
    """

    folder: Path
    tally: Tally
    earlier: int


def predict_folder(
    predictor: Predictor,
    images: Sequence[StrPath],
    out: StrPath,
    *,
    findings: Sequence[str] = (),
    ids: bool = False,
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
    failed: Callable[[str, str], None] | None = None,
) -> FolderPredictions:
    """Predict files and folders, and write what was predicted into a folder.

    `predictions.csv` has one row per image, `rejected.csv` the files that could not be predicted and why. If
    the call is interrupted, the same one continues; files that have changed or are new are predicted, and
    those that failed are tried again.

    Args:
        predictor: The model.
        images: Files and folders.
        out: The folder: new, empty, or one that a call with the same settings wrote.
        findings: The findings to predict; empty: all that the model has.
        ids: Whether to write the patient ids, accession numbers, study dates and UIDs of DICOM files.
        overwrite: Whether to begin again in a folder with earlier predictions.
        progress: Called while files are predicted.
        failed: Receives each file that could not be predicted, and the reason.

    Raises:
        DataError: The folder holds something else or predictions with other settings, or the model does not
            predict one of the findings.
    """
    paths, folder = [Path(image) for image in images], Path(out)
    chosen = select_findings(findings, predictor.bundle.findings)
    settings = _settings(predictor, chosen, ids=ids)
    with _opened(folder, settings, overwrite=overwrite) as journal:
        work = _Work(predictor, journal, out=folder, ids=ids, failed=failed)
        done = counting(paths, progress, without=folder)
        for number in work.predict(paths):
            done(number)
        tally = _write_tables(folder, journal, predictor, chosen, ids=ids)
        refuse_nothing(tally, paths, work.lose)
        tally.failed += work.lost
        return FolderPredictions(folder, tally, work.skipped)


def refuse_unusable(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder into which nothing can be predicted, before any work.

    Raises:
        DataError: It is a file, has the name of one, or holds something else than predictions.
    """
    if folder.suffix.lower() in _ENDINGS and not folder.exists():
        raise DataError(
            f"out is a folder for {PREDICTIONS}, a page and pictures, and {folder} is the name of a file; "
            f"name a folder, or print the table into the file with thorax predict ... --wide > {folder}"
        )
    if not (folder / JOURNAL).exists():
        refuse_existing(folder, overwrite=overwrite, folder=True)


def _settings(predictor: Predictor, findings: Findings, *, ids: bool) -> dict[str, Any]:
    """Return what must be the same for the rows of one journal."""
    return {
        "model": predictor.identity.name,
        "bundle": predictor.identity.bundle_sha256,
        "findings": [finding.name for finding in findings],
        "ids": ids,
    }


@contextmanager
def _opened(folder: Path, settings: dict[str, Any], *, overwrite: bool) -> Iterator[Journal]:
    """Open the folder's journal, and lock the folder."""
    refuse_unusable(folder, overwrite=overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(folder, doing="predicting into"):
        if overwrite:
            _clear(folder)
        journal = open_journal(folder, settings)
        try:
            yield journal
        finally:
            journal.close()


def _clear(folder: Path) -> None:
    """Remove earlier predictions, the journal first: without it, the rest is never continued."""
    for name in _FILES:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


class _Work:
    """Predicts the files that a journal does not have, and adds them.

    Args:
        predictor: The model.
        journal: The journal.
        out: The folder that is written, whose pictures are not images to predict.
        ids: Whether to read identifiers.
        failed: Receives each failure.

    Attributes:
        skipped: Files that the journal has.
        lost: Folders and addresses that are not files.
    """

    def __init__(
        self,
        predictor: Predictor,
        journal: Journal,
        *,
        out: Path,
        ids: bool,
        failed: Callable[[str, str], None] | None,
    ) -> None:
        self.skipped = 0
        self.lost = 0
        self._predictor = predictor
        self._journal = journal
        self._out = out
        self._ids = ids
        self._failed = failed
        self._states: dict[str, tuple[int, int]] = {}

    def lose(self, place: str, reason: str) -> None:
        """Count and report what was given and has no file."""
        self.lost += 1
        if self._failed is not None:
            self._failed(place, reason)

    def predict(self, paths: Sequence[Path]) -> Iterator[int]:
        """Predict what is new, and yield the number of files done after each chunk."""
        computed = 0
        outcomes = predict_listed(self._predictor, self._new(paths), _nothing, ids=self._ids)
        for chunk in _chunks(outcomes, _TOGETHER):
            self._record(chunk)
            computed += len(chunk)
            yield self.skipped + computed

    def _new(self, paths: Sequence[Path]) -> Iterator[ImageFile]:
        """Yield new files and, after them, those that failed or have changed.

        So the new ones are computed in the same company as without an interruption.
        """
        again: list[ImageFile] = []
        for file in list_files(paths, failed=self.lose, without=self._out):
            state = _state(file.path)
            if self._journal.has(file.path, state) or file.path in self._states:
                self.skipped += 1
            else:
                self._states[file.path] = state
                if self._journal.knows(file.path):
                    again.append(file)
                else:
                    yield file
        yield from again

    def _record(self, chunk: Sequence[FilePrediction[None] | LeftOut]) -> None:
        self._journal.append(
            [_row(outcome, self._states.pop(outcome.file.path), self._journal) for outcome in chunk]
        )
        for outcome in chunk:
            if self._failed is not None and isinstance(outcome, LeftOut) and outcome.reason:
                self._failed(outcome.file.path, outcome.reason)


def _nothing(source: str, radiograph: Radiograph) -> None:
    """Keep nothing of an image."""


def _row(outcome: FilePrediction[None] | LeftOut, state: tuple[int, int], journal: Journal) -> Row:
    file, (size, time) = outcome.file, state
    row: Row = {
        "number": journal.number_of(file.path),
        "path": file.path,
        "name": file.name,
        "size": size,
        "time": time,
    }
    if isinstance(outcome, LeftOut):
        return row | ({"reason": outcome.reason} if outcome.reason else {"other": True})
    if outcome.identity is not None:
        row["ids"] = outcome.identity.as_json()
    return row | {
        "probabilities": [entry.probability for entry in outcome.prediction.findings],
        "warnings": list(outcome.prediction.warnings),
    }


def _state(path: str) -> tuple[int, int]:
    """Return size and modification time of a file; zeros if it is gone, which is then a failure."""
    try:
        status = os.stat(path)  # noqa: PTH116  (a path that is too long)
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _write_tables(
    folder: Path, journal: Journal, predictor: Predictor, findings: Findings, *, ids: bool
) -> Tally:
    """Write both tables from the journal, row by row, and return what they hold."""
    tally = Tally()
    with (
        atomic_write(folder / PREDICTIONS) as table,
        atomic_write(folder / REJECTED) as others,
        table.open("w", encoding="utf-8", newline="") as rows,
        others.open("w", encoding="utf-8", newline="") as lines,
    ):
        predicted, rejected = csv.writer(rows, lineterminator="\n"), csv.writer(lines, lineterminator="\n")
        predicted.writerow(wide_header(findings, ids=ids))
        rejected.writerow(("path", "reason"))
        for row in journal.rows():
            if "probabilities" in row:
                prediction = prediction_in(row, predictor, findings)
                identity = Identity(**row["ids"]) if ids else None
                predicted.writerow(wide_row(row["name"], prediction, identity))
                tally.predicted += 1
                tally.add_warnings(prediction.warnings)
            else:
                tally.failed += "reason" in row
                tally.others.update([] if "reason" in row else [Path(row["path"]).name])
                rejected.writerow((path_cell(row["path"]), visible(row.get("reason", "not an image"))))
    return tally


def prediction_in(row: Row, predictor: Predictor, findings: Findings) -> Prediction:
    """Return the prediction of a row of the journal."""
    try:
        return predictor.prediction(row["path"], row["probabilities"], tuple(row["warnings"])).only(findings)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"the journal's line of {row.get('path')} is damaged; set `overwrite` to predict again"
        ) from error


def _chunks(items: Iterator[_Item], size: int) -> Iterator[list[_Item]]:
    while chunk := list(islice(items, size)):
        yield chunk
