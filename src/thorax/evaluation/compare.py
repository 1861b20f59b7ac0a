"""Differences between models on the same images, with paired intervals and p values.

All models are scored on the same resamples of the patients, so that what makes a resample easy or hard for
all of them cancels in the difference. DeLong's test with patients as the unit serves as a cross-check. With
14 findings, every second comparison of equal models has a p value below .05 by chance; values adjusted by
Holm's method (Scandinavian Journal of Statistics 1979) account for all differences shown together.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from thorax.errors import DataError
from thorax.evaluation.labeled_images import LabeledImages, ScoredImages, aligned_scores
from thorax.evaluation.statistics.delong import AucContrast, AucCovariance, auc_contrast, auc_covariance
from thorax.evaluation.statistics.intervals import (
    Interval,
    mean_patients,
    over_resamples,
    percentile_interval,
)
from thorax.evaluation.statistics.presorted import Ranked
from thorax.evaluation.statistics.ranking import rank, weighted_auroc
from thorax.findings import NO_FINDING, Finding

__all__ = [
    "Comparison",
    "Difference",
    "FindingDifference",
    "PairComparison",
    "compare",
    "holm",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A model's AUC, or mean AUC, minus the baseline's; all NaN where one of them does not exist.

    Attributes:
        baseline_auc: The baseline's AUC.
        model_auc: The model's AUC.
        difference: `model_auc` minus `baseline_auc`, with the paired bootstrap's interval.
        p: Two-sided bootstrap p value: twice the share of resamples on the rarer side of no difference, where
            the original sample counts as one more resample, so that it is never 0.
        p_adjusted: The same after Holm's correction, over all differences of its kind in the comparison.
        delong: The same difference by DeLong's method with patients as units, and its p value.
        delong_p_adjusted: That p value after Holm's correction.
        undefined_resamples: Resamples with only one class of the finding, which are left out; for a mean,
            those in which one of its findings is undefined, so that the mean is over fewer.
    """

    baseline_auc: float
    model_auc: float
    difference: Interval
    p: float
    p_adjusted: float
    delong: AucContrast
    delong_p_adjusted: float
    undefined_resamples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingDifference:
    """The difference for one finding.

    Attributes:
        finding: The finding.
        num_known: Images labeled present or absent.
        num_positive: Images labeled present.
        auc: The difference of AUCs; NaN where a class is absent, or where a model lacks the finding.
    """

    finding: Finding
    num_known: int
    num_positive: int
    auc: Difference


@dataclass(frozen=True, slots=True, kw_only=True)
class PairComparison:
    """A model compared with a baseline.

    Attributes:
        baseline: Name of the baseline.
        model: Name of the model.
        findings: One entry per labeled finding, in the labels' order.
        macro: Difference of the unweighted means over the findings, without No Finding, for which both AUCs
            exist.
        num_findings: The number of findings in the means.
    """

    baseline: str
    model: str
    findings: tuple[FindingDifference, ...]
    macro: Difference
    num_findings: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All compared pairs of models.

    Attributes:
        pairs: Each model against the baseline, or all pairs.
        correction: How p values were adjusted, as text.
        num_images: The number of images.
        num_patients: The number of patients.
        resamples: The number of resamples of the patients.
        seed: The seed of the resamples.
    """

    pairs: tuple[PairComparison, ...]
    correction: str
    num_images: int
    num_patients: int
    resamples: int
    seed: int


def compare(
    labeled: LabeledImages,
    models: Sequence[ScoredImages],
    *,
    baseline: str | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Compare models on the same images.

    Args:
        labeled: The images; each model must have scored exactly these.
        models: At least two, with different names. Findings without labels are left out.
        baseline: The model with which the others are compared; None compares all pairs.
        resamples: The number of resamples of the patients, at least 1.
        seed: The seed of the resamples.

    Raises:
        DataError: The models were not evaluated on the same images, a score is not a number, or there is
            nothing to compare.
    """
    _check(models, baseline=baseline, resamples=resamples)
    measured = _measure(labeled, models, resamples=resamples, seed=seed)
    names = [model.model for model in models]
    compared = (
        list(itertools.combinations(names, 2))
        if baseline is None
        else [(baseline, name) for name in names if name != baseline]
    )
    pairs = [_pair(labeled, measured, baseline=first, model=second) for first, second in compared]
    return Comparison(
        pairs=_adjusted(pairs),
        correction=(
            f"Holm, over the findings of all {len(pairs)} pairs together, and over their means"
            if len(pairs) > 1
            else "Holm, over the findings"
        ),
        num_images=len(labeled.images),
        num_patients=measured.num_patients,
        resamples=resamples,
        seed=seed,
    )


