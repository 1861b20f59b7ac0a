"""Predictions of files and folders in a folder of their own: a table, a page, pictures, and a journal.

The folder grows as images are predicted. Killed at any moment and given again, the same call predicts what is
missing, and ends with the same files as an uninterrupted one.
"""

import csv
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final, get_args

from thorax.atomic_io import StrPath, atomic_write, exclusive_lock, is_remote, refuse_existing
from thorax.cluster import Cluster
from thorax.errors import DataError, NotARadiograph
from thorax.findings import Findings, select_findings
from thorax.hardware import blas_on_one_thread
from thorax.imaging.identity import Identity
from thorax.inference.predictor import Predictor
from thorax.prediction import Prediction
from thorax.progress import ProgressCallback
from thorax.quoting import path_cell, visible
from thorax.recipe.literals import EngineName, Overlays
from thorax.reporting.prediction_page import PageHead, PageImage, write_page
from thorax.reporting.prediction_tables import wide_header, wide_row
from thorax.workflows.predict_elsewhere import PredictingWith
from thorax.workflows.predicting import Tally, counting, refuse_nothing
from thorax.workflows.prediction_journal import JOURNAL, Journal, Row, open_journal
from thorax.workflows.prediction_pictures import OVERLAYS, THUMBNAILS, Pictures, open_maps
from thorax.workflows.prediction_recorder import Recorder

__all__ = ["Folder", "FolderPredictions", "predict_folder", "refuse_unusable"]

PREDICTIONS: Final = "predictions.csv"
REJECTED: Final = "rejected.csv"

_NOT_AN_IMAGE: Final = "not-an-image"
"""The error of a file in a folder that is left out without being a failure."""
PAGE: Final = "index.html"
_OURS: Final = (JOURNAL, PAGE, PREDICTIONS, REJECTED, THUMBNAILS, OVERLAYS)
"""What a folder of predictions holds, and what is removed when it is begun again."""

_LISTED: Final = 100
"""Images held back that the page lists; the table of rejected files has all."""

_ENDINGS: Final = (".csv", ".tsv", ".json", ".jsonl", ".html", ".xlsx", ".txt")


@dataclass(frozen=True, slots=True)
class FolderPredictions:
    """The result of `predict_folder`.

    Attributes:
        folder: The folder.
        tally: What became of all files that it knows, also of those that were predicted earlier.
        earlier: Files that were done before this call, and that it skipped.
        note: Why there are no maps, a sentence without its period; "" if there are, or none were wanted.
    """

    folder: Path
    tally: Tally
    earlier: int
    note: str


def predict_folder(
    predictor: Predictor,
    images: Sequence[StrPath],
    out: StrPath,
    *,
    findings: Sequence[str] = (),
    ids: bool = False,
    overlays: Overlays = "positive",
    device: str = "auto",
    engine: EngineName = "auto",
    cluster: Cluster | None = None,
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
    failed: Callable[[str, str], None] | None = None,
) -> FolderPredictions:
    """Predict files and folders, and write what was predicted into a folder.

    `predictions.csv` has one row per image, `rejected.csv` the files that could not be predicted and why, and
    `index.html` shows all images, with thumbnails and maps from the folders beside it. If the call is
    interrupted, the same one continues; files that have changed or are new are predicted, and those that
    failed are tried again.

    Args:
        predictor: The model.
        images: Files and folders.
        out: The folder: new, empty, or one that a call with the same settings wrote.
        findings: The findings to predict; empty: all that the model has.
        ids: Whether to write the patient ids, accession numbers, study dates and UIDs of DICOM files.
        overlays: Which findings get a map over the thumbnail, if the model has exact class activation maps.
        device: The device that computes the maps; over a cluster, also the logits.
        engine: Over a cluster, what computes the logits; the same as the predictor's.
        cluster: Predicts on the nodes of a Ray cluster instead of here. Every node must see the images, the
            model and `out` under the same paths.
        overwrite: Whether to begin again in a folder with earlier predictions.
        progress: Called while files are predicted.
        failed: Receives each file that could not be predicted, and the reason.

    Raises:
        DataError: The folder holds something else or predictions with other settings, or the model does not
            predict one of the findings.
        ServiceError: There is no such cluster, or it has no room.
    """
    paths = [Path(image) for image in images]
    remote = next(filter(is_remote, paths), None)
    if cluster is not None and remote is not None:
        raise DataError(
            f"the nodes of a cluster share a file system, and {remote} is in object storage; copy the images "
            "into a folder that all nodes see, or predict on this machine"
        )
    folder = Folder(predictor, Path(out), findings=findings, ids=ids, overlays=overlays, device=device)
    with blas_on_one_thread(), folder.opened(overwrite=overwrite) as journal:
        recorder = Recorder(predictor, journal, folder.pictures(), out=folder.path, ids=ids, failed=failed)
        done = counting(paths, progress, without=folder.path)
        files = recorder.new_files(paths)
        if cluster is None:
            computed = recorder.predict(files)
        else:
            computed = recorder.predict_elsewhere(files, folder.tools(engine), cluster)
        with closing(computed):
            for number in computed:
                done(recorder.skipped + number)
        tally = folder.write(journal)
        refuse_nothing(tally, paths, recorder.lose)
        tally.failed += recorder.lost
        return FolderPredictions(folder.path, tally, recorder.skipped, folder.without_maps)


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


