"""What thresholds, calibrations and bands say of their origin, checked against the images that they name."""

from collections.abc import Sequence
from typing import Final

from thorax.arrays import Rows
from thorax.bands import Band, Bands
from thorax.bundle import LAST_EPOCH, Bundle
from thorax.calibration import Calibration, Platt, Temperature
from thorax.datasets import id_space
from thorax.datasets.splits import Split
from thorax.errors import DataError
from thorax.evaluation.abstention import choose_bands
from thorax.evaluation.calibration.fit import fit_platt, fit_temperature
from thorax.evaluation.inputs.join import Labels
from thorax.evaluation.operating_points import Fixed, ThresholdRule, choose_thresholds, parse_rule
from thorax.evaluation.rates import measure_rates
from thorax.evaluation.thresholds import ThresholdSet, refuse_tuned
from thorax.findings import Findings
from thorax.image_set import ImageSet
from thorax.rates import FindingRates, Share
from thorax.workflows.predictions import PartPredictions, ValidationPredictions
from thorax.workflows.thresholds import Choosers

__all__ = ["checked_origin", "choice_warnings"]

_ONE_HALF: Final = 0.5

_SAME_THRESHOLD: Final = 1e-3
"""Difference up to which two thresholds are the same: engines differ by some 1e-6, tensor cores by more."""

_SAME_SHARE: Final = 0.02
"""Difference up to which two shares, or the ends of their intervals, are the same."""

_SAME_CALIBRATION: Final = 0.01
"""Relative difference up to which two temperatures, slopes or intercepts are the same."""


def checked_origin(
    given: ThresholdSet, labels: Labels, reported: PartPredictions, *, allow: bool
) -> tuple[ThresholdSet, tuple[str, ...]]:
    """Check on which images thresholds of a file say that they were chosen.

    Args:
        given: The thresholds.
        labels: The data that is open.
        reported: The predictions that are reported.
        allow: Whether to mark thresholds that were chosen on reported patients, instead of refusing them.

    Returns:
        The thresholds, marked where they share patients with the reported images, and warnings about what
        cannot be checked.

    Raises:
        DataError: The file is wrong about the split or its images; or the thresholds were chosen on some of
            the reported patients, and that is not allowed.
    """
    chosen = given.chosen_on
    if chosen is None:
        halves = {threshold for threshold in given.thresholds if threshold is not None} <= {_ONE_HALF}
        source = given.origin.partition(",")[0]
        unknown = f"The {source} do not name the images on which they were chosen: these may be among them."
        return given, () if halves else (unknown,)
    split = _split_of(chosen, labels, reported)
    if split is None:
        return given, (f"The {given.origin}: that they were chosen on the {chosen} cannot be checked here.",)
    rows = _rows(given, chosen, split)
    patients = split.table.frame["patient"].to_numpy()[rows]
    shared = len({str(patient) for patient in patients} & set(reported.cohort.patients))
    marked = refuse_tuned(given, reported.reported, allow=allow, patients_shared=shared)
    if split.images_sha256(rows) == chosen.images_sha256:
        return marked, ()
    other = (
        f"The {given.origin} name {chosen.num_images:,} images of the {chosen.part} part of {split.name}, "
        f"and the {len(rows):,} of the data that is open are others: their origin is not confirmed."
    )
    return marked, (other,)


def _split_of(chosen: ImageSet, labels: Labels, reported: PartPredictions) -> Split | None:
    """Return the split that thresholds name, in the data that is open; None if that does not have it."""
    if chosen.dataset and id_space(chosen.dataset) != id_space(labels.dataset):
        return None
    if reported.split is not None and reported.split.name == chosen.split:
        return reported.split
    if not chosen.split or chosen.split.startswith("file:"):
        return None
    try:
        return labels.split(chosen.split)
    except DataError:
        return None


def _rows(given: ThresholdSet, chosen: ImageSet, split: Split) -> Rows:
    """Return the rows of the part that thresholds name; refuse what cannot be true of them."""
    remedy = "correct chosen_on, or write null if the images are not known"
    if chosen.sha256 != split.sha256:
        raise DataError(
            f"{given.origin} say that they were chosen on {split.name} with SHA-256 {chosen.sha256[:12]}, "
            f"and the split that is open has {split.sha256[:12]}; {remedy}"
        )
    if chosen.part not in split.parts:
        raise DataError(f"{given.origin} name the part {chosen.part!r}, which {split.name} lacks; {remedy}")
    rows = split.parts[chosen.part]
    whole = split.num_listed(chosen.part) == len(rows)
    if whole and chosen.num_images >= len(rows) and chosen.images_sha256 != split.images_sha256(rows):
        raise DataError(
            f"{given.origin} say that they were chosen on {chosen.num_images:,} images of the {chosen.part} "
            f"part of {split.name}, and their hash is not that of its {len(rows):,} images; {remedy}"
        )
    return rows