def holm(p: Float64[np.ndarray, " test"]) -> Float64[np.ndarray, " test"]:
    """Return p values adjusted for multiple tests; NaN stays NaN and does not count as a test.

    The smallest is multiplied by the number of tests, the next by one less, and so on; none is smaller than
    the one before it, and none exceeds 1.
    """
    adjusted = np.full(len(p), np.nan)
    order = np.argsort(p, kind="stable")[: np.sum(~np.isnan(p))]  # NaN sorts last
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


@dataclass(frozen=True, slots=True, eq=False)
class _Measured:
    """All AUCs, with one column for each model and each of its findings."""

    ranked: Sequence[Ranked]
    column: Mapping[tuple[str, Finding], int]
    asymptotic: AucCovariance
    samples: Float64[np.ndarray, "resample column"]
    num_patients: int


def _measure(
    labeled: LabeledImages, models: Sequence[ScoredImages], *, resamples: int, seed: int
) -> _Measured:
    patient_names, patient = np.unique(np.asarray(labeled.patients), return_inverse=True)
    known = (labeled.targets == 0) | (labeled.targets == 1)  # the others are uncertain or not labeled
    ranked: dict[tuple[str, Finding], Ranked] = {}
    for model in models:
        scores = aligned_scores(labeled, model)
        for k, finding in enumerate(labeled.findings):
            if finding in model.findings:
                row, score = known[:, k], scores[known[:, k], model.findings.index(finding)]
                ranked[model.model, finding] = rank(labeled.targets[row, k] == 1, score, patient[row])
    samples = over_resamples(
        lambda counts: np.stack([weighted_auroc(ranking, counts) for ranking in ranked.values()], axis=1),
        num_patients=len(patient_names),
        resamples=resamples,
        seed=seed,
    )
    return _Measured(
        ranked=list(ranked.values()),
        column={key: column for column, key in enumerate(ranked)},
        asymptotic=auc_covariance(list(ranked.values()), num_units=len(patient_names)),
        samples=samples,
        num_patients=len(patient_names),
    )


def _pair(labeled: LabeledImages, measured: _Measured, *, baseline: str, model: str) -> PairComparison:
    both: dict[Finding, tuple[int, int]] = {
        finding: (measured.column[baseline, finding], measured.column[model, finding])
        for finding in labeled.findings
        if (baseline, finding) in measured.column and (model, finding) in measured.column
    }
    defined = [
        columns
        for finding, columns in both.items()
        if finding != NO_FINDING and not math.isnan(measured.asymptotic.auc[columns[0]])
    ]
    return PairComparison(
        baseline=baseline,
        model=model,
        findings=tuple(
            FindingDifference(
                finding=finding,
                num_known=int(np.sum((labels == 0) | (labels == 1))),
                num_positive=int(np.sum(labels == 1)),
                auc=_difference(measured, [both[finding]] if finding in both else []),
            )
            for finding, labels in zip(labeled.findings, labeled.targets.T, strict=True)
        ),
        macro=_difference(measured, defined),
        num_findings=len(defined),
    )


