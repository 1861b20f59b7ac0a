"""From what each net says of each view to one logit per image and finding. No torch."""

from collections.abc import Sequence
from typing import assert_never

import numpy as np
from jaxtyping import Float64

from thorax.arrays import Probabilities, Scores
from thorax.bundle import Calibration, Manifest, PlattCalibration
from thorax.recipe.choices import MeanOf

__all__ = [
    "AnyCalibration",
    "ViewLogits",
    "calibrated_logits",
    "mean_logit",
    "member_logits",
    "pooled_logits",
    "sigmoid",
]

ViewLogits = Float64[np.ndarray, "_view n _k"]
"""Logits of one member for each view of each image."""

AnyCalibration = Calibration | PlattCalibration
"""What may stand in a manifest."""

Stack = Float64[np.ndarray, "source n k"]


def sigmoid(logits: Scores) -> Probabilities:
    """Return 1 / (1 + exp(-logits)) in float64, without overflow."""
    small = np.exp(-np.abs(logits.astype(np.float64)))
    return np.where(logits >= 0, 1.0, small) / (1.0 + small)


def calibrated_logits(
    logits: Float64[np.ndarray, "n k"], calibration: AnyCalibration | None, findings: Sequence[str]
) -> Float64[np.ndarray, "n k"]:
    """Return the logits whose sigmoid is the bundle's probability; without a calibration, as they are.

    Args:
        logits: Of the pipeline.
        calibration: What was fitted for it.
        findings: Names of the columns.
    """
    match calibration:
        case None:
            return logits
        case Calibration():
            return np.asarray(logits / calibration.temperature)
        case PlattCalibration():
            slopes = np.array([calibration.slopes[name] for name in findings])
            return np.asarray(logits * slopes + np.array([calibration.intercepts[name] for name in findings]))
        case _:
            assert_never(calibration)


def mean_logit(
    logits: Stack, *, mean_of: MeanOf, weights: Sequence[float] | None = None
) -> Float64[np.ndarray, "n k"]:
    """Return the weighted mean of logits, or the logit of the weighted mean of their probabilities.

    One source is returned as it is, to the bit. Nothing is clipped: the logit of a mean of probabilities is
    computed from logarithms, so that it stays exact where they round to 1.

    Args:
        logits: From each source.
        mean_of: What is averaged.
        weights: Of the sources, adding up to 1; equal ones if not given.
    """
    if len(logits) == 1:
        first: Float64[np.ndarray, "n k"] = logits[0]
        return first
    shares = np.full(len(logits), 1 / len(logits)) if weights is None else np.asarray(weights, dtype=float)
    if mean_of == "logits":
        return np.asarray(np.tensordot(shares, logits, axes=1))
    some = shares > 0
    log_share = np.log(shares[some])[:, None, None]
    log_present = np.logaddexp.reduce(log_share - np.logaddexp(0, -logits[some]), axis=0)
    log_absent = np.logaddexp.reduce(log_share - np.logaddexp(0, logits[some]), axis=0)
    return np.asarray(log_present - log_absent)


def member_logits(logits: Sequence[ViewLogits], manifest: Manifest) -> Stack:
    """Return each member's mean over its views, in the columns of the bundle's findings."""
    found = []
    for member, views in zip(manifest.members, logits, strict=True):
        columns = [member.findings.index(name) for name in manifest.findings]
        found.append(mean_logit(views, mean_of=member.test_time.mean_of)[:, columns])
    return np.stack(found)


def pooled_logits(logits: Sequence[ViewLogits], manifest: Manifest) -> Float64[np.ndarray, "n k"]:
    """Return the logits of the whole pipeline, before calibration.

    Args:
        logits: From each member, in the manifest's order.
        manifest: How they become one.
    """
    members = member_logits(logits, manifest)
    if manifest.ensemble is None:
        only: Float64[np.ndarray, "n k"] = members[0]
        return only
    return mean_logit(members, mean_of=manifest.ensemble.mean_of, weights=manifest.ensemble.weights)