def choice_warnings(
    choice: Choosers, points: Sequence[ThresholdSet], *, fitted: Calibration | None, findings: Findings = ()
) -> tuple[str, ...]:
    """Repeat choices on the validation images that they name, and return warnings where others come out.

    Args:
        choice: The validation images; without them, or if they are others, nothing can be repeated.
        points: The thresholds of the model or a file.
        fitted: The model's own calibration. Its bands are those of the bundle of `choice`.
        findings: The findings that a temperature was fitted on.
    """
    validation = choice.validation
    if validation is None:
        return ()
    bands = None if choice.bundle is None else choice.bundle.manifest.bands
    references = [one.chosen_on for one in points]
    references += [] if fitted is None else [fitted.fitted_on]
    references += [] if bands is None else [bands.chosen_on]
    warnings = [_other_images(references, validation)]
    warnings += [_other_thresholds(one, validation) for one in points]
    if fitted is not None and _is_on(fitted.fitted_on, validation):
        warnings.append(_other_calibration(fitted, validation, findings))
    if choice.bundle is not None and bands is not None:
        warnings.append(_other_bands(bands, validation) if _is_on(bands.chosen_on, validation) else "")
        warnings.append(_hidden_choice(choice.bundle, bands))
    if choice.bundle is not None:
        warnings.append(_other_rates(choice.bundle, validation))
    return tuple(warning for warning in warnings if warning)


def _is_on(reference: ImageSet | None, validation: ValidationPredictions) -> bool:
    return reference is not None and reference.images_sha256 == validation.chosen_on.images_sha256


def _other_images(references: Sequence[ImageSet | None], validation: ValidationPredictions) -> str:
    """Say that choices cannot be repeated, because the validation part has other images than they name."""
    now = validation.chosen_on
    for reference in references:
        if reference is None or (reference.split, reference.part) != (now.split, now.part):
            continue
        if reference.images_sha256 != now.images_sha256:
            return (
                f"Thresholds, bands or a calibration were chosen on {reference.num_images:,} images of the "
                f"{now.part} part of {now.split}, and {now.num_images:,} are available, not the same: "
                "whether they follow from these images was not checked."
            )
    return ""


def _other_thresholds(points: ThresholdSet, validation: ValidationPredictions) -> str:
    rule = _rule(points.rule)
    if rule is None or not _is_on(points.chosen_on, validation):
        return ""
    cohort = validation.cohort
    chosen = dict(
        zip(
            cohort.findings,
            choose_thresholds(rule, cohort.targets, validation.probabilities),
            strict=True,
        )
    )
    differing = [
        f"{finding.name} {_text(stated)}, and the rule gives {_text(chosen[finding])}"
        for finding, stated in zip(points.findings, points.thresholds, strict=True)
        if finding in chosen and not _same(stated, chosen[finding])
    ]
    if not differing:
        return ""
    more = "; ..." if differing[3:] else ""
    return (
        f"{len(differing):,} thresholds ({points.origin}) are not those that {points.rule} chooses on the "
        f"images that they name ({'; '.join(differing[:3])}{more}): they were edited, or chosen otherwise."
    )


def _other_bands(bands: Bands, validation: ValidationPredictions) -> str:
    again = choose_bands(
        validation.cohort,
        validation.probabilities,
        chosen_on=bands.chosen_on,
        chose_checkpoint=bands.chose_checkpoint,
        level=bands.level,
    )
    differing = [
        f"{name} {_ends(bands.bands.get(name))}, and the images give {_ends(again.bands.get(name))}"
        for name in (finding.name for finding in validation.cohort.findings)
        if not _same_band(bands.bands.get(name), again.bands.get(name))
    ]
    if not differing:
        return ""
    more = "; ..." if differing[3:] else ""
    return (
        f"{len(differing):,} bands of the bundle are not those of {100 * bands.level:.3g} % on the images "
        f"that they name ({'; '.join(differing[:3])}{more}): they were edited, or set in another way."
    )


