"""The AUCs of several models on the same images, each model trained once or several times.

`compare` takes differences of these, and a leaderboard the means of each model.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from thorax.evaluation.labeled_images import LabeledImages, ScoredRuns, aligned_scores
from thorax.evaluation.statistics.auc_intervals import (
    MeasuredAucs,
    mean_auc_interval,
    mean_covariance,
    measure_aucs,
)
from thorax.evaluation.statistics.delong import auc_interval
from thorax.evaluation.statistics.intervals import Interval, mean_patients, over_resamples
from thorax.evaluation.statistics.presorted import Ranked
from thorax.evaluation.statistics.ranking import rank, weighted_auroc
from thorax.evaluation.statistics.seeds import RunMeans, run_means
from thorax.findings import NO_FINDING, Finding

__all__ = ["MeasuredRuns", "RunsAuc", "measure_runs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsAuc:
    """The AUC of one model, or its mean over findings, in each of its training runs.

    Attributes:
        aucs: Of each run; NaN where it does not exist.
        mean: Their mean, with an interval that holds patients and, of several runs, seeds.
        spread: The standard deviation of `aucs`; NaN for one run.
    """

    aucs: tuple[float, ...]
    mean: Interval
    spread: float


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredRuns:
    """All AUCs, with one column for each run of each model and each of its findings.

    Attributes:
        ranked: The images of each column, ranked.
        columns: The columns of the runs of a model, for each of its findings.
        aucs: The AUC of each column, with their covariance.
        samples: The AUC of each column in each resample of the patients.
        num_patients: The number of patients.
        resamples: The number of resamples.
        seed: Their seed.
    """

    ranked: Sequence[Ranked]
    columns: Mapping[tuple[str, Finding], tuple[int, ...]]
    aucs: MeasuredAucs
    samples: Float64[np.ndarray, "resample column"]
    num_patients: int
    resamples: int
    seed: int

    def is_defined(self, model: str, finding: Finding) -> bool:
        """Whether the model has the finding, and the finding both classes."""
        columns = self.columns.get((model, finding), ())
        return bool(columns) and not math.isnan(self.aucs.auc[columns[0]])

    def common_findings(self, models: Sequence[str], findings: Sequence[Finding]) -> tuple[Finding, ...]:
        """Return those of the findings, without No Finding, that are defined for all of the models."""
        return tuple(
            finding
            for finding in findings
            if finding != NO_FINDING and all(self.is_defined(model, finding) for model in models)
        )

    def means(self, models: Sequence[str], findings: Sequence[Finding]) -> RunMeans:
        """Return the mean AUC of each model over its runs and these findings, at least one."""
        columns = [np.array([self.columns[model, finding] for finding in findings]).T for model in models]
        runs = np.concatenate(columns)
        return run_means(
            np.mean(self.aucs.auc[runs], axis=1),
            mean_covariance(self.aucs, runs),
            [len(of_model) for of_model in columns],
        )

    def one_patient_note(self, findings: Sequence[Finding]) -> str:
        """Return which of the findings rest on one patient, and what that means, in sentences; "" if none."""
        columns = {finding: runs[0] for (_, finding), runs in self.columns.items() if finding != NO_FINDING}
        variances = {
            finding: self.aucs.covariance[columns[finding], columns[finding]]
            for finding in findings
            if finding in columns and not math.isnan(self.aucs.auc[columns[finding]])
        }
        alone = [finding.label for finding, variance in variances.items() if math.isnan(variance)]
        if not alone:
            return ""
        what = f"Only one patient has, or lacks, {', '.join(alone)}: its AUC has no interval."
        if len(alone) == len(variances):
            return f"{what} The means have none either, because they average nothing else."
        return (
            f"{what} In the intervals of means it is taken to vary like the AUC of normal scores, and "
            "between runs as the other findings do."
        )

    def patients(self, columns: Sequence[int] | Int64[np.ndarray, " k"]) -> float:
        """Return the effective patients of these columns on average."""
        return mean_patients([self.ranked[column] for column in columns])

    def of_model(self, model: str, findings: Sequence[Finding]) -> RunsAuc:
        """Return the unweighted mean over these findings of each run of a model, and the mean of the runs.

        Args:
            model: The name of the model.
            findings: Findings that are defined for it; without any, nothing is.
        """
        if not findings:
            runs = max((len(of) for (name, _), of in self.columns.items() if name == model), default=0)
            return RunsAuc(
                aucs=(math.nan,) * runs, mean=Interval(math.nan, math.nan, math.nan), spread=math.nan
            )
        columns = np.array([self.columns[model, finding] for finding in findings])
        means = self.means([model], findings)
        if columns.shape[1] == 1:
            mean = mean_auc_interval(self.aucs, np.isin(np.arange(len(self.ranked)), columns))
        else:
            degrees = means.degrees(np.ones(1), patients=self.patients(columns[:, 0]))
            mean = auc_interval(float(means.auc[0]), float(means.covariance[0, 0]), patients=degrees + 1)
        return RunsAuc(
            aucs=tuple(np.mean(self.aucs.auc[columns], axis=0).tolist()),
            mean=mean,
            spread=float(means.spread[0]),
        )


def measure_runs(
    labeled: LabeledImages, models: Sequence[ScoredRuns], *, resamples: int, seed: int
) -> MeasuredRuns:
    """Measure the AUC of every run, model and finding.

    Args:
        labeled: The images; each run must have scored exactly these. Findings without labels are left out.
        models: The models with their runs, under different names.
        resamples: The number of resamples of the patients.
        seed: The seed of the resamples.

    Raises:
        DataError: A run has scored other images, or a score is not a number.
    """
    patient_names, patient = np.unique(np.asarray(labeled.patients), return_inverse=True)
    known = (labeled.targets == 0) | (labeled.targets == 1)  # the others are uncertain or not labeled
    ranked: list[Ranked] = []
    columns: dict[tuple[str, Finding], tuple[int, ...]] = {}
    for model in models:
        for run in model.runs:
            scores = aligned_scores(labeled, run)
            for k, finding in enumerate(labeled.findings):
                if finding in model.findings:
                    row, score = known[:, k], scores[known[:, k], run.findings.index(finding)]
                    columns[model.model, finding] = (*columns.get((model.model, finding), ()), len(ranked))
                    ranked.append(rank(labeled.targets[row, k] == 1, score, patient[row]))
    samples = over_resamples(
        lambda counts: np.stack([weighted_auroc(ranking, counts) for ranking in ranked], axis=1),
        num_patients=len(patient_names),
        resamples=resamples,
        seed=seed,
    )
    return MeasuredRuns(
        ranked=ranked,
        columns=columns,
        aucs=measure_aucs(ranked, num_units=len(patient_names)),
        samples=samples,
        num_patients=len(patient_names),
        resamples=resamples,
        seed=seed,
    )
