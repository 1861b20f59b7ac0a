"""A file of predictions, joined with labels: what is evaluated, and validation beside it."""

from pathlib import Path

import numpy as np

from thorax.errors import DataError
from thorax.evaluation.inputs.join import (
    Labels,
    chosen_on,
    join_predictions,
    split_warnings,
    trained_prevalence,
)
from thorax.evaluation.inputs.prediction_csv import PredictionFile, read_predictions, usable_predictions
from thorax.prediction import ModelIdentity
from thorax.workflows.caveats import patients_warning
from thorax.workflows.predictions import PartPredictions, PartSelection, ValidationPredictions
from thorax.workflows.results import context_of

__all__ = ["file_validation", "rows_of", "select_predicted"]


def rows_of(file: Path, labels: Labels) -> PredictionFile:
    """Read a file of predictions whose images have these labels.

    Raises:
        DataError: See `read_predictions`.
    """
    return read_predictions(file, findings=labels.table.findings, images=labels.table.images)


def select_predicted(
    rows: PredictionFile, labels: Labels, selection: PartSelection, *, logits: bool = False
) -> tuple[PartPredictions, ValidationPredictions | None]:
    """Return the predictions on a part, and those on the split's validation images if there are any.

    Args:
        rows: The predictions as read.
        labels: The labels.
        selection: The images to evaluate on.
        logits: Whether the predictions are logits.

    Raises:
        DataError: See `usable_predictions` and `join_predictions`.
    """
    scored, omitted = usable_predictions(rows, logits=logits)
    measured = join_predictions(scored, labels, split=selection.split, part=selection.part)
    cohort, probabilities, split = measured.cohort, measured.probabilities, measured.split
    if selection.view:
        of_view = np.flatnonzero([view == selection.view for view in cohort.views or ()])
        if not len(of_view):
            raise DataError(f"no predicted image has view {selection.view}; leave out `view`")
        cohort, probabilities = cohort.take(of_view), probabilities[of_view]
    notes = (
        "It is not known which patients this model was trained on; some may be among these.",
        *omitted,
        *measured.warnings,
        *split_warnings(split, measured.part, len(cohort.images)),
        patients_warning(labels.table),
        f"Only images of view {selection.view}." if selection.view else "",
    )
    predictions = PartPredictions(
        cohort=cohort,
        probabilities=probabilities,
        context=context_of(
            cohort,
            split,
            selection.part,
            dataset=labels.dataset,
            model=ModelIdentity(rows.path.name, rows.sha256, calibrated=False),
            made=(
                ("Predictions", f"{rows.path.name}, {len(rows.images):,} rows{', logits' if logits else ''}"),
                ("Labels", labels.origin),
            ),
            warnings=tuple(note for note in notes if note),
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
        DataError: The findings differ from the reported ones; or see `rows_of` and
            `select_predicted`.
    """
    scored, _ = usable_predictions(rows_of(file, labels), logits=logits)
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