def _other_rates(bundle: Bundle, validation: ValidationPredictions) -> str:
    """Say that the sensitivity and specificity that the page shows are not those on the images they name."""
    points = bundle.manifest.operating_points
    if points is None or points.measured is None or not _is_on(points.measured.measured_on, validation):
        return ""
    again = measure_rates(
        validation.cohort,
        validation.probabilities,
        points.thresholds,
        measured_on=points.measured.measured_on,
    )
    differing = [
        f"{name} {_share(stated)}, and the images give {_share(measured)}"
        for name, rates in again.findings.items()
        if name in points.measured.findings
        for stated, measured in _pairs(points.measured.findings[name], rates)
        if _differs(stated, measured)
    ]
    if not differing:
        return ""
    more = "; ..." if differing[3:] else ""
    return (
        f"{len(differing):,} rates at the thresholds of the bundle are not those on the images that they "
        f"name ({'; '.join(differing[:3])}{more}): they were edited, or measured in another way."
    )


def _pairs(stated: FindingRates, measured: FindingRates) -> tuple[tuple[Share | None, Share | None], ...]:
    return (stated.sensitivity, measured.sensitivity), (stated.specificity, measured.specificity)


def _differs(stated: Share | None, measured: Share | None) -> bool:
    """Return whether two shares are not the same; engines may differ on an image in a hundred."""
    if stated is None or measured is None:
        return stated is not measured
    return stated.images != measured.images or any(
        abs(one - other) > _SAME_SHARE
        for one, other in (
            (stated.value, measured.value),
            (stated.low, measured.low),
            (stated.high, measured.high),
        )
    )


def _share(share: Share | None) -> str:
    if share is None:
        return "none"
    return f"{share.value:.3f} ({share.low:.3f} to {share.high:.3f}) of {share.images:,}"


def _hidden_choice(bundle: Bundle, bands: Bands) -> str:
    """Say that bands hide that their images chose a checkpoint, which costs some of what they promise."""
    images = bands.chosen_on.images_sha256
    hidden = bands.chose_checkpoint is False and any(
        training.selected_by != LAST_EPOCH and training.selected_on.images_sha256 == images
        for training in bundle.trainings
    )
    return (
        f"The bands say that the {bands.chosen_on} did not choose the checkpoint, and the bundle that it "
        "did: one of them was edited."
        if hidden
        else ""
    )


def _same_band(stated: Band | None, chosen: Band | None) -> bool:
    if stated is None or chosen is None:
        return stated is chosen
    return (
        _same(stated.low, chosen.low)
        and _same(stated.high, chosen.high)
        and stated.patients_with == chosen.patients_with
        and stated.patients_without == chosen.patients_without
    )


def _ends(band: Band | None) -> str:
    """Return a band's ends and its patients; "none" without one."""
    if band is None:
        return "none"
    return (
        f"{_text(band.low)} to {_text(band.high)} ({band.patients_with:,} patients with it, "
        f"{band.patients_without:,} without)"
    )


def _rule(name: str) -> ThresholdRule | None:
    """Return a rule that chooses on images; None for other names."""
    try:
        rule = parse_rule(name)
    except DataError:
        return None
    return None if isinstance(rule, Fixed) else rule


def _same(stated: float | None, chosen: float | None) -> bool:
    if stated is None or chosen is None:
        return stated is chosen
    return abs(stated - chosen) <= _SAME_THRESHOLD


def _text(threshold: float | None) -> str:
    return "none" if threshold is None else f"{threshold:.4g}"


def _other_calibration(fitted: Calibration, validation: ValidationPredictions, findings: Findings) -> str:
    cohort = validation.cohort
    names = [finding.name for finding in cohort.findings]
    targets, known = cohort.targets, (cohort.targets == 0) | (cohort.targets == 1)
    logits = fitted.inverse(validation.probabilities, names)
    match fitted:
        case Temperature():
            if set(findings) != set(cohort.findings):  # one temperature is of all findings
                return ""
            again = fit_temperature(targets, known, logits)
            differing = [] if _near(fitted.temperature, again) else [(fitted.temperature, again)]
        case Platt():
            platt = fit_platt(
                targets, known, logits, findings=cohort.findings, fitted_on=validation.chosen_on
            )
            differing = [
                (stated[name], chosen[name])
                for stated, chosen in ((fitted.slopes, platt.slopes), (fitted.intercepts, platt.intercepts))
                for name in names
                if not _near(stated[name], chosen[name])
            ]
    if not differing:
        return ""
    stated, again = differing[0]
    return (
        f"The bundle's calibration is not the one that the images that it names give ({fitted.kind} "
        f"{stated:.4g}, and fitted again {again:.4g}): it was edited, or fitted in another way."
    )


def _near(stated: float, chosen: float) -> bool:
    return abs(stated - chosen) <= _SAME_CALIBRATION * max(1.0, abs(chosen))
