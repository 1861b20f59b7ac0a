"""A model's predictions from a file: any model's CSV, or the folder of a report that `evaluate` wrote."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from thorax.atomic_io import sha256_of_lines
from thorax.bundle.files import MANIFEST, bundle_folder
from thorax.errors import DataError
from thorax.evaluation.inputs.join import (
    Labels,
    chosen_on,
    join_predictions,
    split_warnings,
    trained_prevalence,
)
from thorax.evaluation.inputs.metrics_json import METRICS_FILE, read_metrics
from thorax.evaluation.inputs.prediction_csv import (
    PREDICTIONS_FILE,
    VALIDATION_FILE,
    PredictionFile,
    read_predictions,
    usable_predictions,
)
from thorax.evaluation.thresholds import ThresholdSet, read_threshold_set
from thorax.prediction import ModelIdentity
from thorax.workflows.caveats import patients_warning
from thorax.workflows.predictions import PartPredictions, PartSelection, ValidationPredictions
from thorax.workflows.results import context_of

__all__ = ["FilePredictions", "file_validation", "has_predictions", "is_report", "read_part", "report_split"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FilePredictions:
    """What a file says of a model.

    Attributes:
        rows: The file as read.
        reported: The predictions on the part.
        validation: Those on validation images; None if there are none.
        own: The thresholds at which the model decides: the first ones of a report; empty for other files.
    """

    rows: PredictionFile
    reported: PartPredictions
    validation: ValidationPredictions | None
    own: tuple[ThresholdSet, ...] = ()


_BESIDE: Final = {PREDICTIONS_FILE, VALIDATION_FILE, "rejected.csv"}
"""The CSVs in a folder of one model's predictions; the last is of images that `predict` could not read."""


def has_predictions(path: Path) -> bool:
    """Return whether a path is a file, or a folder with one model's predictions, such as a report.

    A CSV that does not exist is one, too: the message then says what is missing.
    """
    if not path.is_dir():
        return path.is_file() or path.name.endswith((".csv", ".csv.gz"))
    if (bundle_folder(path) / MANIFEST).is_file():
        return False
    names = {table.name for table in path.glob("*.csv")}
    return is_report(path) or (PREDICTIONS_FILE in names and names <= _BESIDE)


def is_report(path: Path) -> bool:
    """Return whether a path is the folder of a report with its predictions, and not also a run or bundle."""
    files = all((path / name).is_file() for name in (METRICS_FILE, PREDICTIONS_FILE))
    return files and not (bundle_folder(path) / MANIFEST).is_file()


def report_split(path: Path) -> str:
    """Return the split that a report states; "" for other files, and for reports that state none.

    Raises:
        DataError: Its `metrics.json` cannot be read.
    """
    return _Report(path).split if is_report(path) else ""


@dataclass(frozen=True, eq=False)
class _Report:
    """The folder of a report that `evaluate` wrote."""

    path: Path

    @cached_property
    def metrics(self) -> Mapping[str, Any]:
        return read_metrics(self.path)

    @property
    def split(self) -> str:
        return str(self._section("split").get("name") or "")

    @property
    def identity(self) -> ModelIdentity:
        model = self._section("model")
        return ModelIdentity(
            str(model.get("name", self.path.name)),
            str(model.get("bundle_sha256", "")),
            calibrated=model.get("calibrated") is True,
        )

    @property
    def made(self) -> tuple[tuple[str, str], ...]:
        return tuple((str(name), str(text)) for name, text in self._section("made").items())

    @property
    def warnings(self) -> tuple[str, ...]:
        listed = self.metrics.get("warnings")
        errors = self._section("audit").get("num_errors")
        return (
            *(str(text) for text in (listed if isinstance(listed, list) else ())),
            *([f"The audit of {self.path.name} found {errors} errors; see its report."] if errors else ()),
        )

    def refuse_other_images(self, read: PredictionFile) -> None:
        """Refuse predictions of other images than the metrics are of."""
        images = sha256_of_lines(sorted(set(read.images)))
        if images != self.metrics.get("images_sha256"):
            raise DataError(
                f"{read.path} has other images than the {METRICS_FILE} beside it; evaluate again, or give "
                "the CSV itself"
            )

    def selection(self, asked: PartSelection) -> PartSelection:
        """Return what is asked for, with the split of the report if none is named."""
        if asked.split:
            return asked
        if self.split.startswith("file:"):
            raise DataError(
                f"{self.path} was measured on the split {self.split}; name it with `split`, with the path of "
                "its file"
            )
        return replace(asked, split=self.split)

    def points(self, reported: PartPredictions) -> tuple[ThresholdSet, ...]:
        """Return the first thresholds of the report, unless they were chosen on the reported images."""
        points = self.metrics.get("operating_points")
        first = points[0] if isinstance(points, list) and points else {}
        if not isinstance(first, dict) or first.get("test_tuned") is not False:
            return ()
        return (read_threshold_set(self.path / METRICS_FILE, reported.cohort.findings),)

    def _section(self, name: str) -> Mapping[str, Any]:
        value = self.metrics.get(name)
        return value if isinstance(value, dict) else {}


