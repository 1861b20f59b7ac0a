"""ROC and precision-recall curves with pointwise confidence bands.

At each false positive rate (or recall) a band is the interval of the sensitivity (or precision) over
resamples of the patients. It holds pointwise: the curve as a whole leaves it in more than 5 % of samples.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int32, Int64, UInt

from thorax.evaluation.statistics.intervals import over_resamples, percentile_interval
from thorax.evaluation.statistics.ranking import (
    compact_points,
    count_by_threshold,
    precision_recall_curve,
    roc_curve,
)
from thorax.findings import Finding

__all__ = ["Band", "Curves", "RunRoc", "ScoredFinding", "draw_curves", "roc_points"]

Points = tuple[tuple[float, float], ...]

Band = tuple[tuple[float, float, float], ...]
"""Points (x, lower end, upper end) with increasing x."""

_ALONG: Final = 40
"""Thresholds spaced evenly along the ROC curve."""

_AT_TOP: Final = 24
"""Further thresholds, at about 1, 2, 4... positive decisions: there precision changes most."""

_RATES: Final = np.linspace(0.0, 1.0, 51)
_RECALLS: Final = np.linspace(0.02, 1.0, 50)  # precision is undefined at a recall of 0


@dataclass(frozen=True, slots=True, eq=False)
class ScoredFinding:
    """The images with a known label for one finding.

    Attributes:
        target: Whether each image has the finding.
        score: Larger means more likely.
        patient: The number of each image's patient.
        patients: `ranked_patients` of the images, for the width of intervals.
    """

    target: Bool[np.ndarray, " n"]
    score: Float[np.ndarray, " n"]
    patient: Int64[np.ndarray, " n"]
    patients: float


@dataclass(frozen=True, slots=True)
class Curves:
    """The curves of one finding; all empty where a class is absent.

    Attributes:
        roc: At most 200 points (false positive rate, sensitivity).
        precision_recall: At most 200 points (recall, precision).
        roc_band: Interval of the sensitivity at each false positive rate.
        precision_recall_band: Interval of the precision at each recall.
    """

    roc: Points = ()
    precision_recall: Points = ()
    roc_band: Band = ()
    precision_recall_band: Band = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRoc:
    """The ROC curve of one finding by one run of a model.

    Attributes:
        model: The name of the model.
        run: The name of the run.
        finding: The finding.
        points: At most 200 points (false positive rate, sensitivity).
    """

    model: str
    run: str
    finding: Finding
    points: Points


def roc_points(target: Bool[np.ndarray, " n"], score: Float[np.ndarray, " n"]) -> Points:
    """Return at most 200 points of a ROC curve; none where a class is absent."""
    if target.all() or not target.any():
        return ()
    curve = roc_curve(target, score)
    return compact_points(curve.false_positive_rate, curve.true_positive_rate)


def draw_curves(
    findings: Sequence[ScoredFinding], *, num_patients: int, resamples: int, seed: int
) -> tuple[Curves, ...]:
    """Return the curves of each finding, all on the same resamples of the patients.

    Args:
        findings: The images of each finding.
        num_patients: The number of patients in all.
        resamples: The number of resamples, at least 1.
        seed: The seed of the resamples.
    """
    defined = [finding for finding in findings if np.any(finding.target) and not np.all(finding.target)]
    if not defined:
        return tuple(Curves() for _ in findings)
    steps = [_PatientSteps.of(finding, num_patients) for finding in defined]

    def measure(counts: Int32[np.ndarray, "resample patient"]) -> Float64[np.ndarray, "resample k point"]:
        weights = counts.astype(np.float32)
        return np.stack([one.points(weights) for one in steps], axis=1)

    value = measure(np.ones((1, num_patients), np.int32))
    samples = over_resamples(measure, num_patients=num_patients, resamples=resamples, seed=seed)
    curves = {id(finding): _curves(finding, value[0, k], samples[:, k]) for k, finding in enumerate(defined)}
    return tuple(curves.get(id(finding), Curves()) for finding in findings)


@dataclass(frozen=True, slots=True, eq=False)
class _PatientSteps:
    """Counts of each patient's positive decisions at some decreasing thresholds.

    They are kept in the smallest integers that hold them: as float32 they take more than the scores.

    Attributes:
        true_positives: Images with the finding at or above each threshold.
        false_positives: Images without it at or above each threshold.
    """

    true_positives: UInt[np.ndarray, "patient step"]
    false_positives: UInt[np.ndarray, "patient step"]

    @classmethod
    def of(cls, finding: ScoredFinding, num_patients: int) -> "_PatientSteps":
        thresholds = _thresholds(finding)
        # The first step at which each image is positive.
        step = len(thresholds) - np.searchsorted(thresholds[::-1], finding.score, side="right")
        cell = finding.patient * len(thresholds) + step
        size = num_patients * len(thresholds)
        most = np.min_scalar_type(int(np.bincount(finding.patient).max()))
        counts = (np.bincount(cell[rows], minlength=size) for rows in (finding.target, ~finding.target))
        return cls(*(count.reshape(num_patients, -1).cumsum(axis=1, dtype=most) for count in counts))

    def points(
        self, weights: Float32[np.ndarray, "resample patient"]
    ) -> Float64[np.ndarray, "resample point"]:
        """Return sensitivity at `_RATES`, then precision at `_RECALLS`; NaN where a class is absent."""
        points = np.full((len(weights), len(_RATES) + len(_RECALLS)), np.nan)
        counts = (weights @ steps.astype(np.float32) for steps in (self.true_positives, self.false_positives))
        for number, (tp, fp) in enumerate(zip(*counts, strict=True)):
            if tp[-1] > 0 and fp[-1] > 0:
                points[number] = _on_grids(tp, fp)
        return points


def _on_grids(
    tp: Float32[np.ndarray, " step"], fp: Float32[np.ndarray, " step"]
) -> Float64[np.ndarray, " point"]:
    """Return sensitivity at each rate, then precision at each recall.

    True and false positives are interpolated linearly between two thresholds, which is a curve in the plane
    of precision and recall (Davis and Goadrich, ICML 2006).
    """
    tp, fp = (np.concatenate([[0.0], counts]) for counts in (tp, fp))
    sensitivity = np.interp(_RATES * fp[-1], fp, tp) / tp[-1]
    tp_at_recall = _RECALLS * tp[-1]
    precision = tp_at_recall / (tp_at_recall + np.interp(tp_at_recall, tp, fp))
    return np.concatenate([sensitivity, precision])


def _thresholds(finding: ScoredFinding) -> Float64[np.ndarray, " step"]:
    """Return decreasing thresholds, the last of which makes every image positive."""
    counts = count_by_threshold(finding.target, finding.score)
    positives = counts.true_positives + counts.false_positives
    along = counts.true_positives / counts.true_positives[-1]
    along = along + counts.false_positives / counts.false_positives[-1]
    spread = np.searchsorted(along, np.linspace(0.0, 2.0, _ALONG))
    top = np.searchsorted(positives, np.geomspace(1, positives[-1], _AT_TOP))
    steps = np.unique(np.concatenate([spread, top, [len(positives) - 1]]).clip(1, len(positives) - 1))
    return np.asarray(counts.threshold[steps])


def _curves(
    finding: ScoredFinding,
    value: Float64[np.ndarray, " point"],
    samples: Float64[np.ndarray, "resample point"],
) -> Curves:
    rates, recalls = slice(0, len(_RATES)), slice(len(_RATES), None)
    roc = roc_curve(finding.target, finding.score)
    pr = precision_recall_curve(finding.target, finding.score)
    return Curves(
        roc=compact_points(roc.false_positive_rate, roc.true_positive_rate),
        precision_recall=compact_points(pr.recall, pr.precision),
        roc_band=_band(_RATES, value[rates], samples[:, rates], finding.patients),
        precision_recall_band=_band(_RECALLS, value[recalls], samples[:, recalls], finding.patients),
    )


def _band(
    grid: Float64[np.ndarray, " x"],
    value: Float64[np.ndarray, " x"],
    samples: Float64[np.ndarray, "resample x"],
    patients: float,
) -> Band:
    intervals = [
        percentile_interval(float(at_point), column, patients=patients)
        for at_point, column in zip(value, samples.T, strict=True)
    ]
    if any(math.isnan(interval.low) for interval in intervals):
        return ()
    return tuple((float(x), interval.low, interval.high) for x, interval in zip(grid, intervals, strict=True))
