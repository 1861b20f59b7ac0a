"""AUCs of models that were trained several times: means over the runs, with a variance of patients and seeds.

Runs of one recipe differ in their seed and are measured on the same patients. As with readers of the same
cases in studies of several readers (Obuchowski and Rockette, Communications in Statistics 1995; Hillis,
Statistics in Medicine 2014, for readers nested in a test), the AUC of a run of a model is

    mean of the model + effect of the run + error of the patients,

where the errors of two runs are correlated, since the patients are the same. With the mean variance v of a
run's error and the mean covariance c of two runs' errors, both from DeLong's method, the variance S^2 of the
AUCs over R runs has the expectation (variance of the effects) + v - c, and their mean the variance

    c + S^2 / R = (variance of the patients alone) + (S^2 - (v - c)) / R.

The second term is what the seeds add. Where it is negative by chance, it counts as 0: the interval is never
narrower than that of the patients alone. A model of one run has only that: its numbers are then of this one
network, not of its recipe. Runs of two models are independent of each other, given the patients, also where
their seeds have the same numbers.

The quantile of an interval is the mean of Student's quantiles of both parts, weighted by their variances
(Cochran and Cox, Experimental Designs 1957, 4.14): R - 1 degrees of freedom for what a model's seeds add (for
two models, those of Welch and Satterthwaite), the effective patients less 1 for the patients. With
Satterthwaite's degrees for the sum of all parts, equal models of two or three runs differ in up to 12 of 100
trials.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from thorax.evaluation.statistics.intervals import LEVEL, student_quantile

__all__ = ["RunMeans", "run_means"]


@dataclass(frozen=True, slots=True, eq=False)
class RunMeans:
    """The mean AUC of each model over its runs.

    Attributes:
        auc: The means.
        covariance: Of the means: errors of the patients, and on the diagonal also those of the seeds.
        seeds: What the seeds add to each variance; 0 for one run.
        runs: The number of runs of each model.
        spread: The standard deviation of each model's AUCs over its runs; NaN for one run.
    """

    auc: Float64[np.ndarray, " model"]
    covariance: Float64[np.ndarray, "model model"]
    seeds: Float64[np.ndarray, " model"]
    runs: tuple[int, ...]
    spread: Float64[np.ndarray, " model"]

    def degrees(self, weights: Float64[np.ndarray, " model"], *, patients: float) -> float:
        """Return the degrees of freedom of a weighted sum of the means.

        Args:
            weights: One per model: (-1, 1) for the difference of two.
            patients: The effective patients.
        """
        seeds = weights**2 * self.seeds
        total, by_seed = float(weights @ self.covariance @ weights), float(np.sum(seeds))
        if not (by_seed > 0 and patients > 1):
            return patients - 1
        freedom = np.maximum(np.array(self.runs) - 1, 1)
        welch = by_seed**2 / float(np.sum(seeds**2 / freedom))
        share = min(by_seed / total, 1.0)
        quantile = share * _quantile(welch) + (1 - share) * _quantile(patients - 1)
        return _degrees_of(quantile)


def run_means(
    auc: Float64[np.ndarray, " run"], covariance: Float64[np.ndarray, "run run"], runs: Sequence[int]
) -> RunMeans:
    """Return the means over the runs of each model.

    Args:
        auc: The AUC of each run, or its mean over findings: those of the first model, then of the next.
        covariance: Their sampling covariance, of the patients alone.
        runs: The number of runs of each model, at least 1.
    """
    ends = np.cumsum(runs)
    weights = np.zeros((len(runs), len(auc)))
    seeds, spread = np.zeros(len(runs)), np.full(len(runs), np.nan)
    for model, (end, count) in enumerate(zip(ends, runs, strict=True)):
        own = slice(end - count, end)
        weights[model, own] = 1 / count
        if count == 1:
            continue
        error = covariance[own, own]
        variance = float(np.mean(np.diag(error)))
        shared = float((np.sum(error) - np.trace(error)) / (count * (count - 1)))
        between = float(np.var(auc[own], ddof=1))
        seeds[model] = max(between - max(variance - shared, 0.0), 0.0) / count
        spread[model] = math.sqrt(between)
    return RunMeans(
        auc=weights @ auc,
        covariance=weights @ covariance @ weights.T + np.diag(seeds),
        seeds=seeds,
        runs=tuple(runs),
        spread=spread,
    )


def _quantile(degrees: float) -> float:
    return student_quantile((1 + LEVEL) / 2, degrees)


def _degrees_of(quantile: float) -> float:
    """Return the degrees of freedom with which Student's distribution has this quantile."""
    from scipy.special import stdtridf  # noqa: PLC0415  (0.15 s, only where intervals are computed)

    return float(stdtridf((1 + LEVEL) / 2, quantile))
