"""What results say about the model: how it decides, what it learned from, and what it is not for."""

from collections.abc import Iterator

import thorax
from thorax.bundle import Bundle
from thorax.bundle.manifest import Imported, Member
from thorax.image_set import ImageSet
from thorax.prediction import FindingPrediction, Prediction
from thorax.rates import Share

__all__ = ["PURPOSE", "algorithm_version", "finding_parameters", "training_texts"]

PURPOSE = "Research use only, not for diagnosis"


def algorithm_version(bundle: Bundle) -> str:
    """Return the version of an algorithm: the bundle by the beginning of its hash, and Thorax."""
    return f"{bundle.sha256[:12]} (Thorax {thorax.__version__})"


def finding_parameters(bundle: Bundle, prediction: Prediction, predicted: FindingPrediction) -> list[str]:
    """Return how one finding was decided, as parameters of the algorithm: "name=value"."""
    calibration = bundle.manifest.calibration
    return [
        f"threshold_percent={'none' if predicted.threshold is None else _percent(predicted.threshold)}",
        f"operating_point={prediction.operating_point or 'none'}",
        *_band(predicted),
        *_rates(bundle, predicted),
        *([] if predicted.prevalence is None else [f"prevalence_percent={_percent(predicted.prevalence)}"]),
        f"calibration={calibration or 'none'}",
        f"bundle_sha256={bundle.sha256}",
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.15g}"


def _band(predicted: FindingPrediction) -> Iterator[str]:
    if predicted.undecided is not None:
        low, high = predicted.undecided
        if low < high:
            yield f"not_decided_percent={_percent(low)} to {_percent(high)}"


def _rates(bundle: Bundle, predicted: FindingPrediction) -> Iterator[str]:
    """Yield sensitivity and specificity at the threshold, if the bundle has them."""
    points = bundle.manifest.operating_points
    measured = points.measured if points else None
    rates = measured.findings.get(predicted.finding.name) if measured else None
    if measured is None or rates is None:
        return
    shares = (("sensitivity", rates.sensitivity), ("specificity", rates.specificity))
    for name, share in shares:
        if share is not None:
            yield f"{name}_percent={_share(share)}, on {measured.measured_on.part or 'validation'}"


def _share(share: Share) -> str:
    value, low, high = (f"{100 * part:.1f}" for part in (share.value, share.low, share.high))
    return f"{value} ({low} to {high}), {share.matching} of {share.images} images"


def training_texts(bundle: Bundle) -> list[str]:
    """Return sentences on what the model was trained, calibrated and measured on."""
    manifest = bundle.manifest
    said = list(manifest.stated_in_full)
    for number, member in enumerate(manifest.members, start=1):
        said.append(f"Network {number} of {len(manifest.members)}: {_origin(member)}.")
    calibration, points = manifest.calibration, manifest.operating_points
    said.append(
        f"Probabilities were calibrated on the {_images(calibration.fitted_on)}."
        if calibration
        else "Probabilities are not calibrated."
    )
    if points and points.chosen_on:
        said.append(f"Thresholds were chosen on the {_images(points.chosen_on)}.")
    if not manifest.statement:
        said.append("The bundle states no AUC; metrics.json of its evaluation does, with intervals.")
    return said


def _origin(member: Member) -> str:
    match member.provenance:
        case Imported() as origin:
            return f"imported from {origin.source}; which patients it was trained on is not known"
        case origin:
            return f"trained with recipe {origin.recipe} on the {_images(origin.trained_on)}"


def _images(images: ImageSet) -> str:
    return f"{images} of {images.dataset or 'a data set that is not named'}"
