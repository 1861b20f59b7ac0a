"""Bundles that say how often their maps point at boxes."""

import math
from collections.abc import Sequence
from pathlib import Path

from thorax.bundle import Bundle, new_bundle_folder
from thorax.bundle.manifest import Manifest
from thorax.bundle.writing import copy_bundle
from thorax.evaluation.localization.scores import Localization, LocalizationScores
from thorax.image_set import ImageSet
from thorax.rates import HitRate, HitRates

__all__ = ["hit_rates_of", "write_with_hit_rates"]


def hit_rates_of(localization: Localization, measured_on: ImageSet) -> tuple[HitRates, ...]:
    """Return the pointing game of each method as a bundle keeps it."""
    return tuple(
        HitRates(
            method=scores.name,
            findings={finding.name: _rate(one) for finding, one in scores.by_finding.items()},
            pooled=_rate(scores.pooled),
            measured_on=measured_on,
        )
        for scores in localization.methods
    )


def write_with_hit_rates(
    bundle: Bundle, folder: Path, rates: Sequence[HitRates], *, overwrite: bool = False
) -> Bundle:
    """Write a copy of a bundle with hit rates; they replace those of the same methods.

    Raises:
        DataError: The folder is the bundle's own, or holds something else; or a bundle, and `overwrite` is
            false.
    """
    old = bundle.manifest
    others = [kept for kept in old.hit_rates if kept.method not in {rate.method for rate in rates}]
    # Validated, because `model_copy` does not validate.
    manifest = Manifest.model_validate(old.model_dump() | {"format": 2, "hit_rates": (*others, *rates)})
    with new_bundle_folder(folder, overwrite=overwrite, sources=[bundle]):
        return copy_bundle(bundle, folder, manifest=manifest)


def _rate(scores: LocalizationScores) -> HitRate:
    pointing = scores.pointing
    has_ends = not math.isnan(pointing.low)
    return HitRate(
        value=pointing.value,
        low=pointing.low if has_ends else None,
        high=pointing.high if has_ends else None,
        boxes=scores.num_pairs,
        patients=scores.num_patients,
    )
