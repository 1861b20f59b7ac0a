"""Means over images, with intervals by patient."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from thorax.evaluation.statistics.intervals import (
    Interval,
    effective_patients,
    over_resamples,
    resampled_interval,
)

__all__ = ["patient_means"]


def patient_means(
    values: Float64[np.ndarray, "n k"], patients: Sequence[str], *, resamples: int, seed: int
) -> list[Interval]:
    """Return the mean of each column, with its interval by patient.

    Args:
        values: Figures in columns; one row per image, or per finding in an image; at least one row.
        patients: The patient of each row.
        resamples: The number of resamples of the patients, at least 1.
        seed: The seed of the resamples.
    """
    _, patient = np.unique(np.asarray(patients), return_inverse=True)
    rows = np.bincount(patient)
    sums = np.stack([np.bincount(patient, weights=column) for column in values.T], axis=1)
    samples = over_resamples(
        lambda counts: (counts @ sums) / (counts @ rows)[:, None],
        num_patients=len(rows),
        resamples=resamples,
        seed=seed,
    )
    return [
        resampled_interval(float(np.mean(column)), sample, patients=effective_patients(rows))
        for column, sample in zip(values.T, samples.T, strict=True)
    ]
