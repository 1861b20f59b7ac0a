"""Differences between models on the same images, with paired intervals and the p values that invert them.

All models are scored on the same patients, so that what makes these easy or hard for all of them cancels in
the difference. A model may be several training runs of one recipe: their mean is compared, and the interval
holds both the patients and the seeds. With 14 findings, every second comparison of equal models has a p value
below .05 by chance; values adjusted by Holm's method account for all differences shown together.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from thorax.errors import DataError
from thorax.evaluation.common_images import CommonImages
from thorax.evaluation.discrimination import too_few_patients
from thorax.evaluation.labeled_images import LabeledImages, ScoredImages, ScoredRuns
from thorax.evaluation.measured_runs import MeasuredRuns, measure_runs
from thorax.evaluation.statistics.differences import AucDifference, auc_difference
from thorax.evaluation.statistics.holm import holm
from thorax.evaluation.statistics.intervals import Interval, resampled_interval
from thorax.findings import NO_FINDING, Finding

__all__ = [
    "Comparison",
    "Difference",
    "FindingDifference",
    "ModelRuns",
    "PairComparison",
    "compare",
    "compare_measured",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A model's AUC, or mean AUC, minus the baseline's; all NaN where one of them does not exist.

    Attributes:
        baseline_auc: The baseline's AUC; the mean over its runs.
        model_auc: The model's AUC; the mean over its runs.
        difference: `model_auc` minus `baseline_auc`, with the interval of `auc_difference`: patients are the
            unit, and where a model has several runs, the interval also holds their seeds.
        p: Two-sided p value of no difference: the smallest level at which that interval excludes 0. NaN where
            there is no interval.
        p_adjusted: The same after Holm's correction, over all differences of its kind in the comparison.
        bootstrap: The difference with the paired bootstrap's interval, of the patients alone, as a
            cross-check.
        undefined_resamples: Resamples with only one class of the finding, which the bootstrap leaves out; for
            a mean, those in which one of its findings is undefined, so that the mean is over fewer.
    """

    baseline_auc: float
    model_auc: float
    difference: Interval
    p: float
    p_adjusted: float
    bootstrap: Interval
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
class ModelRuns:
    """The training runs of one model.

    Attributes:
        model: The name of the model.
        runs: The names of its runs; the model's own name if it is only one.
        aucs: The mean AUC of each run over the findings that all compared models have; NaN without any.
        mean: Their mean, with an interval that holds patients and, of several runs, seeds.
        spread: The standard deviation of `aucs`; NaN for one run.
    """

    model: str
    runs: tuple[str, ...]
    aucs: tuple[float, ...]
    mean: Interval
    spread: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All compared pairs of models.

    Attributes:
        models: The models with their runs, in the order in which they were given.
        pairs: Each model against the baseline, or all pairs.
        correction: How p values were adjusted, as text.
        num_images: The number of images.
        num_patients: The number of patients.
        resamples: The number of resamples of the patients.
        seed: The seed of the resamples.
        common: The images that all models have, if these were asked for; otherwise None.
        too_few_patients: That there are too few patients to say anything, as a sentence; otherwise "".
        one_patient_note: Which findings rest on one patient, and what that means, in sentences; otherwise "".
    """

    models: tuple[ModelRuns, ...]
    pairs: tuple[PairComparison, ...]
    correction: str
    num_images: int
    num_patients: int
    resamples: int
    seed: int
    common: CommonImages | None = None
    too_few_patients: str = ""
    one_patient_note: str = ""


def compare(
    labeled: LabeledImages,
    models: Sequence[ScoredImages | ScoredRuns],
    *,
    baseline: str | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Compare models on the same images.

    Args:
        labeled: The images; each model must have scored exactly these.
        models: At least two, with different names; a model is one set of scores, or those of several training
            runs. Findings without labels are left out.
        baseline: The model with which the others are compared; None compares all pairs.
        resamples: The number of resamples of the patients, at least 1.
        seed: The seed of the resamples.

    Raises:
        DataError: The models were not evaluated on the same images, a score is not a number, or there is
            nothing to compare.
    """
    _check(models, baseline=baseline, resamples=resamples)
    groups = [
        model if isinstance(model, ScoredRuns) else ScoredRuns(model=model.model, runs=(model,))
        for model in models
    ]
    return compare_measured(
        labeled, groups, measure_runs(labeled, groups, resamples=resamples, seed=seed), baseline=baseline
    )


def compare_measured(
    labeled: LabeledImages,
    models: Sequence[ScoredRuns],
    measured: MeasuredRuns,
    *,
    baseline: str | None = None,
) -> Comparison:
    """Compare models that are measured already.

    Args:
        labeled: The images.
        models: At least two, under different names.
        measured: What `measure_runs` returned for both.
        baseline: One of the models, with which the others are compared; None compares all pairs.
    """
    names = [model.model for model in models]
    compared = (
        list(itertools.combinations(names, 2))
        if baseline is None
        else [(baseline, name) for name in names if name != baseline]
    )
    pairs = [_pair(labeled, measured, baseline=first, model=second) for first, second in compared]
    return Comparison(
        models=_runs(measured, models, labeled.findings),
        pairs=_adjusted(pairs),
        correction=(
            f"Holm, over the findings of all {len(pairs)} pairs together, and over their means"
            if len(pairs) > 1
            else "Holm, over the findings"
        ),
        num_images=len(labeled.images),
        num_patients=measured.num_patients,
        resamples=measured.resamples,
        seed=measured.seed,
        too_few_patients=too_few_patients(labeled.patients_of_findings()),
        one_patient_note=measured.one_patient_note(labeled.findings),
    )


