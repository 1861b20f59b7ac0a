"""Curves with bands: where a ROC or precision-recall curve would lie with other patients.

A band is pointwise: at each false positive rate (or recall) it is the interval of the sensitivity (or
precision) over resamples of the patients. The curve as a whole leaves it more often than in 5 % of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int32, Int64

from thorax.evaluation.statistics.intervals import over_resamples, percentile_interval
from thorax.evaluation.statistics.ranking import (
    compact_points,
    count_calls,
    precision_recall_curve,
    roc_curve,
)

__all__ = ["Band", "Curves", "ScoredFinding", "draw_curves"]

Points = tuple[tuple[float, float], ...]

Band = tuple[tuple[float, float, float], ...]
"""Points (x, lower end, upper end), x rising."""

_ALONG: Final = 40
"""Thresholds that are spread evenly along the ROC curve."""

_AT_TOP: Final = 24
"""Further thresholds, at 1, 2, 4... called images: precision moves where few are called."""

_RATES: Final = np.linspace(0.0, 1.0, 51)
_RECALLS: Final = np.linspace(0.02, 1.0, 50)  # at a recall of 0 nothing is called, and precision is undefined


@dataclass(frozen=True, slots=True, eq=False)
class ScoredFinding:
    """The images of one finding whose label is known.

    Attributes:
        target: Whether each has the finding.
        score: Larger means more likely.
        patient: The number of each image's patient.
        patients: `ranked_patients` of them, by which intervals are widened.
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
        roc_band: Where sensitivity lies at each false positive rate.
        precision_recall_band: Where precision lies at each recall.
    """

    roc: Points = ()
    precision_recall: Points = ()
    roc_band: Band = ()
    precision_recall_band: Band = ()


def draw_curves(
    findings: Sequence[ScoredFinding], *, num_patients: int, resamples: int, seed: int
) -> tuple[Curves, ...]:
    """Return the curves of each finding, all on the same resamples of the patients.

    Args:
        findings: Their images.
        num_patients: How many patients there are in all.
        resamples: How many resamples, at least 1.
        seed: Which ones.
    """
    defined = [each for each in findings if np.any(each.target) and not np.all(each.target)]
    if not defined:
        return tuple(Curves() for _ in findings)
    stairs = [_Stairs.of(each, num_patients) for each in defined]

    def measure(counts: Int32[np.ndarray, "resample patient"]) -> Float64[np.ndarray, "resample k point"]:
        weights = counts.astype(np.float32)
        return np.stack([each.climb(weights) for each in stairs], axis=1)

    value = measure(np.ones((1, num_patients), np.int32))
    samples = over_resamples(measure, num_patients=num_patients, resamples=resamples, seed=seed)
    drawn = {id(each): _curves(each, value[0, k], samples[:, k]) for k, each in enumerate(defined)}
    return tuple(drawn.get(id(each), Curves()) for each in findings)


@dataclass(frozen=True, slots=True, eq=False)
class _Stairs:
    """What some falling thresholds call of each patient.

    Attributes:
        hits: Images with the finding that each threshold calls.
        alarms: Images without it that each threshold calls.
    """

    hits: Float32[np.ndarray, "patient step"]
    alarms: Float32[np.ndarray, "patient step"]

    @classmethod
    def of(cls, finding: ScoredFinding, num_patients: int) -> "_Stairs":
        thresholds = _thresholds(finding)
        # The step at which a falling threshold first calls each image.
        step = len(thresholds) - np.searchsorted(thresholds[::-1], finding.score, side="right")
        cell = finding.patient * len(thresholds) + step
        size = num_patients * len(thresholds)
        called = [
            np.bincount(cell[rows], minlength=size).reshape(num_patients, -1).cumsum(axis=1)
            for rows in (finding.target, ~finding.target)
        ]
        return cls(*(each.astype(np.float32) for each in called))

    def climb(
        self, weights: Float32[np.ndarray, "resample patient"]
    ) -> Float64[np.ndarray, "resample point"]:
        """Return sensitivity at `_RATES`, then precision at `_RECALLS`; NaN where a class is absent."""
        points = np.full((len(weights), len(_RATES) + len(_RECALLS)), np.nan)
        called = zip(weights @ self.hits, weights @ self.alarms, strict=True)
        for number, (hits, alarms) in enumerate(called):
            if hits[-1] > 0 and alarms[-1] > 0:
                points[number] = _on_grids(hits, alarms)
        return points


def _on_grids(
    hits: Float32[np.ndarray, " step"], alarms: Float32[np.ndarray, " step"]
) -> Float64[np.ndarray, " point"]:
    """Return sensitivity at each rate, then precision at each recall.

    Between two thresholds hits and alarms grow together, in a straight line: in the plane of precision and
    recall that is a curve (Davis and Goadrich, ICML 2006).
    """
    hits, alarms = (np.concatenate([[0.0], each]) for each in (hits, alarms))
    sensitivity = np.interp(_RATES * alarms[-1], alarms, hits) / hits[-1]
    wanted = _RECALLS * hits[-1]
    precision = wanted / (wanted + np.interp(wanted, hits, alarms))
    return np.concatenate([sensitivity, precision])


def _thresholds(finding: ScoredFinding) -> Float64[np.ndarray, " step"]:
    """Return falling thresholds, the last of which calls every image."""
    counts = count_calls(finding.target, finding.score)
    called = counts.true_positives + counts.false_positives
    along = counts.true_positives / counts.true_positives[-1]
    along = along + counts.false_positives / counts.false_positives[-1]
    spread = np.searchsorted(along, np.linspace(0.0, 2.0, _ALONG))
    top = np.searchsorted(called, np.geomspace(1, called[-1], _AT_TOP))
    steps = np.unique(np.concatenate([spread, top, [len(called) - 1]]).clip(1, len(called) - 1))
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
    columns = [
        percentile_interval(float(at), column, patients=patients)
        for at, column in zip(value, samples.T, strict=True)
    ]
    if any(math.isnan(each.low) for each in columns):
        return ()
    return tuple((float(x), each.low, each.high) for x, each in zip(grid, columns, strict=True))
