"""How well a model's probabilities rank the images of one part: AUC and average precision, with intervals."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float64, Int64

from thorax.arrays import Probabilities, Targets
from thorax.errors import DataError
from thorax.evaluation.curves import Curves, ScoredFinding, draw_curves
from thorax.evaluation.statistics.auc_intervals import auc_intervals, mean_auc_interval, measure_aucs
from thorax.evaluation.statistics.intervals import (
    Interval,
    bootstrap,
    bounded_interval,
    mean_patients,
    ranked_patients,
    resampled_interval,
)
from thorax.evaluation.statistics.precision_intervals import (
    mean_precision_interval,
    measure_precisions,
    precision_intervals,
)
from thorax.evaluation.statistics.presorted import Ranked
from thorax.evaluation.statistics.ranking import rank, rank_pooled, weighted_scores
from thorax.findings import NO_FINDING, Finding, Findings

__all__ = [
    "FEWEST_PATIENTS",
    "Discrimination",
    "FindingDiscrimination",
    "evaluate_discrimination",
    "too_few_patients",
]

FEWEST_PATIENTS: Final = 10
"""How many patients with a finding, and how many without it, a number needs. With fewer, an interval rests on
a handful of people and says less than their number does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingDiscrimination:
    """One finding's numbers, over the images whose label is known.

    Attributes:
        finding: The finding.
        num_known: Images labeled present or absent; uncertain and missing labels are left out.
        num_positive: Images labeled present.
        patients_with: Patients with such an image.
        patients_without: Patients with an image labeled absent.
        auc: Area under the ROC curve, with its `auc_intervals`; exists only with both
            positives and negatives.
        auc_bootstrap: The same AUC with the interval of the bootstrap, as a cross-check that no table shows.
        partial_auc: Standardized area up to a false positive rate of `PARTIAL_RATE`; 0.5 is chance.
        average_precision: Area under the precision-recall curve, with its `precision_intervals`; exists where
            the AUC does.
        average_precision_bootstrap: The same with the interval of the bootstrap.
        undefined_resamples: Resamples with only one class, which the intervals leave out.
        curves: ROC and precision-recall curves with bands.
    """

    finding: Finding
    num_known: int
    num_positive: int
    patients_with: int
    patients_without: int
    auc: Interval
    auc_bootstrap: Interval
    partial_auc: Interval
    average_precision: Interval
    average_precision_bootstrap: Interval
    undefined_resamples: int
    curves: Curves


@dataclass(frozen=True, slots=True, kw_only=True)
class Discrimination:
    """How well one model ranks the images of one part.

    Attributes:
        findings: One entry per finding, in the model's order.
        macro_auc: Unweighted mean of the AUCs that exist, without No Finding, with its `mean_auc_interval`.
        macro_auc_bootstrap: The same with the interval of the bootstrap.
        macro_partial_auc: The mean of the partial AUCs.
        macro_average_precision: The mean of average precision, with its `mean_precision_interval`.
        macro_average_precision_bootstrap: The same with the interval of the bootstrap.
        micro_auc: AUC over all pairs of an image and a finding, without No Finding: it compares scores across
            findings, and is high where common findings merely score above rare ones.
        micro_partial_auc: The partial AUC over these pairs.
        micro_average_precision: The average precision over these pairs.
        num_findings: The number of findings in the macro means.
        incomplete_resamples: Resamples in which one of these findings is undefined, so that their mean is
            over fewer.
        num_images: The number of images.
        num_patients: The number of patients.
        resamples: The number of resamples of the patients.
        seed: The seed of the resamples.
    """

    findings: tuple[FindingDiscrimination, ...]
    macro_auc: Interval
    macro_auc_bootstrap: Interval
    macro_partial_auc: Interval
    macro_average_precision: Interval
    macro_average_precision_bootstrap: Interval
    micro_auc: Interval
    micro_partial_auc: Interval
    micro_average_precision: Interval
    num_findings: int
    incomplete_resamples: int
    num_images: int
    num_patients: int
    resamples: int
    seed: int

    @property
    def too_few_patients(self) -> str:
        """What `too_few_patients` says of these findings."""
        return too_few_patients(
            (result.patients_with, result.patients_without)
            for result in self.findings
            if result.finding != NO_FINDING
        )