def read_part(
    file: Path,
    labels: Labels,
    selection: PartSelection,
    *,
    logits: bool = False,
    validation: Path | None = None,
) -> FilePredictions:
    """Read the predictions on a part, and those on the split's validation images if there are any.

    Args:
        file: The predictions: a CSV; or the folder of a report, whose split is used if none is named.
        labels: The labels.
        selection: The images to evaluate on.
        logits: Whether the predictions are logits.
        validation: A file of the model's predictions on validation images; None reads those that `file` has.

    Raises:
        DataError: See `read_predictions`, `usable_predictions` and `join_predictions`; or the files of a
            report do not belong together.
    """
    report = _Report(file) if is_report(file) else None
    rows = read_predictions(file, findings=labels.table.findings, images=labels.table.images)
    if report is not None:
        report.refuse_other_images(rows)
        selection = report.selection(selection)
        beside = file / VALIDATION_FILE
        validation = validation or (beside if beside.is_file() else None)
    reported, chosen = _joined(rows, labels, selection, logits=logits, report=report)
    if validation is not None:
        chosen = file_validation(validation, labels, reported, split=selection.split, logits=logits)
    own = () if report is None else report.points(reported)
    return FilePredictions(rows=rows, reported=reported, validation=chosen, own=own)


def _joined(
    read: PredictionFile,
    labels: Labels,
    selection: PartSelection,
    *,
    logits: bool = False,
    report: _Report | None = None,
) -> tuple[PartPredictions, ValidationPredictions | None]:
    scored, omitted = usable_predictions(read, logits=logits)
    measured = join_predictions(scored, labels, split=selection.split, part=selection.part)
    cohort, probabilities, split = measured.cohort, measured.probabilities, measured.split
    if selection.view:
        rows = np.flatnonzero([view == selection.view for view in cohort.views or ()])
        if not len(rows):
            raise DataError(f"no predicted image has view {selection.view}; leave out `view`")
        cohort, probabilities = cohort.take(rows), probabilities[rows]
    unknown = "It is not known which patients this model was trained on; some may be among these."
    notes = (
        *((unknown,) if report is None else report.warnings),
        *omitted,
        *measured.warnings,
        *split_warnings(split, measured.part, len(cohort.images)),
        patients_warning(labels.table),
        f"Only images of view {selection.view}." if selection.view else "",
    )
    file = read.path
    identity = ModelIdentity(file.name, read.sha256, calibrated=False)
    source = file.name if report is None else f"{report.path.name}/{file.name}"
    predictions = PartPredictions(
        cohort=cohort,
        probabilities=probabilities,
        context=context_of(
            cohort,
            split,
            selection.part,
            dataset=labels.dataset,
            model=identity if report is None else report.identity,
            made=(
                *(() if report is None else report.made),
                ("Predictions", f"{source}, {len(read.images):,} rows{', logits' if logits else ''}"),
                ("Labels", labels.origin),
            ),
            warnings=tuple(dict.fromkeys(note for note in notes if note)),
        ),
        reported=chosen_on(split, measured.part, cohort, dataset=labels.dataset),
        split=split,
        prevalence=trained_prevalence(split, cohort.findings) if split else {},
    )
    if measured.validation is None:
        return predictions, None
    cohort, probabilities = measured.validation
    validation = ValidationPredictions(
        cohort=cohort,
        probabilities=probabilities,
        chosen_on=chosen_on(split, "val", cohort, dataset=labels.dataset),
    )
    return predictions, validation


def file_validation(
    file: Path, labels: Labels, reported: PartPredictions, *, split: str = "", logits: bool = False
) -> ValidationPredictions:
    """Read a model's predictions on validation images from a separate file.

    Args:
        file: The predictions.
        labels: The labels.
        reported: The predictions that are reported.
        split: The split whose validation part to take; "" takes all images.
        logits: Whether the predictions are logits.

    Raises:
        DataError: The findings differ from the reported ones; or see `read_part`.
    """
    read = read_predictions(file, findings=labels.table.findings, images=labels.table.images)
    scored, _ = usable_predictions(read, logits=logits)
    measured = join_predictions(scored, labels, split=split, part="val")
    given, wanted = measured.cohort.findings, reported.cohort.findings
    if given != wanted:
        raise DataError(
            f"{file} has predictions of {', '.join(map(str, given))}, and those that are reported are of "
            f"{', '.join(map(str, wanted))}; give the same findings in the same order"
        )
    return ValidationPredictions(
        cohort=measured.cohort,
        probabilities=measured.probabilities,
        chosen_on=chosen_on(measured.split, measured.part, measured.cohort, dataset=labels.dataset),
        patients_shared=len(set(measured.cohort.patients) & set(reported.cohort.patients)),
    )