def _runs(
    measured: MeasuredRuns, models: Sequence[ScoredRuns], findings: Sequence[Finding]
) -> tuple[ModelRuns, ...]:
    """Return the mean AUC of each run of each model, over the findings that all models have."""
    common = measured.common_findings([model.model for model in models], findings)
    listed = []
    for model in models:
        names, of_model = tuple(run.model for run in model.runs), measured.of_model(model.model, common)
        aucs = of_model.aucs or (math.nan,) * len(names)
        listed.append(
            ModelRuns(model=model.model, runs=names, aucs=aucs, mean=of_model.mean, spread=of_model.spread)
        )
    return tuple(listed)


def _pair(labeled: LabeledImages, measured: MeasuredRuns, *, baseline: str, model: str) -> PairComparison:
    both = [
        finding
        for finding in labeled.findings
        if (baseline, finding) in measured.columns and (model, finding) in measured.columns
    ]
    defined = [
        finding for finding in both if finding != NO_FINDING and measured.is_defined(baseline, finding)
    ]
    return PairComparison(
        baseline=baseline,
        model=model,
        findings=tuple(
            FindingDifference(
                finding=finding,
                num_known=int(np.sum((labels == 0) | (labels == 1))),
                num_positive=int(np.sum(labels == 1)),
                auc=_difference(measured, (baseline, model), [finding] if finding in both else []),
            )
            for finding, labels in zip(labeled.findings, labeled.targets.T, strict=True)
        ),
        macro=_difference(measured, (baseline, model), defined),
        num_findings=len(defined),
    )


def _difference(measured: MeasuredRuns, models: tuple[str, str], findings: Sequence[Finding]) -> Difference:
    """Return the difference of the means over these findings: the baseline's, the model's."""
    if not findings:
        undefined = Interval(math.nan, math.nan, math.nan)
        return _unadjusted((math.nan, math.nan), AucDifference(undefined, math.nan), undefined, 0)
    baseline, model = (np.array([measured.columns[name, finding] for finding in findings]) for name in models)
    patients = measured.patients(baseline[:, 0])
    means = measured.means(models, findings)
    tested = auc_difference(
        means.auc,
        means.covariance,
        degrees=means.degrees(np.array([-1.0, 1.0]), patients=patients),
        smallest_loss=float(np.mean(1 / np.maximum(measured.aucs.pairs[baseline[:, 0]], 1))),
    )
    samples = np.mean(measured.samples[:, model], axis=2) - np.mean(measured.samples[:, baseline], axis=2)
    resampled = resampled_interval(
        tested.interval.value, _defined_mean(samples), patients=patients, difference=True
    )
    aucs, undefined = (float(means.auc[0]), float(means.auc[1])), np.any(np.isnan(samples), axis=1)
    return _unadjusted(aucs, tested, resampled, int(np.sum(undefined)))


def _unadjusted(
    aucs: tuple[float, float], tested: AucDifference, bootstrap: Interval, undefined_resamples: int
) -> Difference:
    """Return a difference whose p value is not adjusted yet."""
    return Difference(
        baseline_auc=aucs[0],
        model_auc=aucs[1],
        difference=tested.interval,
        p=tested.p,
        p_adjusted=tested.p,
        bootstrap=bootstrap,
        undefined_resamples=undefined_resamples,
    )


def _defined_mean(samples: Float64[np.ndarray, "resample column"]) -> Float64[np.ndarray, " resample"]:
    """Return the mean of the defined values of each row; NaN where there are none."""
    count = np.sum(~np.isnan(samples), axis=1)
    return np.where(count > 0, np.nansum(samples, axis=1) / np.maximum(count, 1), np.nan)


def _adjusted(pairs: Sequence[PairComparison]) -> tuple[PairComparison, ...]:
    """Return the pairs with Holm-adjusted p values: findings of all pairs as one family, means as another."""
    aucs = iter(_adjust([finding.auc for pair in pairs for finding in pair.findings]))
    means = _adjust([pair.macro for pair in pairs])
    return tuple(
        replace(pair, findings=tuple(replace(row, auc=next(aucs)) for row in pair.findings), macro=macro)
        for pair, macro in zip(pairs, means, strict=True)
    )


def _adjust(family: Sequence[Difference]) -> list[Difference]:
    adjusted = holm(np.array([difference.p for difference in family]))
    return [replace(difference, p_adjusted=float(p)) for difference, p in zip(family, adjusted, strict=True)]


def _check(models: Sequence[ScoredImages | ScoredRuns], *, baseline: str | None, resamples: int) -> None:
    names = [model.model for model in models]
    if len(names) <= 1 or len(set(names)) < len(names):
        raise DataError(
            f"a comparison needs at least two models, each of its own name; got {', '.join(names) or 'none'}"
        )
    if baseline is not None and baseline not in names:
        raise DataError(f"no model is called {baseline!r}, to compare with; there are {', '.join(names)}")
    if resamples < 1:
        raise DataError(f"{resamples} resamples give no interval; ask for at least 1, better 10000")