def too_few_patients(counts: Iterable[tuple[int, int]]) -> str:
    """Say that no finding has `FEWEST_PATIENTS` with it and as many without it; "" if one has.

    Args:
        counts: The patients with and without each finding, without No Finding.
    """
    if any(min(both) >= FEWEST_PATIENTS for both in counts):
        return ""
    return (
        f"TOO FEW PATIENTS TO SAY ANYTHING: no finding has at least {FEWEST_PATIENTS} patients with it "
        f"and {FEWEST_PATIENTS} without it."
    )


def evaluate_discrimination(
    targets: Targets,
    probabilities: Probabilities,
    *,
    patients: Sequence[str] | Int64[np.ndarray, " n"],
    findings: Findings,
    resamples: int = 1000,
    seed: int = 0,
) -> Discrimination:
    """Measure each finding, and the mean over findings, with intervals by patient.

    Args:
        targets: Labels, one row per image; only 1 and 0 count.
        probabilities: In [0, 1], in the same order.
        patients: The patient of each image.
        findings: The findings of the columns.
        resamples: The number of resamples of the patients, at least 1.
        seed: The seed of the resamples.

    Raises:
        DataError: There is nothing to evaluate, lengths differ, or a probability is not in [0, 1].
    """
    _check(targets, probabilities, patients=patients, findings=findings, resamples=resamples)
    patient_names, patient = np.unique(np.asarray(patients), return_inverse=True)
    known = (targets == 0) | (targets == 1)  # the others are uncertain or not labeled
    ranked = [
        rank(targets[rows, k] == 1, probabilities[rows, k], patient[rows]) for k, rows in enumerate(known.T)
    ]
    counted = np.array([finding != NO_FINDING for finding in findings])
    pooled = rank_pooled(targets == 1, probabilities, known=known & counted, unit=patient)
    draw = _Draw(num_patients=len(patient_names), resamples=resamples, seed=seed)
    scores = _score([*ranked, pooled], draw)
    measured = measure_aucs([*ranked, pooled], num_units=draw.num_patients)
    *aucs, micro_auc = auc_intervals(measured)
    precisions = measure_precisions([*ranked, pooled], num_units=draw.num_patients)
    *average_precisions, micro_average_precision = precision_intervals(precisions)
    in_mean = np.append(counted & ~np.isnan(scores.auc[0, :-1]), False)
    curves = draw_curves(
        [
            ScoredFinding(
                targets[rows, k] == 1, probabilities[rows, k], patient[rows], ranked_patients(ranked[k])
            )
            for k, rows in enumerate(known.T)
        ],
        num_patients=draw.num_patients,
        resamples=resamples,
        seed=seed,
    )
    resampled_means = [
        _mean_interval(samples, in_mean, [*ranked, pooled])
        for samples in (scores.auc, scores.partial, scores.precision)
    ]
    return Discrimination(
        findings=tuple(
            FindingDiscrimination(
                finding=finding,
                num_known=int(np.sum(known[:, k])),
                num_positive=len(ranked[k].positives),
                patients_with=len(np.unique(patient[targets[:, k] == 1])),
                patients_without=len(np.unique(patient[targets[:, k] == 0])),
                auc=aucs[k],
                auc_bootstrap=_auc_interval(scores.auc[:, k], ranked[k]),
                partial_auc=_interval(scores.partial[:, k], ranked[k]),
                average_precision=average_precisions[k],
                average_precision_bootstrap=_interval(scores.precision[:, k], ranked[k]),
                undefined_resamples=int(np.sum(np.isnan(scores.auc[1:, k]))),
                curves=curves[k],
            )
            for k, finding in enumerate(findings)
        ),
        macro_auc=mean_auc_interval(measured, in_mean),
        macro_auc_bootstrap=resampled_means[0],
        macro_partial_auc=resampled_means[1],
        macro_average_precision=mean_precision_interval(precisions, in_mean),
        macro_average_precision_bootstrap=resampled_means[2],
        micro_auc=micro_auc,
        micro_partial_auc=_interval(scores.partial[:, -1], pooled),
        micro_average_precision=micro_average_precision,
        num_findings=int(np.sum(in_mean)),
        incomplete_resamples=int(np.sum(np.any(np.isnan(scores.auc[1:, in_mean]), axis=1))),
        num_images=len(targets),
        num_patients=draw.num_patients,
        resamples=resamples,
        seed=seed,
    )


