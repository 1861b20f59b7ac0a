"""What the findings of a model mean: how often a call is right, for the page to put in words."""

from collections.abc import Mapping
from typing import Any

from thorax.findings import Finding
from thorax.rates import FindingRates
from thorax.workflows.model import Model

__all__ = ["describe_findings", "describe_hit_rates", "describe_rates", "describe_thresholds"]


def describe_findings(model: Model) -> list[dict[str, Any]]:
    """Return, for each finding, its names and meaning, its rates, and where its probabilities hold.

    Sensitivity and specificity are null where they were not measured. So is the prevalence where it is not
    known.
    """
    points = model.bundle.manifest.operating_points
    rates: Mapping[str, FindingRates] = points.measured.findings if points and points.measured else {}
    return [_described(model, finding, rates.get(finding.name)) for finding in model.findings]


def describe_rates(model: Model) -> dict[str, Any] | None:
    """Return which images sensitivity and specificity were measured on; None if they were not.

    `chose_thresholds` says whether the same images chose the thresholds, which flatters a little.
    """
    points = model.bundle.manifest.operating_points
    if points is None or points.measured is None:
        return None
    measured = points.measured.measured_on
    same = points.chosen_on is not None and points.chosen_on.images_sha256 == measured.images_sha256
    return {"measured_on": str(measured), "chose_thresholds": same}


def describe_thresholds(model: Model) -> str:
    """Return which rule chose the thresholds, and on which images; "" without thresholds."""
    points = model.bundle.manifest.operating_points
    if points is None:
        return ""
    if points.chosen_on is None:
        return f"{points.rule}, not chosen on any image that is known"
    return f"{points.rule}, chosen on the {points.chosen_on}"


def describe_hit_rates(model: Model) -> list[dict[str, Any]]:
    """Return how often the maps of each measured method point at boxes, by finding and over all boxes."""
    return [
        {**rates.model_dump(mode="json"), "measured_on": str(rates.measured_on)}
        for rates in model.bundle.manifest.hit_rates
    ]


def _described(model: Model, finding: Finding, rates: FindingRates | None) -> dict[str, Any]:
    shares = rates or FindingRates(sensitivity=None, specificity=None)
    return {
        "name": finding.name,
        "label": finding.label,
        "meaning": finding.meaning,
        **shares.model_dump(mode="json"),
        "prevalence": _prevalence(model, finding, shares),
    }


def _prevalence(model: Model, finding: Finding, rates: FindingRates) -> dict[str, Any] | None:
    """Return the share of images with the finding among those that its probabilities hold for."""
    manifest = model.bundle.manifest
    if manifest.statement is not None and finding.name in manifest.statement.prevalence:
        return {"value": manifest.statement.prevalence[finding.name], "images": "training"}
    points, calibration = manifest.operating_points, manifest.calibration
    if points is None or points.measured is None or calibration is None:
        return None
    if points.measured.measured_on.images_sha256 != calibration.fitted_on.images_sha256:
        return None
    with_it, without = (share.images if share else 0 for share in (rates.sensitivity, rates.specificity))
    return {"value": with_it / (with_it + without), "images": "validation"} if with_it else None