class Folder:
    """A folder of predictions with one model and one set of settings; see `predict_folder`.

    Attributes:
        path: The folder.
        ids: Whether identifiers are written.
        without_maps: Why there are no maps; "" if there are, or none were wanted.
    """

    def __init__(
        self,
        predictor: Predictor,
        path: Path,
        *,
        findings: Sequence[str] = (),
        ids: bool = False,
        overlays: Overlays = "positive",
        device: str = "auto",
    ) -> None:
        if overlays not in get_args(Overlays):
            raise DataError(f"there is no `overlays={overlays}`; set it to {', '.join(get_args(Overlays))}")
        self.path = path
        self._predictor = predictor
        self._findings: Findings = select_findings(findings, predictor.bundle.findings)
        self.ids = ids
        self._overlays: Overlays = overlays
        self._device = device
        self.without_maps = ""

    @contextmanager
    def opened(self, *, overwrite: bool) -> Iterator[Journal]:
        """Open the journal, and lock the folder."""
        refuse_unusable(self.path, overwrite=overwrite)
        self.path.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(self.path, doing="predicting into"):
            if overwrite:
                _clear(self.path)
            journal = open_journal(self.path, self._settings())
            try:
                yield journal
            finally:
                journal.close()

    def _settings(self) -> dict[str, Any]:
        """Return what must be the same for the rows of one journal.

        A quantized engine has thresholds of its own, which tell it from the exact ones.
        """
        points = self._predictor.bundle.manifest.operating_points
        thresholds = points.thresholds if points else {}
        return {
            "model": self._predictor.identity.name,
            "bundle": self._predictor.identity.bundle_sha256,
            "findings": [finding.name for finding in self._findings],
            "thresholds": [thresholds.get(finding.name) for finding in self._findings],
            "ids": self.ids,
            "overlays": self._overlays,
            "gate": self._predictor.holds_back,
        }

    def pictures(self) -> Pictures:
        """Return what writes the pictures."""
        explainer, self.without_maps = open_maps(self._predictor, self._overlays, device=self._device)
        return Pictures(self.path, self._findings, overlays=self._overlays, explainer=explainer)

    def tools(self, engine: EngineName) -> PredictingWith:
        """Return what predicts into this folder on another machine."""
        return PredictingWith(
            bundle=replace(self._predictor.bundle, patients={}),  # many, and not needed
            holds_back=self._predictor.holds_back,
            findings=self._findings,
            overlays=self._overlays,
            device=self._device,
            engine=engine,
            out=self.path,
            ids=self.ids,
        )

    def write(self, journal: Journal) -> Tally:
        """Write the tables and the page from the journal, row by row, and return what they hold."""
        tally = self._write_tables(journal)
        if tally.predicted:
            self._write_page(journal, tally)
        return tally

    def _write_tables(self, journal: Journal) -> Tally:
        tally = Tally()
        with (
            atomic_write(self.path / PREDICTIONS) as table,
            atomic_write(self.path / REJECTED) as others,
            table.open("w", encoding="utf-8", newline="") as rows,
            others.open("w", encoding="utf-8", newline="") as lines,
        ):
            predicted = csv.writer(rows, lineterminator="\n")
            rejected = csv.writer(lines, lineterminator="\n")
            predicted.writerow(wide_header(self._findings, ids=self.ids))
            rejected.writerow(("path", "reason", "error"))
            for row in journal.rows():
                if "probabilities" in row:
                    prediction = self._prediction(row)
                    predicted.writerow(wide_row(row["name"], prediction, self._identity(row)))
                    tally.predicted += 1
                    tally.add_warnings(prediction.warnings)
                else:
                    tally.failed += "reason" in row
                    tally.held_back += row.get("error") == NotARadiograph.code
                    tally.others.update([] if "reason" in row else [Path(row["path"]).name])
                    reason, error = row.get("reason", "not an image"), row.get("error", _NOT_AN_IMAGE)
                    rejected.writerow((path_cell(row["path"]), visible(reason), visible(error)))
        return tally

    def _write_page(self, journal: Journal, tally: Tally) -> None:
        images = Counter(row.get("study", 0) for row in journal.rows())

        def pictured() -> Iterator[PageImage]:
            for row in journal.rows():
                if "probabilities" in row:
                    together = self.ids or images[row.get("study", 0)] > 1
                    yield PageImage(
                        number=row["number"],
                        name=row["name"],
                        view=row.get("view", ""),
                        study=row.get("study", 0) if together else 0,
                        prediction=self._prediction(row),
                        maps={name: (low, high) for name, (low, high) in row.get("maps", {}).items()},
                        identity=self._identity(row),
                    )

        failed = f" {tally.failed:,} of {tally.total:,} files could not be predicted; {REJECTED} says why."
        gated = (row for row in journal.rows() if row.get("error") == NotARadiograph.code)
        with atomic_write(self.path / PAGE) as page:
            write_page(
                page,
                pictured(),
                example=next(self._prediction(row) for row in journal.rows() if "probabilities" in row),
                head=PageHead(
                    lead=f"{tally.predicted:,} images.{failed if tally.failed else ''}",
                    notes=list(filter(None, (self._predictor.identity.statement, self.without_maps))),
                    held_back=[(row["name"], row["reason"]) for row in islice(gated, _LISTED)],
                    num_held_back=tally.held_back,
                ),
                ids=self.ids,
            )

    def _prediction(self, row: Row) -> Prediction:
        try:
            prediction = self._predictor.prediction(row["path"], row["probabilities"], tuple(row["warnings"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{self.path / JOURNAL} is damaged (the row of {row['path']}); set `overwrite` to begin again"
            ) from error
        return self.shown(prediction)

    def shown(self, prediction: Prediction) -> Prediction:
        """Return a prediction of the findings that are written."""
        return prediction.only(self._findings)

    def _identity(self, row: Row) -> Identity | None:
        return Identity(**row.get("ids", {})) if self.ids else None


def _clear(folder: Path) -> None:
    """Remove earlier predictions, the journal first: without it, the rest is never continued."""
    for name in _OURS:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
