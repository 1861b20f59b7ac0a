"""The distribution that monitoring compares with, from predictions and gate scores of validation images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Float64, Int8, Int64

from thorax.arrays import Probabilities
from thorax.distributions import (
    GATE_SCORES,
    CountedShare,
    FindingDistribution,
    GateDistribution,
    Histogram,
    ValidationDistribution,
)
from thorax.evaluation.labeled_images import LabeledImages
from thorax.image_set import ImageSet

__all__ = ["GateWords", "bin_of", "describe_validation", "histogram", "share"]

_BINS: Final = 10
_DIGITS: Final = 6


@dataclass(frozen=True, slots=True, eq=False)
class GateWords:
    """What an input gate said of images.

    Attributes:
        scores: Its scores, in the order of `GATE_SCORES`; NaN for images in which nothing can be seen.
        held_back: Which images it holds back.
        warned: Which of the others it lets pass with a warning.
    """

    scores: Float64[np.ndarray, "n 3"]
    held_back: Bool[np.ndarray, " n"]
    warned: Bool[np.ndarray, " n"]


def histogram(values: Float[np.ndarray, " n"], patients: Int64[np.ndarray, " n"]) -> Histogram:
    """Return the counts of values in ten bins that hold equally many, or fewer where values are equal.

    Args:
        values: At least one, finite.
        patients: The patient of each image, as any number.
    """
    deciles = np.quantile(values, np.arange(1, _BINS) / _BINS)
    edges = tuple(sorted({float(f"{edge:.{_DIGITS}g}") for edge in deciles}))
    bins = bin_of(values, edges)
    return Histogram(
        edges=edges,
        counts=tuple(np.bincount(bins, minlength=len(edges) + 1).tolist()),
        design_effect=_design_effect(bins.astype(np.float64), patients),
    )


def bin_of(values: Float[np.ndarray, " n"], edges: Sequence[float]) -> Int64[np.ndarray, " n"]:
    """Return the bin of a `Histogram` in which each value lies."""
    return np.searchsorted(np.array(edges), values, side="right").astype(np.int64)


def share(matching: Bool[np.ndarray, " n"], patients: Int64[np.ndarray, " n"]) -> CountedShare:
    """Return of how many images something is true; at least one image."""
    effect = _design_effect(matching.astype(np.float64), patients)
    return CountedShare(count=int(matching.sum()), of=len(matching), design_effect=effect)


def _design_effect(values: np.ndarray, patients: Int64[np.ndarray, " n"]) -> float:
    """Return the variance of a mean with the patients as units over that of independent images.

    At least 1: where images of a patient differ more than others, that is chance (Kish, Survey Sampling,
    1965, chapter 5).
    """
    apart = values - values.mean()
    alone = float(np.square(apart).sum())
    if alone == 0:
        return 1.0
    _, codes = np.unique(patients, return_inverse=True)
    together = float(np.square(np.bincount(codes, weights=apart)).sum())
    return round(max(1.0, together / alone), 3)


def describe_validation(
    cohort: LabeledImages,
    probabilities: Probabilities,
    thresholds: Mapping[str, float | None],
    *,
    measured_on: ImageSet,
    gate: GateWords | None = None,
) -> ValidationDistribution | None:
    """Return the distribution that a bundle keeps; None if the gate lets no image pass.

    Args:
        cohort: The validation images with their labels.
        probabilities: Their calibrated probabilities; one column per finding of the cohort.
        thresholds: By name of a finding.
        measured_on: Describes the images.
        gate: What the input gate said of them; None without a gate.
    """
    patients = np.unique(np.asarray(cohort.patients), return_inverse=True)[1].astype(np.int64)
    passing = np.ones(len(patients), bool) if gate is None else ~gate.held_back
    if not passing.any():
        return None
    findings = {
        finding.name: _finding(
            column[passing], target[passing], thresholds.get(finding.name), patients[passing]
        )
        for finding, column, target in zip(cohort.findings, probabilities.T, cohort.targets.T, strict=True)
    }
    described = None if gate is None else _gate(gate, patients)
    return ValidationDistribution(measured_on=measured_on, findings=findings, gate=described)


def _finding(
    values: Float64[np.ndarray, " n"],
    target: Int8[np.ndarray, " n"],
    threshold: float | None,
    patients: Int64[np.ndarray, " n"],
) -> FindingDistribution:
    present, absent = target == 1, target == 0
    labeled = int(present.sum() + absent.sum())
    called = None if threshold is None else values >= threshold
    return FindingDistribution(
        probabilities=histogram(values, patients),
        threshold=threshold,
        positive=None if called is None else share(called, patients),
        prevalence=float(present.sum() / labeled) if labeled else None,
        sensitivity=_mean(called, present),
        specificity=_mean(None if called is None else ~called, absent),
    )


def _mean(values: Bool[np.ndarray, " n"] | None, among: Bool[np.ndarray, " n"]) -> float | None:
    return None if values is None or not among.any() else float(values[among].mean())


def _gate(gate: GateWords, patients: Int64[np.ndarray, " n"]) -> GateDistribution | None:
    """Return what a gate said; None if it has no score, because nothing can be seen in any image."""
    known = ~np.isnan(gate.scores).any(axis=1)
    if not known.any():
        return None
    columns = zip(GATE_SCORES, gate.scores.T, strict=True)
    return GateDistribution(
        **{name: histogram(column[known], patients[known]) for name, column in columns},
        held_back=share(gate.held_back, patients),
        warned=share(gate.warned, patients),
    )