@dataclass(frozen=True, slots=True)
class _Draw:
    """The resamples to draw."""

    num_patients: int
    resamples: int
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class _Scores:
    """Scores of each ranking, in the first row on the original sample, then on each resample."""

    auc: Float64[np.ndarray, "sample k"]
    partial: Float64[np.ndarray, "sample k"]
    precision: Float64[np.ndarray, "sample k"]


def _score(ranked: Sequence[Ranked], draw: _Draw) -> _Scores:
    samples = bootstrap(ranked, num_patients=draw.num_patients, resamples=draw.resamples, seed=draw.seed)
    once = np.ones((1, draw.num_patients), dtype=np.int32)
    originals = [weighted_scores(ranking, once) for ranking in ranked]
    return _Scores(
        auc=np.vstack([[scores.auroc[0] for scores in originals], samples.auroc]),
        partial=np.vstack([[scores.partial_auroc[0] for scores in originals], samples.partial_auroc]),
        precision=np.vstack(
            [[scores.average_precision[0] for scores in originals], samples.average_precision]
        ),
    )


def _auc_interval(samples: Float64[np.ndarray, " sample"], ranked: Ranked) -> Interval:
    return bounded_interval(float(samples[0]), samples[1:], patients=ranked_patients(ranked))


def _interval(samples: Float64[np.ndarray, " sample"], ranked: Ranked) -> Interval:
    return resampled_interval(float(samples[0]), samples[1:], patients=ranked_patients(ranked))


def _mean_interval(
    samples: Float64[np.ndarray, "sample k"], in_mean: Bool[np.ndarray, " k"], ranked: Sequence[Ranked]
) -> Interval:
    """Return the mean over the findings in `in_mean`; on each resample, over those defined in it."""
    if not np.any(in_mean):
        return Interval(math.nan, math.nan, math.nan)
    chosen = samples[:, in_mean]
    count = np.sum(~np.isnan(chosen), axis=1)
    means = np.where(count > 0, np.nansum(chosen, axis=1) / np.maximum(count, 1), np.nan)
    # With a finding that only one patient has, the mean gets its widest interval instead of none.
    patients = max(
        mean_patients([ranking for ranking, used in zip(ranked, in_mean, strict=True) if used]), 2.0
    )
    return resampled_interval(float(means[0]), means[1:], patients=patients)


def _check(
    targets: Targets,
    probabilities: Probabilities,
    *,
    patients: Sequence[str] | Int64[np.ndarray, " n"],
    findings: Findings,
    resamples: int,
) -> None:
    shape = (len(patients), len(findings))
    if targets.shape != shape or probabilities.shape != shape:
        raise DataError(
            f"targets of shape {targets.shape} and probabilities of shape {probabilities.shape} do not fit "
            f"{shape[0]} images and {shape[1]} findings; give one row per image, one column per finding"
        )
    if 0 in shape:
        raise DataError(
            f"there is nothing to evaluate: {shape[0]} images, {shape[1]} findings; "
            "choose a part of the split that has images"
        )
    if resamples < 1:
        raise DataError(f"{resamples} resamples give no interval; ask for at least 1, better 1000")
    for finding, column in zip(findings, probabilities.T, strict=True):
        outside = ~((column >= 0) & (column <= 1))
        if np.any(outside):
            raise DataError(
                f"{finding}: {int(np.sum(outside))} of {shape[0]} probabilities are not in [0, 1] (first: "
                f"{column[outside][0]} in row {int(np.argmax(outside))}); give probabilities, not logits"
            )
