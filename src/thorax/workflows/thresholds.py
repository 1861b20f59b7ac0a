"""Choose the thresholds, bands and recalibrations of a report on validation images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from thorax.arrays import Probabilities
from thorax.bands import Bands
from thorax.bundle import Bundle, OperatingPoints
from thorax.calibration import Platt, Temperature, sigmoid
from thorax.evaluation.abstention import choose_bands
from thorax.evaluation.calibration.fit import (
    Recalibrated,
    Recalibration,
    fit_recalibrations,
    recalibrate,
)
from thorax.evaluation.operating_points import ThresholdRule, parse_rule
from thorax.evaluation.thresholds import (
    ONE_HALF,
    ThresholdSet,
    choose_threshold_set,
    is_tuned,
    one_half,
    refuse_tuned,
)
from thorax.findings import Findings
from thorax.workflows.predictions import PartPredictions, ValidationPredictions

__all__ = [
    "STANDARD_RULES",
    "Choosers",
    "bands_of",
    "bundle_points",
    "choose_points",
    "try_calibrations",
]

STANDARD_RULES: Final = ("f1-optimal", "youden", "sensitivity-90", "specificity-95")
"""Operating points that are reported by default if there are validation images."""


@dataclass(frozen=True, slots=True)
class Choosers:
    """What thresholds and recalibrations are chosen from.

    Attributes:
        reported: The predictions that are reported.
        validation: The predictions on validation images; None if there are none.
        own: The model's own operating points.
        allow: Whether the reported images may choose if there are no validation images.
        bundle: The bundle that predicted; None for predictions of a file.
    """

    reported: PartPredictions
    validation: ValidationPredictions | None
    own: tuple[ThresholdSet, ...]
    allow: bool
    bundle: Bundle | None = None

    def images(self) -> ValidationPredictions:
        """Return the images that choose: the validation images, or else the reported ones."""
        reported = self.reported
        return self.validation or ValidationPredictions(
            cohort=reported.cohort, probabilities=reported.probabilities, chosen_on=reported.reported
        )


def choose_points(
    choice: Choosers, rules: Sequence[ThresholdRule], given: ThresholdSet | None
) -> tuple[ThresholdSet, ...]:
    """Return the operating points to report: from the file, by the rules, and the model's own.

    Without rules, `STANDARD_RULES` are used if there are validation images.

    Raises:
        DataError: Some were chosen on the reported part, or would have to be, and that is not allowed.
    """
    from_file = () if given is None else (given,)
    if not rules and choice.validation is not None:
        known = {points.rule for points in (*from_file, *choice.own)}
        asked: Sequence[ThresholdRule] = [parse_rule(rule) for rule in STANDARD_RULES if rule not in known]
    else:
        asked = rules
    images = choice.images()
    chosen = tuple(
        choose_threshold_set(
            rule,
            images.cohort.targets,
            images.probabilities,
            findings=images.cohort.findings,
            chosen_on=images.chosen_on,
        )
        for rule in asked
    )
    own = tuple(points for points in choice.own if points not in chosen)
    ordered = (*from_file, *chosen, *own) if rules else (*from_file, *own, *chosen)
    return tuple(
        refuse_tuned(
            points,
            choice.reported.reported,
            allow=choice.allow,
            patients_shared=images.patients_shared if points in chosen else 0,
        )
        for points in ordered
    )


def try_calibrations(choice: Choosers, own: Temperature | Platt | None) -> tuple[Recalibrated, ...]:
    """Return the probabilities after each recalibration, fitted on validation images.

    Args:
        choice: What the recalibrations are fitted on; the reported images only if that is allowed.
        own: The model's own calibration, which is inverted first; None if it has none that is known.

    Raises:
        DataError: Validation and the reported images share patients, and that is not allowed.
    """
    if choice.validation is None and not choice.allow:
        return ()
    images, findings = choice.images(), choice.reported.cohort.findings

    def plain(probabilities: Probabilities) -> Probabilities:
        if own is None:
            return probabilities
        return sigmoid(own.inverse(probabilities, [finding.name for finding in findings]))

    fitted: tuple[Recalibration, ...] = fit_recalibrations(
        images.cohort,
        plain(images.probabilities),
        fitted_on=images.chosen_on,
        reported=choice.reported.reported,
        allow=choice.allow,
        patients_shared=images.patients_shared,
    )
    if own is not None:
        fitted = (Recalibration(None), *fitted)
    return recalibrate(plain(choice.reported.probabilities), fitted, findings=findings)


def bands_of(choice: Choosers) -> tuple[Bands | None, str]:
    """Return the bands of the bundle, or for other predictions bands set on validation at `STANDARD_LEVEL`.

    Where there are none, or where the reported images set them, None and the reason.
    """
    if choice.bundle is not None:
        bands = choice.bundle.manifest.bands
        if bands is None:
            return None, "the bundle has none; calibrate it on validation to set them"
        if is_tuned(bands.chosen_on, choice.reported.reported):
            return None, f"those of the bundle were set on the {bands.chosen_on}, which must not measure them"
        return bands, ""
    images = choice.validation
    if images is None:
        return None, "there are no predictions of validation images to set them on"
    if is_tuned(images.chosen_on, choice.reported.reported, patients_shared=images.patients_shared):
        return None, f"the {images.chosen_on}, on which they would be set, must not measure them"
    bands = choose_bands(
        images.cohort, images.probabilities, chosen_on=images.chosen_on, chose_checkpoint=None
    )
    return bands, ""


def bundle_points(bundle: Bundle, findings: Findings) -> tuple[ThresholdSet, ...]:
    """Return the operating points of a bundle for these of its findings; empty if it has none."""
    points: OperatingPoints | None = bundle.manifest.operating_points
    if points is None:
        return ()
    if points.rule == ONE_HALF:
        return (one_half(findings),)
    reference = points.chosen_on
    return (
        ThresholdSet(
            rule=points.rule,
            findings=findings,
            thresholds=tuple(points.thresholds.get(finding.name) for finding in findings),
            chosen_on=reference,
            origin="operating points of the bundle"
            if reference
            else "thresholds that came with a foreign checkpoint, which does not say what chose them",
        ),
    )
