"""Abstention: the bands in which a finding is not decided, set on validation and measured on other images.

A band is a class-conditional conformal prediction set (Vovk, Conditional validity of inductive conformal
predictors, 2012): the patients with a finding and those without it each have a guarantee of their own, which
therefore does not depend on prevalence. Conformal prediction assumes that its units are exchangeable. Images
of one patient are not; patients are. Of each patient, one image with the finding and one without it count,
drawn by the SHA-256 of their names, and the guarantee is for an image of a new patient that is drawn so, too.
To weigh all images of a patient by one over their number (Lee, Barber and Willett, Distribution-free
inference with hierarchical data, 2023) would also be valid, but covers too much where patients are few: 96 %
instead of 90 % with nine of them (bench/abstention.py).

Calibration by a temperature, or by Platt scaling with its positive slopes, keeps the order of probabilities,
so that it may be fitted on the same images at no cost. Choosing the checkpoint on them is not free:
docs/experiments.md has the simulation.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Float64, Int8, Int64

from thorax.arrays import Probabilities
from thorax.bands import Band, Bands, fewest_patients
from thorax.errors import DataError
from thorax.evaluation.labeled_images import LabeledImages
from thorax.evaluation.statistics.intervals import Interval, share_interval
from thorax.findings import Finding
from thorax.image_set import ImageSet
from thorax.recipe.literals import STANDARD_LEVEL

__all__ = [
    "Abstention",
    "FindingAbstention",
    "check_level",
    "choose_band",
    "choose_bands",
    "measure_abstention",
]

_ROUNDING: Final = 1e-9
"""By how much a product such as .9 * 10 may exceed the integer that it is."""


def check_level(level: float) -> None:
    """Refuse a level that no band can have.

    Raises:
        DataError: It is below 0.5, or not below 1.
    """
    if not 0.5 <= level < 1:  # noqa: PLR2004  (chance level)
        raise DataError(f"`level` is {level}; give a share of at least 0.5 and below 1, such as 0.9")


def choose_band(
    target: Bool[np.ndarray, " n"],
    probability: Float[np.ndarray, " n"],
    patient: Int64[np.ndarray, " n"],
    *,
    level: float = STANDARD_LEVEL,
) -> Band | str:
    """Return the band of one finding, or why there is none.

    With few patients coverage is higher than the level: by up to 1 / (K + 1) with K patients of a class.

    Args:
        target: Whether each image has the finding.
        probability: In [0, 1].
        patient: The number of each image's patient. The first image of each patient and class counts, so that
            the order must be random.
        level: At least 0.5 and below 1.

    Raises:
        DataError: The level is out of range.
    """
    check_level(level)
    few = fewest_patients(level)
    with_it, without = (
        probability[present][np.unique(patient[present], return_index=True)[1]]
        for present in (target, ~target)
    )
    if min(len(with_it), len(without)) < few:
        return (
            f"validation patients with it: {len(with_it)}, without: {len(without)}; at {100 * level:.3g} % a "
            f"band needs {few} of each"
        )
    return Band(
        low=-_reached(-with_it, level),
        high=_reached(without, level),
        patients_with=len(with_it),
        patients_without=len(without),
    )


def _reached(score: Float[np.ndarray, " patient"], level: float) -> float:
    """Return the score that a new patient does not exceed with probability `level`."""
    rank = math.ceil(level * (len(score) + 1) - _ROUNDING)
    return float(np.partition(score, rank - 1)[rank - 1])


def choose_bands(
    cohort: LabeledImages,
    probabilities: Probabilities,
    *,
    chosen_on: ImageSet,
    chose_checkpoint: bool | None,
    level: float = STANDARD_LEVEL,
) -> Bands:
    """Set the band of each finding on validation images.

    Args:
        cohort: The images with their labels.
        probabilities: In [0, 1], as the model gives them; one column per finding of the cohort.
        chosen_on: Describes the images.
        chose_checkpoint: Whether they, or some of their patients, chose a checkpoint; None if unknown.
        level: At least 0.5 and below 1.

    Raises:
        DataError: The level is out of range.
    """
    order = np.argsort([hashlib.sha256(f"band\n{image}".encode()).digest() for image in cohort.images])
    patient = np.unique(np.asarray(cohort.patients), return_inverse=True)[1][order]
    chosen = {
        finding.name: choose_band(
            target[target >= 0] == 1, probability[target >= 0], patient[target >= 0], level=level
        )
        for finding, target, probability in zip(
            cohort.findings, cohort.targets[order].T, probabilities[order].T, strict=True
        )
    }
    return Bands(
        level=level,
        bands={name: band for name, band in chosen.items() if isinstance(band, Band)},
        absent={name: reason for name, reason in chosen.items() if isinstance(reason, str)},
        chosen_on=chosen_on,
        chose_checkpoint=chose_checkpoint,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingAbstention:
    """How the band of one finding does on images that did not set it; each patient counts once.

    Attributes:
        finding: The finding.
        band: Its band; None without one.
        absent: Why there is no band; "" if there is one.
        threshold: The threshold whose answers it limits; None if there is none.
        patients_with: Patients with the finding in one of their images.
        patients_without: Patients without the finding in one of their images.
        covered_with: Share of the patients with the finding for whom it was not ruled out.
        covered_without: Share of the patients without the finding for whom its absence was not ruled out.
        undecided: Share of all patients for whom nothing was decided; NaN without a threshold.
    """

    finding: Finding
    band: Band | None
    absent: str
    threshold: float | None
    patients_with: int
    patients_without: int
    covered_with: Interval
    covered_without: Interval
    undecided: Interval

    @property
    def not_decided(self) -> tuple[float, float] | None:
        """Lowest and highest probability that are not decided; None without a band or a threshold."""
        if self.band is None or self.threshold is None:
            return None
        return self.band.undecided(self.threshold)


@dataclass(frozen=True, slots=True, kw_only=True)
class Abstention:
    """How all bands of a model do on images that did not set them.

    Attributes:
        bands: The bands.
        findings: One result per finding, in the order of the evaluation.
    """

    bands: Bands
    findings: tuple[FindingAbstention, ...]

    @property
    def banded(self) -> tuple[FindingAbstention, ...]:
        """The findings that have a band."""
        return tuple(result for result in self.findings if result.band is not None)


def measure_abstention(
    cohort: LabeledImages,
    probabilities: Probabilities,
    bands: Bands,
    *,
    thresholds: Sequence[float | None],
) -> Abstention:
    """Measure bands on images that did not set them.

    Args:
        cohort: The images with their labels.
        probabilities: In [0, 1]; one column per finding of the cohort.
        bands: The bands; findings that they do not name have none.
        thresholds: One per finding; None where there is none.
    """
    _, patient = np.unique(np.asarray(cohort.patients), return_inverse=True)
    columns = zip(cohort.findings, cohort.targets.T, probabilities.T, thresholds, strict=True)
    return Abstention(
        bands=bands,
        findings=tuple(
            _measure(finding, target, probability, patient, bands, threshold)
            for finding, target, probability, threshold in columns
        ),
    )


def _measure(
    finding: Finding,
    target: Int8[np.ndarray, " n"],
    probability: Float64[np.ndarray, " n"],
    patient: Int64[np.ndarray, " n"],
    bands: Bands,
    threshold: float | None,
) -> FindingAbstention:
    band = bands.bands.get(finding.name)
    with_it, without = target == 1, target == 0
    nowhere = np.full(len(target), np.nan)
    if band is None:
        reaches = exceeds_not = undecided = nowhere
    else:
        reaches, exceeds_not = probability >= band.low, probability <= band.high
        undecided = nowhere if threshold is None else _within(probability, band.undecided(threshold))
    return FindingAbstention(
        finding=finding,
        band=band,
        absent="" if band else bands.absent.get(finding.name, "no band was set for it"),
        threshold=threshold,
        patients_with=len(np.unique(patient[with_it])),
        patients_without=len(np.unique(patient[without])),
        covered_with=_patient_share(reaches[with_it], patient[with_it]),
        covered_without=_patient_share(exceeds_not[without], patient[without]),
        undecided=_patient_share(undecided, patient),
    )


def _within(probability: Float64[np.ndarray, " n"], ends: tuple[float, float]) -> Bool[np.ndarray, " n"]:
    low, high = ends
    return np.asarray((low < high) & (probability >= low) & (probability <= high))


def _patient_share(matching: np.ndarray, patient: Int64[np.ndarray, " n"]) -> Interval:
    """Return the share of images that match, where each patient counts once; NaN if undefined."""
    if len(matching) == 0 or np.isnan(matching).any():
        return Interval(np.nan, np.nan, np.nan)
    _, number = np.unique(patient, return_inverse=True)
    images = np.bincount(number)
    return share_interval(np.bincount(number, weights=matching) / images, np.ones(len(images)))
