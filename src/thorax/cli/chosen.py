"""What validation chooses of a subject: operating points, and calibrations on trial."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from thorax.cli.subject import Subject, Validation
from thorax.errors import ThoraxError
from thorax.evaluation.calibration.fit import Recalibrated, Recalibration, fit_recalibrations, recalibrate
from thorax.evaluation.operating_points import parse_rule
from thorax.evaluation.thresholds import (
    ThresholdSet,
    choose_threshold_set,
    read_threshold_set,
    refuse_tuned,
)

__all__ = ["STANDARD_RULES", "with_points", "with_recalibration"]

STANDARD_RULES: Final = ("f1-optimal", "youden", "sensitivity-90", "specificity-95")
"""Operating points that are reported wherever there is validation to choose them on."""


def with_points(
    subject: Subject, *, rules: Sequence[str], file: Path | None, allow: bool
) -> tuple[ThresholdSet, ...]:
    """Return the operating points to report: of the file, by the rules, and those that the model brings.

    Without rules, those of `STANDARD_RULES` are chosen where there is validation.

    Raises:
        DataError: Some were chosen on the reported part, or would have to be, and `allow` does not say so.
    """
    findings = subject.cohort.findings
    given = [read_threshold_set(file, findings)] if file else []
    validation = subject.validation() if rules else _validation_or_why(subject)[0]
    asked = [parse_rule(rule) for rule in rules]
    if not rules and validation is not None:
        brought = {each.rule for each in (*given, *subject.points)}
        asked = [parse_rule(rule) for rule in STANDARD_RULES if rule not in brought]
    on = validation or Validation(subject.cohort, subject.probabilities, subject.reported)
    chosen = [
        choose_threshold_set(
            rule, on.cohort.targets, on.probabilities, findings=findings, chosen_on=on.chosen_on
        )
        for rule in asked
    ]
    ordered = (*given, *chosen, *subject.points) if rules else (*given, *subject.points, *chosen)
    return tuple(
        refuse_tuned(
            each,
            subject.reported,
            allow=allow,
            patients_shared=on.patients_shared if each in chosen else 0,
        )
        for each in ordered
    )


def with_recalibration(subject: Subject, *, allow: bool) -> tuple[tuple[Recalibrated, ...], str]:
    """Return the probabilities after each calibration on trial, fitted on validation; or why there are none.

    With `allow` and without validation it is fitted on the reported images, and marked.

    Raises:
        DataError: Validation has patients of the reported images, and `allow` does not say so.
    """
    validation, why = _validation_or_why(subject)
    if validation is None and allow:
        validation = Validation(subject.cohort, subject.probabilities, subject.reported)
    if validation is None:
        return (), why
    plain = subject.uncalibrated or (lambda probabilities: probabilities)
    fitted: tuple[Recalibration, ...] = fit_recalibrations(
        validation.cohort.targets,
        plain(validation.probabilities),
        fitted_on=validation.chosen_on,
        reported=subject.reported,
        allow=allow,
        patients_shared=validation.patients_shared,
    )
    if subject.uncalibrated is not None:
        fitted = (Recalibration(kind="none"), *fitted)
    return recalibrate(plain(subject.probabilities), fitted), ""


def _validation_or_why(subject: Subject) -> tuple[Validation | None, str]:
    """Return what may choose and calibrate, or why there is nothing; a figure needs neither."""
    try:
        validation = subject.validation()
    except ThoraxError as error:
        return None, str(error)
    return validation, "" if validation else (
        "no predictions of validation images are at hand; give them with --validation, or name a --split of "
        "whose validation part there are some in the file"
    )
