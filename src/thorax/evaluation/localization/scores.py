"""Localization scores of maps (pointing game, IoU and IoBB) and of three baselines.

The level at which a map is cut into a region is a method's only free parameter: it is chosen on one half of
the patients, and all results come from the other half.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64

from thorax.errors import DataError
from thorax.evaluation.localization.regions import (
    HITS,
    LEVELS,
    SIZES,
    BoxedFinding,
    MapOverlap,
    center_overlap,
    mean_box_overlap,
    mean_boxes,
    random_overlap,
)
from thorax.evaluation.statistics.intervals import (
    Interval,
    bounded_interval,
    effective_patients,
    resample_counts,
)
from thorax.findings import Finding

__all__ = [
    "Localization",
    "LocalizationScores",
    "MapFaithfulness",
    "MapScores",
    "in_fitting_half",
    "localize",
]

Values = Float64[np.ndarray, "pair figure"]
"""For each pair: pointing, IoU, whether IoU reaches each of `HITS`, whether IoBB does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalizationScores:
    """Mean scores over some pairs.

    Attributes:
        num_pairs: The number of pairs.
        num_patients: The number of their patients.
        pointing: Share of maps whose maximum lies in a box.
        iou: Mean IoU of the map's box.
        iou_hits: Share of map boxes whose IoU reaches each of `HITS`.
        iobb_hits: The same for IoBB.
    """

    num_pairs: int
    num_patients: int
    pointing: Interval
    iou: Interval
    iou_hits: tuple[Interval, ...]
    iobb_hits: tuple[Interval, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MapScores:
    """Scores of one method or baseline.

    Attributes:
        name: Name of the method or baseline.
        level: Level of the map's region, as a fraction of the maximum; None for the mean box, which has no
            map.
        by_finding: Scores of each finding that has pairs.
        by_size: Scores of each group in `SIZES` that has pairs.
        mean: Mean over the findings.
        pooled: Mean over all pairs.
    """

    name: str
    level: float | None
    by_finding: Mapping[Finding, LocalizationScores]
    by_size: Mapping[str, LocalizationScores]
    mean: LocalizationScores
    pooled: LocalizationScores


@dataclass(frozen=True, slots=True, kw_only=True)
class Localization:
    """Scores of methods and baselines on the same pairs.

    Attributes:
        methods: The methods, in the order given.
        baselines: random (a smooth random map), center (a map that falls linearly from the center) and
            mean-box (the finding's mean box in the fitting half, or that of all findings if it has none
            there).
        num_fitting: The number of pairs on which levels and mean boxes were fitted.
        num_pairs: The number of pairs that were scored.
        num_patients: The number of their patients.
        resamples: The number of resamples of the patients.
        seed: The seed of the resamples and of the random maps.
    """

    methods: tuple[MapScores, ...]
    baselines: tuple[MapScores, ...]
    num_fitting: int
    num_pairs: int
    num_patients: int
    resamples: int
    seed: int


def in_fitting_half(patient: str) -> bool:
    """Return whether a patient is in the half on which levels are fitted, by the hash of the id."""
    return hashlib.sha256(f"localization:{patient}".encode()).digest()[0] < 1 << 7


def localize(
    pairs: Sequence[BoxedFinding],
    methods: Mapping[str, Sequence[MapOverlap]],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Localization:
    """Fit each method's level on one half of the patients, and score methods and baselines on the other.

    Args:
        pairs: The boxed findings.
        methods: The overlaps of each method's maps, in the order of `pairs`.
        resamples: The number of resamples of the patients, at least 1.
        seed: The seed of the resamples and of the random maps.

    Raises:
        DataError: One half of the patients has no pair.
    """
    fitting = np.array([in_fitting_half(pair.patient) for pair in pairs], dtype=bool)
    if np.all(fitting) or not np.any(fitting):
        raise DataError(
            f"{int(np.sum(fitting))} of the {len(pairs)} boxed findings are in the half of the patients on "
            "which levels are fitted, but both halves need some; choose a part with more boxes"
        )
    fitted_on = [pair for pair, fits in zip(pairs, fitting, strict=True) if fits]
    reported = _Reported.draw(
        [pair for pair, fits in zip(pairs, fitting, strict=True) if not fits], resamples=resamples, seed=seed
    )
    boxes = mean_boxes(fitted_on)
    baselines = {
        "random": [random_overlap(pair, seed=seed) for pair in pairs],
        "center": [center_overlap(pair) for pair in pairs],
        "mean-box": [mean_box_overlap(boxes, pair) for pair in pairs],
    }

    def scores(name: str, overlaps: Sequence[MapOverlap]) -> MapScores:
        pointing = np.array([overlap.pointing for overlap in overlaps])
        at_level = np.stack([overlap.at_level for overlap in overlaps])
        level = _best_level(fitted_on, at_level[fitting])
        values = np.column_stack([pointing, at_level[:, level]])[~fitting]
        return reported.scores(name, None if name == "mean-box" else LEVELS[level], values)

    return Localization(
        methods=tuple(scores(name, overlaps) for name, overlaps in methods.items()),
        baselines=tuple(scores(name, overlaps) for name, overlaps in baselines.items()),
        num_fitting=len(fitted_on),
        num_pairs=len(reported.pairs),
        num_patients=reported.counts.shape[1],
        resamples=resamples,
        seed=seed,
    )


def _best_level(pairs: Sequence[BoxedFinding], at_level: Float64[np.ndarray, "pair level figure"]) -> int:
    """Return the index of the level with the highest mean IoU over findings; the lowest of equals."""
    findings = np.array([pair.finding.name for pair in pairs])
    by_finding = [np.mean(at_level[findings == name, :, 0], axis=0) for name in np.unique(findings)]
    return int(np.argmax(np.mean(by_finding, axis=0)))


@dataclass(frozen=True, slots=True, eq=False)
class _Reported:
    """The scored pairs, and how often each of their patients is drawn in each resample."""

    pairs: Sequence[BoxedFinding]
    patient: Int64[np.ndarray, " pair"]
    counts: Int32[np.ndarray, "resample patient"]

    @classmethod
    def draw(cls, pairs: Sequence[BoxedFinding], *, resamples: int, seed: int) -> "_Reported":
        names, patient = np.unique([pair.patient for pair in pairs], return_inverse=True)
        return cls(pairs, patient, resample_counts(len(names), resamples=resamples, seed=seed))

    def scores(self, name: str, level: float | None, values: Values) -> MapScores:
        findings, sizes = [pair.finding for pair in self.pairs], [pair.size for pair in self.pairs]
        by_finding = {
            finding: np.array([other == finding for other in findings]) for finding in dict.fromkeys(findings)
        }
        by_size = {size: np.array([other == size for other in sizes]) for size in SIZES if size in sizes}
        return MapScores(
            name=name,
            level=level,
            by_finding={finding: self._mean(values, [mask]) for finding, mask in by_finding.items()},
            by_size={size: self._mean(values, [mask]) for size, mask in by_size.items()},
            mean=self._mean(values, list(by_finding.values())),
            pooled=self._mean(values, [np.ones(len(self.pairs), dtype=bool)]),
        )

    def _mean(self, values: Values, groups: Sequence[Bool[np.ndarray, " pair"]]) -> LocalizationScores:
        """Return the mean over groups of the mean over their pairs; in a resample, over the groups drawn."""
        value = np.mean([np.mean(values[group], axis=0) for group in groups], axis=0)
        totals = np.zeros((len(self.counts), values.shape[1]))
        present = np.zeros((len(self.counts), 1))
        for group in groups:
            weights = self.counts[:, self.patient[group]]
            drawn = weights.sum(axis=1, keepdims=True)
            totals += weights @ values[group] / np.maximum(drawn, 1)
            present += drawn > 0
        samples = np.where(present > 0, totals / np.maximum(present, 1), np.nan)
        patients = [effective_patients(np.bincount(self.patient[group])) for group in groups]
        # The harmonic mean, as for a mean of AUCs: the rarest group has the largest error.
        effective = len(patients) / sum(1 / count for count in patients)
        pointing, iou, *hits = (
            bounded_interval(float(number), sample, patients=effective)
            for number, sample in zip(value, samples.T, strict=True)
        )
        anywhere = np.any(groups, axis=0)
        return LocalizationScores(
            num_pairs=int(np.sum(anywhere)),
            num_patients=len(np.unique(self.patient[anywhere])),
            pointing=pointing,
            iou=iou,
            iou_hits=tuple(hits[: len(HITS)]),
            iobb_hits=tuple(hits[len(HITS) :]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MapFaithfulness:
    """Mean faithfulness of a method's maps, with intervals by patient.

    Attributes:
        method: The attribution method.
        deletion: Area under the probability while cells are blurred in the map's order; lower is better.
        deletion_gain: How much lower that is than in random orders of the same cells.
        insertion: Area while the cells are restored in that order; higher is better.
        insertion_gain: How much higher that is than in random orders.
        num_maps: The number of maps: pairs of finding and image.
        num_patients: The number of their patients.
    """

    method: str
    deletion: Interval
    deletion_gain: Interval
    insertion: Interval
    insertion_gain: Interval
    num_maps: int
    num_patients: int
