"""How often intervals of a model's mean AUC over seeds hold its true mean over all seeds and patients.

    python bench/seed_intervals.py [--trials 1000] [--resamples 400]

A model is trained with R seeds; the true AUC of each run is drawn around .8 with a standard deviation, and
all runs score the same patients, with a correlation of .8 between scores within a class. Every row has so
many patients with the finding of all patients, one image each or one to five (half of the variance is then
the patient's). The columns are the share of trials, in percent, in which an interval of 95 % misses the true
mean, which should be 5 or less, and its mean width:

* patients: DeLong's variance of the mean over these runs, by patient; it is an interval of these R networks;
* seeds: the mean and Student's quantile of the R AUCs, as if each had its own patients;
* bootstrap: percentiles of resampled patients and resampled runs (a hierarchical bootstrap);
* shown: what a leaderboard shows, the variance of the patients and that of the seeds beyond it.

A trial's seed is (row, trial). The standard error of 5 % is .7 % at 1,000 trials.
"""

import argparse
import math
from dataclasses import dataclass

import numpy as np
from false_alarms import Setting, draw, shift_of
from scipy.special import ndtr

from thorax.evaluation.statistics.delong import auc_covariance, auc_interval
from thorax.evaluation.statistics.intervals import (
    Interval,
    ranked_patients,
    resample_counts,
    student_quantile,
)
from thorax.evaluation.statistics.ranking import rank, weighted_auroc
from thorax.evaluation.statistics.seeds import run_means

SLOPE = 0.198
"""By how much an AUC of .8 grows per unit of the shift between the classes."""


@dataclass(frozen=True)
class Row:
    """A model, and the patients that it is measured on."""

    runs: int
    spread: float
    patients: Setting

    def __str__(self) -> str:
        return f"{self.runs} runs, sd {self.spread}, {self.patients}"


FEW = Setting(30, 300, (0.8, 0.8), alike=0.8)
MANY = Setting(200, 2000, (0.8, 0.8), alike=0.8)
CLUSTERED = Setting(30, 300, (0.8, 0.8), clustered=True, alike=0.8)

ROWS = (
    *(Row(runs, spread, FEW) for spread in (0.0, 0.01, 0.03) for runs in (2, 3, 5)),
    *(Row(runs, spread, MANY) for spread in (0.003, 0.01) for runs in (3, 5)),
    *(Row(runs, 0.01, CLUSTERED) for runs in (3, 5)),
)


def around(value: float, reach: float) -> Interval:
    return Interval(value, value - reach, value + reach)


def measured(row: Row, random: np.random.Generator, resamples: int) -> tuple[list[Interval], float]:
    """Return the four intervals, and the true mean AUC over all seeds."""
    of_auc = row.spread / SLOPE
    shift = shift_of(0.8)
    shifts = [shift + of_auc * random.normal() for _ in range(row.runs)]
    target, patient, scores = draw(random, row.patients, shifts)
    ranked = [rank(target, score, patient) for score in scores]
    count = row.patients.patients
    found, patients = auc_covariance(ranked, num_units=count), ranked_patients(ranked[0])
    means = run_means(found.auc, found.covariance, [row.runs])
    value = float(means.auc[0])
    alone = math.sqrt(float(np.mean(found.covariance)))
    spread = float(np.std(found.auc, ddof=1))
    degrees = means.degrees(np.ones(1), patients=patients)
    counts = resample_counts(count, resamples=resamples, seed=int(random.integers(2**31)))
    samples = np.stack([weighted_auroc(ranking, counts) for ranking in ranked], axis=1)
    chosen = random.integers(row.runs, size=samples.shape)
    resampled = np.nanmean(np.take_along_axis(samples, chosen, axis=1), axis=1)
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return [
        around(value, student_quantile(0.975, patients - 1) * alone),
        around(value, student_quantile(0.975, row.runs - 1) * spread / math.sqrt(row.runs)),
        Interval(value, float(low), float(high)),
        auc_interval(value, float(means.covariance[0, 0]), patients=degrees + 1),
    ], float(ndtr(shift / math.sqrt(2 + of_auc**2)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=400)
    asked = parser.parse_args()
    print(f"{asked.trials} trials, {asked.resamples} resamples; misses in % of the trials, and mean widths")
    names = ("patients", "seeds", "bootstrap", "shown")
    print(f"{'':58}" + "".join(f"{name:>16}" for name in names))
    for number, row in enumerate(ROWS):
        misses, widths = np.zeros(4), np.zeros(4)
        for trial in range(asked.trials):
            intervals, truth = measured(row, np.random.default_rng((number, trial)), asked.resamples)
            misses += [not one.low <= truth <= one.high for one in intervals]
            widths += [one.high - one.low for one in intervals]
        cells = "".join(
            f"{100 * miss / asked.trials:9.1f}{width / asked.trials:7.3f}"
            for miss, width in zip(misses, widths, strict=True)
        )
        print(f"{row!s:58}{cells}", flush=True)


if __name__ == "__main__":
    main()
