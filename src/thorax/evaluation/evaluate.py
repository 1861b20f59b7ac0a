"""Evaluation: what a model's probabilities are worth on one part of one split, with intervals."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float64, Int64

from thorax.arrays import Probabilities, Targets
from thorax.errors import DataError
from thorax.evaluation.intervals import Interval, bootstrap, percentile_interval
from thorax.evaluation.ranking import compact_points, rank, roc_curve, weighted_scores
from thorax.findings import NO_FINDING, Finding, Findings
from thorax.prediction import ModelIdentity

__all__ = ["Context", "Evaluation", "FindingEvaluation", "evaluate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a number must travel with, or it is not shown.

    Attributes:
        split: Name of the split.
        part: "train", "validation" or "test".
        split_sha256: SHA-256 of the whole list of the split, whichever images are at hand.
        images_sha256: SHA-256 of the names of the images that were evaluated.
        dataset: What the images are, for people.
        model: Which model spoke.
        versions: Version of each program that the numbers rest on.
        warnings: What a reader must know before trusting the numbers.
    """

    split: str
    part: str
    split_sha256: str
    images_sha256: str
    dataset: str
    model: ModelIdentity
    versions: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingEvaluation:
    """One finding's numbers, over the images whose label is known.

    Attributes:
        finding: The finding.
        num_known: Images labelled present or absent; uncertain and missing labels are left out.
        num_positive: Those labelled present.
        auc: Area under the ROC curve; does not exist without a positive or without a negative.
        average_precision: Area under the precision-recall curve; exists where the AUC does.
        undefined_resamples: Resamples that held only one class, and are not in the intervals.
        roc: At most 200 points (false positive rate, sensitivity) of the ROC curve; empty without an AUC.
    """

    finding: Finding
    num_known: int
    num_positive: int
    auc: Interval
    average_precision: Interval
    undefined_resamples: int
    roc: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """All numbers of one model on one part.

    Attributes:
        findings: One entry per finding, in the model's order.
        macro_auc: Plain mean of the AUCs that exist, No Finding never among them.
        macro_average_precision: The same of average precision.
        num_findings: How many findings the means are taken over.
        incomplete_resamples: Resamples in which one of these findings was undefined, so that their mean is
            over fewer.
        num_images: Images.
        num_patients: Patients.
        resamples: How many resamples of the patients the intervals rest on.
        seed: Which ones.
    """

    findings: tuple[FindingEvaluation, ...]
    macro_auc: Interval
    macro_average_precision: Interval
    num_findings: int
    incomplete_resamples: int
    num_images: int
    num_patients: int
    resamples: int
    seed: int


def evaluate(
    targets: Targets,
    probabilities: Probabilities,
    *,
    patients: Sequence[str] | Int64[np.ndarray, " n"],
    findings: Findings,
    resamples: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Measure each finding, and the mean over findings, with patient-bootstrap intervals.

    Args:
        targets: Labels, one row per image; only 1 and 0 count.
        probabilities: In [0, 1], in the same order.
        patients: Which patient each image is of.
        findings: What the columns stand for.
        resamples: How many resamples of the patients, at least 1.
        seed: Which ones.

    Raises:
        DataError: Nothing to evaluate, lengths differ, or a probability is not in [0, 1].
    """
    _check(targets, probabilities, patients=patients, findings=findings, resamples=resamples)
    patient_names, patient = np.unique(np.asarray(patients), return_inverse=True)
    once = np.ones((len(patient_names), 1), dtype=np.int32)
    known = (targets == 0) | (targets == 1)  # the rest is uncertain or not labelled
    ranked = [
        rank(targets[known[:, k], k] == 1, probabilities[known[:, k], k], patient[known[:, k]])
        for k in range(len(findings))
    ]
    scores = [weighted_scores(each, once) for each in ranked]
    auc = np.array([auroc[0] for auroc, _ in scores])
    average_precision = np.array([precision[0] for _, precision in scores])
    samples = bootstrap(ranked, num_patients=len(patient_names), resamples=resamples, seed=seed)
    in_mean = np.array([each != NO_FINDING for each in findings]) & ~np.isnan(auc)
    return Evaluation(
        findings=tuple(
            FindingEvaluation(
                finding=finding,
                num_known=int(np.sum(known[:, k])),
                num_positive=len(ranked[k].positives),
                auc=percentile_interval(float(auc[k]), samples.auroc[:, k]),
                average_precision=percentile_interval(
                    float(average_precision[k]), samples.average_precision[:, k]
                ),
                undefined_resamples=int(np.sum(np.isnan(samples.auroc[:, k]))),
                roc=_roc_points(targets[known[:, k], k] == 1, probabilities[known[:, k], k]),
            )
            for k, finding in enumerate(findings)
        ),
        macro_auc=_mean_interval(auc, samples.auroc, in_mean),
        macro_average_precision=_mean_interval(average_precision, samples.average_precision, in_mean),
        num_findings=int(np.sum(in_mean)),
        incomplete_resamples=int(np.sum(np.any(np.isnan(samples.auroc[:, in_mean]), axis=1))),
        num_images=len(targets),
        num_patients=len(patient_names),
        resamples=resamples,
        seed=seed,
    )


def _mean_interval(
    values: Float64[np.ndarray, " k"],
    samples: Float64[np.ndarray, "resample k"],
    in_mean: Bool[np.ndarray, " k"],
) -> Interval:
    """Return the mean over the chosen findings; on each resample, over those defined in it."""
    if not np.any(in_mean):
        return Interval(math.nan, math.nan, math.nan)
    chosen = samples[:, in_mean]
    count = np.sum(~np.isnan(chosen), axis=1)
    means = np.where(count > 0, np.nansum(chosen, axis=1) / np.maximum(count, 1), np.nan)
    return percentile_interval(float(np.mean(values[in_mean])), means)


def _roc_points(
    target: Bool[np.ndarray, " n"], probability: Float64[np.ndarray, " n"]
) -> tuple[tuple[float, float], ...]:
    if np.all(target) or not np.any(target):
        return ()
    curve = roc_curve(target, probability)
    return compact_points(curve.false_positive_rate, curve.true_positive_rate)


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
