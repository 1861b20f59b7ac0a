"""How well maps point at boxed findings: pointing game, IoU and IoBB, beside three baselines.

The height that a map's region begins at is a method's one free number: it is chosen on one half of the
patients, and all figures are of the other half.
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
    """The means over some pairs.

    Attributes:
        num_pairs: Pairs.
        num_patients: Patients that they are of.
        pointing: Share of the maps whose highest place lies in a box.
        iou: Mean IoU of the map's box.
        iou_hits: Share of the boxes whose IoU reaches each of `HITS`.
        iobb_hits: The same of IoBB.
    """

    num_pairs: int
    num_patients: int
    pointing: Interval
    iou: Interval
    iou_hits: tuple[Interval, ...]
    iobb_hits: tuple[Interval, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MapScores:
    """One method or baseline.

    Attributes:
        name: Its name.
        level: Part of the map's height that its region begins at; None for the mean box, which has no map.
        by_finding: Scores of the pairs of each finding that has some.
        by_size: Scores of the pairs of each group of `SIZES` that has some.
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
    """Methods beside baselines, on the same pairs.

    Attributes:
        methods: In the order given.
        baselines: random (a smooth random map), centre (a map that falls from the middle), mean-box (the
            finding's mean box on the fitting half, or that of all findings where it has none there).
        num_fitting: Pairs that levels and mean boxes were fitted on.
        num_pairs: Pairs that the figures are of.
        num_patients: Their patients.
        resamples: How many resamples of the patients the intervals rest on.
        seed: Which ones, and which random maps.
    """

    methods: tuple[MapScores, ...]
    baselines: tuple[MapScores, ...]
    num_fitting: int
    num_pairs: int
    num_patients: int
    resamples: int
    seed: int


def in_fitting_half(patient: str) -> bool:
    """Return whether a patient belongs to the half that levels are fitted on, by the hash of the id."""
    return hashlib.sha256(f"localization:{patient}".encode()).digest()[0] < 1 << 7


def localize(
    pairs: Sequence[BoxedFinding],
    methods: Mapping[str, Sequence[MapOverlap]],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Localization:
    """Fit each method's level on one half of the patients, and measure it on the other, beside the baselines.

    Args:
        pairs: The boxed findings.
        methods: For each method, what its maps are worth, in the order of `pairs`.
        resamples: How many resamples of the patients, at least 1.
        seed: Which ones, and which random maps.

    Raises:
        DataError: One half of the patients has no pair.
    """
    fitting = np.array([in_fitting_half(pair.patient) for pair in pairs], dtype=bool)
    if np.all(fitting) or not np.any(fitting):
        raise DataError(
            f"{int(np.sum(fitting))} of the {len(pairs)} boxed findings are of the patients that levels are "
            "fitted on, and there must be some of these and of the others; take a part with more boxes"
        )
    fitted_on = [pair for pair, fits in zip(pairs, fitting, strict=True) if fits]
    reported = _Reported.draw(
        [pair for pair, fits in zip(pairs, fitting, strict=True) if not fits], resamples=resamples, seed=seed
    )
    boxes = mean_boxes(fitted_on)
    baselines = {
        "random": [random_overlap(pair, seed=seed) for pair in pairs],
        "centre": [center_overlap(pair) for pair in pairs],
        "mean-box": [mean_box_overlap(boxes, pair) for pair in pairs],
    }

    def scores(name: str, overlaps: Sequence[MapOverlap]) -> MapScores:
        pointing = np.array([each.pointing for each in overlaps])
        at_level = np.stack([each.at_level for each in overlaps])
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
    """Return the level with the highest mean IoU, meant over findings; the lowest of equals."""
    findings = np.array([pair.finding.name for pair in pairs])
    by_finding = [np.mean(at_level[findings == name, :, 0], axis=0) for name in np.unique(findings)]
    return int(np.argmax(np.mean(by_finding, axis=0)))


@dataclass(frozen=True, slots=True, eq=False)
class _Reported:
    """The pairs that figures are of, and how often each of their patients counts in each resample."""

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
            finding: np.array([each == finding for each in findings]) for finding in dict.fromkeys(findings)
        }
        by_size = {size: np.array([each == size for each in sizes]) for size in SIZES if size in sizes}
        return MapScores(
            name=name,
            level=level,
            by_finding={finding: self._mean(values, [mask]) for finding, mask in by_finding.items()},
            by_size={size: self._mean(values, [mask]) for size, mask in by_size.items()},
            mean=self._mean(values, list(by_finding.values())),
            pooled=self._mean(values, [np.ones(len(self.pairs), dtype=bool)]),
        )

    def _mean(self, values: Values, groups: Sequence[Bool[np.ndarray, " pair"]]) -> LocalizationScores:
        """Return the mean over groups of the mean over each one's pairs; a resample's, over those it has."""
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
        # The harmonic mean, as for a mean of AUCs: the rarest group errs most.
        effective = len(patients) / sum(1 / each for each in patients)
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
    """Means over findings in images, with patients as the unit of the intervals.

    Attributes:
        method: Whose maps.
        deletion: Area under the probability while cells are blurred in the map's order; lower is better.
        deletion_gain: How much lower that is than in random orders of the same cells.
        insertion: Area while they are brought back; higher is better.
        insertion_gain: How much higher that is than in random orders.
        num_maps: Findings in images.
        num_patients: Their patients.
    """

    method: str
    deletion: Interval
    deletion_gain: Interval
    insertion: Interval
    insertion_gain: Interval
    num_maps: int
    num_patients: int
