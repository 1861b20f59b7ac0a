"""Means of logits: over the views of an image, then over the members of a bundle."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Float64

from thorax.bundle import Manifest, Member
from thorax.errors import BundleError
from thorax.recipe.literals import MeanOf

__all__ = ["ViewLogits", "mean_logit", "member_logits", "pooled_logits"]

_AXES: Final = 3
"""Of a net's logits: view, image, finding."""

ViewLogits = Float64[np.ndarray, "_view n _k"]
"""One member's logits for each view of each image."""

Stack = Float64[np.ndarray, "source n k"]


def mean_logit(
    logits: Stack, *, mean_of: MeanOf, weights: Sequence[float] | None = None
) -> Float64[np.ndarray, "n k"]:
    """Return the weighted mean of logits, or the logit of the weighted mean of their probabilities.

    A single source is returned unchanged, to the bit. Nothing is clipped: the logit of a mean of
    probabilities is computed from logarithms, so it stays exact where probabilities round to 1.

    Args:
        logits: Logits from each source.
        mean_of: Whether to average logits or probabilities.
        weights: Weights of the sources, which sum to 1; None: equal weights.
    """
    if len(logits) == 1:
        first: Float64[np.ndarray, "n k"] = logits[0]
        return first
    shares = np.full(len(logits), 1 / len(logits)) if weights is None else np.asarray(weights, dtype=float)
    if mean_of == "logits":
        return np.asarray(np.tensordot(shares, logits, axes=1))
    positive = shares > 0
    log_share = np.log(shares[positive])[:, None, None]
    log_present = np.logaddexp.reduce(log_share - np.logaddexp(0, -logits[positive]), axis=0)
    log_absent = np.logaddexp.reduce(log_share - np.logaddexp(0, logits[positive]), axis=0)
    return np.asarray(log_present - log_absent)


def member_logits(logits: Sequence[ViewLogits], manifest: Manifest) -> Stack:
    """Return each member's mean over its views, with columns in the order of the bundle's findings."""
    means = []
    for member, views in zip(manifest.members, logits, strict=True):
        _check_logits(views, member)
        columns = [member.findings.index(name) for name in manifest.findings]
        means.append(mean_logit(views, mean_of=member.test_time.mean_of)[:, columns])
    return np.stack(means)


def _check_logits(views: ViewLogits, member: Member) -> None:
    """Refuse a net's logits that are not numbers: NaN is below every threshold, and would be reported as no.

    Raises:
        BundleError: Some are not finite, or there is not one for each of the member's findings.
    """
    if views.ndim != _AXES or views.shape[2] != len(member.findings):
        raise BundleError(
            f"a net of this bundle gives logits of the shape {views.shape} for {len(member.findings)} "
            "findings; do not use this bundle"
        )
    wrong = ~np.isfinite(views)
    if wrong.any():
        names = [
            name for name, any_wrong in zip(member.findings, wrong.any(axis=(0, 1)), strict=True) if any_wrong
        ]
        raise BundleError(
            f"a net of this bundle gives {np.count_nonzero(wrong):,} logits that are not finite numbers (for "
            f"{', '.join(names[:3])}{', ...' if names[3:] else ''}), so nothing is predicted; its weights or "
            "its graph are damaged: do not use this bundle"
        )


def pooled_logits(logits: Sequence[ViewLogits], manifest: Manifest) -> Float64[np.ndarray, "n k"]:
    """Return the logits of the whole pipeline, before calibration.

    Args:
        logits: Logits from each member, in the manifest's order.
        manifest: Says how to combine them.
    """
    members = member_logits(logits, manifest)
    if manifest.ensemble is None:
        only: Float64[np.ndarray, "n k"] = members[0]
        return only
    return mean_logit(members, mean_of=manifest.ensemble.mean_of, weights=manifest.ensemble.weights)
