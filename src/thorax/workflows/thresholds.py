"""The thresholds of a report, and calibrations on trial: chosen on validation images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from thorax.arrays import Probabilities
from thorax.bundle import Bundle, OperatingPoints
from thorax.calibration import Platt, Temperature, sigmoid
from thorax.evaluation.calibration.fit import (
    Recalibrated,
    Recalibration,
    fit_recalibrations,
    recalibrate,
)
from thorax.evaluation.operating_points import ThresholdRule, parse_rule
from thorax.evaluation.thresholds import ThresholdSet, choose_threshold_set, refuse_tuned
from thorax.workflows.predictions import PartPredictions, ValidationPredictions

__all__ = [
    "STANDARD_RULES",
    "Choosers",
    "bundle_points",
    "choose_points",
    "try_calibrations",
]

STANDARD_RULES: Final = ("f1-optimal", "youden", "sensitivity-90", "specificity-95")
"""Operating points that are reported wherever there are validation images to choose them on."""


@dataclass(frozen=True, slots=True)
class Choosers:
    """What thresholds and calibrations are chosen from.

    Attributes:
        reported: The predictions that are reported.
        validation: Those of validation images; None where there are none.
        brought: Operating points that the model brings.
        allow: Whether the reported images may choose, where there is no validation.
    """

    reported: PartPredictions
    validation: ValidationPredictions | None
    brought: tuple[ThresholdSet, ...]
    allow: bool

    def images(self) -> ValidationPredictions:
        """Return what chooses: validation images, else the reported ones themselves."""
        reported = self.reported
        return self.validation or ValidationPredictions(
            cohort=reported.cohort, probabilities=reported.probabilities, chosen_on=reported.reported
        )


def choose_points(
    choice: Choosers, rules: Sequence[ThresholdRule], given: ThresholdSet | None
) -> tuple[ThresholdSet, ...]:
    """Return the operating points to report: of the file, by the rules, and those that the model brings.

    Without rules, those of `STANDARD_RULES` are chosen where there are validation images.

    Raises:
        DataError: Some were chosen on the reported part, or would have to be, and that is not allowed.
    """
    own = () if given is None else (given,)
    if not rules and choice.validation is not None:
        known = {points.rule for points in (*own, *choice.brought)}
        asked: Sequence[ThresholdRule] = [parse_rule(rule) for rule in STANDARD_RULES if rule not in known]
    else:
        asked = rules
    on = choice.images()
    chosen = tuple(
        choose_threshold_set(
            rule, on.cohort.targets, on.probabilities, findings=on.cohort.findings, chosen_on=on.chosen_on
        )
        for rule in asked
    )
    ordered = (*own, *chosen, *choice.brought) if rules else (*own, *choice.brought, *chosen)
    return tuple(
        refuse_tuned(
            points,
            choice.reported.reported,
            allow=choice.allow,
            patients_shared=on.patients_shared if points in chosen else 0,
        )
        for points in ordered
    )


def try_calibrations(choice: Choosers, own: Temperature | Platt | None) -> tuple[Recalibrated, ...]:
    """Return the probabilities after each calibration on trial, fitted on validation images.

    Args:
        choice: What fits them; without validation, and where it is not allowed, the reported images do not.
        own: The model's own calibration, which is taken back first; None where it has none that is known.

    Raises:
        DataError: Validation has patients of the reported images, and that is not allowed.
    """
    if choice.validation is None and not choice.allow:
        return ()
    on, findings = choice.images(), choice.reported.cohort.findings

    def plain(probabilities: Probabilities) -> Probabilities:
        if own is None:
            return probabilities
        return sigmoid(own.inverse(probabilities, [finding.name for finding in findings]))

    fitted: tuple[Recalibration, ...] = fit_recalibrations(
        on.cohort,
        plain(on.probabilities),
        fitted_on=on.chosen_on,
        reported=choice.reported.reported,
        allow=choice.allow,
        patients_shared=on.patients_shared,
    )
    if own is not None:
        fitted = (Recalibration(None), *fitted)
    return recalibrate(plain(choice.reported.probabilities), fitted, findings=findings)


def bundle_points(bundle: Bundle) -> tuple[ThresholdSet, ...]:
    """Return the operating points of a bundle; those of the rule one-half are reported anyway."""
    points: OperatingPoints | None = bundle.manifest.operating_points
    if points is None or points.rule == "one-half":
        return ()
    reference = points.chosen_on
    return (
        ThresholdSet(
            rule=points.rule,
            findings=bundle.findings,
            thresholds=tuple(points.thresholds.get(finding.name) for finding in bundle.findings),
            chosen_on=reference,
            origin="operating points of the bundle"
            if reference
            else "thresholds that came with a foreign checkpoint, which does not say what chose them",
        ),
    )