def _difference(measured: _Measured, columns: Sequence[tuple[int, int]]) -> Difference:
    """Return the difference of the means over these pairs of columns: the baseline's, the model's."""
    if not columns:
        undefined = Interval(math.nan, math.nan, math.nan)
        return _raw_difference((math.nan, math.nan), undefined, AucContrast(undefined, *[math.nan] * 3))
    baseline, model = (list(side) for side in zip(*columns, strict=True))
    weights = np.zeros(len(measured.ranked))
    weights[model], weights[baseline] = 1 / len(columns), -1 / len(columns)
    samples = measured.samples[:, model] - measured.samples[:, baseline]
    means = _defined_mean(samples)
    auc = measured.asymptotic.auc
    value = float(np.mean(auc[model] - auc[baseline]))
    patients = mean_patients([measured.ranked[column] for column in baseline])
    interval = percentile_interval(value, means, patients=patients, difference=True)
    if np.isin(auc[[*baseline, *model]], (0.0, 1.0)).all():  # no resample can change them
        interval = Interval(value, math.nan, math.nan)
    return _raw_difference(
        (float(np.mean(auc[baseline])), float(np.mean(auc[model]))),
        interval,
        auc_contrast(measured.asymptotic, weights, patients=patients),
        p=_bootstrap_p(means) if not math.isnan(value) else math.nan,
        undefined_resamples=int(np.sum(np.any(np.isnan(samples), axis=1))),
    )


def _raw_difference(
    aucs: tuple[float, float],
    difference: Interval,
    delong: AucContrast,
    *,
    p: float = math.nan,
    undefined_resamples: int = 0,
) -> Difference:
    """Return a difference with p values not yet adjusted."""
    return Difference(
        baseline_auc=aucs[0],
        model_auc=aucs[1],
        difference=difference,
        p=p,
        p_adjusted=p,
        delong=delong,
        delong_p_adjusted=delong.p,
        undefined_resamples=undefined_resamples,
    )


def _defined_mean(samples: Float64[np.ndarray, "resample column"]) -> Float64[np.ndarray, " resample"]:
    """Return the mean of the defined values of each row; NaN where there are none."""
    count = np.sum(~np.isnan(samples), axis=1)
    return np.where(count > 0, np.nansum(samples, axis=1) / np.maximum(count, 1), np.nan)


def _bootstrap_p(samples: Float64[np.ndarray, " resample"]) -> float:
    """Return the two-sided p value of no difference (Davison and Hinkley, Bootstrap Methods, 1997, 4.4)."""
    defined = samples[~np.isnan(samples)]
    if len(defined) == 0:
        return math.nan
    rarer = min(int(np.sum(defined <= 0)), int(np.sum(defined >= 0)))
    return min(1.0, 2 * (rarer + 1) / (len(defined) + 1))


def _adjusted(pairs: Sequence[PairComparison]) -> tuple[PairComparison, ...]:
    """Return the pairs with Holm-adjusted p values: findings of all pairs as one family, means as another."""
    aucs = iter(_adjust([finding.auc for pair in pairs for finding in pair.findings]))
    means = _adjust([pair.macro for pair in pairs])
    return tuple(
        replace(
            pair,
            findings=tuple(replace(finding, auc=next(aucs)) for finding in pair.findings),
            macro=macro,
        )
        for pair, macro in zip(pairs, means, strict=True)
    )


def _adjust(family: Sequence[Difference]) -> list[Difference]:
    p = holm(np.array([difference.p for difference in family]))
    delong_p = holm(np.array([difference.delong.p for difference in family]))
    return [
        replace(difference, p_adjusted=float(p[k]), delong_p_adjusted=float(delong_p[k]))
        for k, difference in enumerate(family)
    ]


def _check(models: Sequence[ScoredImages], *, baseline: str | None, resamples: int) -> None:
    names = [model.model for model in models]
    if len(names) <= 1 or len(set(names)) < len(names):
        raise DataError(
            f"a comparison needs at least two models, each of its own name; got {', '.join(names) or 'none'}"
        )
    if baseline is not None and baseline not in names:
        raise DataError(f"no model is called {baseline!r}, to compare with; there are {', '.join(names)}")
    if resamples < 1:
        raise DataError(f"{resamples} resamples give no interval; ask for at least 1, better 10000")
