"""How many of the reported images an input gate would hold back, and how the model ranks the others."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from thorax.arrays import Probabilities
from thorax.evaluation.discrimination import Discrimination, evaluate_discrimination
from thorax.evaluation.labeled_images import LabeledImages
from thorax.evaluation.statistics.intervals import Interval, share_interval

__all__ = ["HeldBack", "measure_held_back"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldBack:
    """What the model's input gate would hold back.

    Attributes:
        num_images: The images that are measured, all of them.
        num_held_back: Those that the gate would hold back.
        share: Their share, with its interval by patient.
        reasons: How many images each reason holds back, by its code; an image may have several.
        images: Names of the images held back.
        passing: How the model ranks the images that pass; None if all pass, or none.
        is_fitted: Whether the gate was fitted on the model's training images, or has rules alone.
    """

    num_images: int
    num_held_back: int
    share: Interval
    reasons: Mapping[str, int]
    images: tuple[str, ...]
    passing: Discrimination | None
    is_fitted: bool


def measure_held_back(
    cohort: LabeledImages,
    probabilities: Probabilities,
    reasons: Sequence[Sequence[str]],
    *,
    is_fitted: bool,
    resamples: int = 1000,
    seed: int = 0,
) -> HeldBack:
    """Count the images held back, and measure the ranking of the others.

    Args:
        cohort: The images with their labels.
        probabilities: In [0, 1], one column per finding of the cohort.
        reasons: For each image the codes of the reasons to hold it back; none for one that passes.
        is_fitted: See `HeldBack`.
        resamples: The number of resamples of the patients, at least 1.
        seed: The seed of the resamples.
    """
    held = np.array([len(codes) > 0 for codes in reasons], dtype=bool)
    passing = np.flatnonzero(~held)
    _, patient = np.unique(np.asarray(cohort.patients), return_inverse=True)
    ranking = None
    if 0 < len(passing) < len(held):
        kept = cohort.take(passing)
        ranking = evaluate_discrimination(
            kept.targets,
            probabilities[passing],
            patients=kept.patients,
            findings=kept.findings,
            resamples=resamples,
            seed=seed,
        )
    return HeldBack(
        num_images=len(held),
        num_held_back=int(held.sum()),
        share=share_interval(np.bincount(patient, held), np.bincount(patient).astype(float)),
        reasons=dict(sorted(Counter(code for codes in reasons for code in set(codes)).items())),
        images=tuple(name for name, back in zip(cohort.images, held, strict=True) if back),
        passing=ranking,
        is_fitted=is_fitted,
    )
