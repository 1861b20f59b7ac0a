"""What a bundle brings to its evaluation: operating points, calibration, and how it was made."""

from collections.abc import Callable

from thorax.arrays import Probabilities
from thorax.bundle import Bundle, Calibration, Imported, OperatingPoints, PartReference, PlattCalibration
from thorax.evaluation.calibration.fit import Platt, Recalibration
from thorax.evaluation.thresholds import ChosenOn, ThresholdSet
from thorax.findings import Findings
from thorax.store import Store

__all__ = ["bundle_points", "how_made", "uncalibrated"]


def uncalibrated(bundle: Bundle) -> Callable[[Probabilities], Probabilities] | None:
    """Return what takes the bundle's calibration back: calibration of the inverse scale."""
    match bundle.manifest.calibration:
        case None:
            return None
        case Calibration() as fitted:
            return Recalibration(kind="temperature", temperature=1 / fitted.temperature).apply
        case PlattCalibration() as fitted:
            inverse = tuple(
                Platt(1 / fitted.slopes[name], -fitted.intercepts[name] / fitted.slopes[name])
                for name in bundle.manifest.findings
            )
            return Recalibration(kind="platt", platt=inverse).apply


def bundle_points(bundle: Bundle) -> tuple[ThresholdSet, ...]:
    """Return the operating points of a bundle; those of the rule one-half are reported anyway."""
    points: OperatingPoints | None = bundle.manifest.operating_points
    if points is None or points.rule == "one-half":
        return ()
    reference = points.chosen_on
    findings: Findings = bundle.findings
    return (
        ThresholdSet(
            rule=points.rule,
            findings=findings,
            thresholds=tuple(points.thresholds.get(finding.name) for finding in findings),
            chosen_on=_chosen_on(reference) if reference else None,
            origin="operating points of the bundle"
            if reference
            else "thresholds that came with a foreign checkpoint, and nobody says what chose them",
        ),
    )


def _trained_on(part: PartReference) -> str:
    return f"{part.part} part of {part.split}, {part.dataset}, {part.num_images:,} images"


def _chosen_on(reference: PartReference) -> ChosenOn:
    return ChosenOn(
        split=reference.split,
        part=reference.part,
        sha256=reference.sha256,
        images_sha256=reference.images_sha256,
        num_images=reference.num_images,
        num_patients=reference.num_patients,
    )


def how_made(bundle: Bundle, store: Store) -> tuple[tuple[str, str], ...]:
    """Say how the model was made, and what its images are."""
    lines = []
    for number, member in enumerate(bundle.manifest.members, start=1):
        name = "Net" if len(bundle.manifest.members) == 1 else f"Net {number}"
        origin = member.provenance
        if isinstance(origin, Imported):
            lines.append((name, f"imported: {origin.source}, file sha256 {origin.file_sha256}"))
            continue
        lines += [
            (name, f"recipe {origin.recipe}, sha256 {origin.recipe_sha256}, seed {origin.seed}"),
            (f"{name} trained on", _trained_on(origin.trained_on)),
            (f"{name} chosen as", f"{origin.selected_by}, epoch {origin.epoch}"),
        ]
    calibration = bundle.manifest.calibration
    if calibration:
        on = calibration.fitted_on
        lines.append(("Calibration", f"{calibration}, {on.part} part of {on.split}"))
    prepared = store.preparation
    lines.append(("Images", f"{prepared.size} pixels, {prepared.fit}; store {store.fingerprint}"))
    return tuple(lines)
