"""How often intervals of a model's mean AUC over seeds hold its true mean over all seeds and patients.

    python bench/seed_intervals.py [--trials 1000] [--resamples 400] [--only seeds|findings]

A model is trained with R seeds; the true AUC of each run is drawn around .8 with a standard deviation, and
all runs score the same patients, with a correlation of .8 between scores within a class. Every row has so
many patients with the finding of all patients, one image each or one to five (half of the variance is then
the patient's). The columns are the share of trials, in percent, in which an interval of 95 % misses the true
mean, which should be 5 or less, and its mean width:

* patients: DeLong's variance of the mean over these runs, by patient; it is an interval of these R networks;
* seeds: the mean and Student's quantile of the R AUCs, as if each had its own patients;
* bootstrap: percentiles of resampled patients and resampled runs (a hierarchical bootstrap);
* shown: what a leaderboard shows, the variance of the patients and that of the seeds beyond it.

The second table is of means over several findings, some of which one patient has. Scores of two findings of
an image are correlated by .4, those of two runs by .8, or .5 where a finding is of one patient, which no
estimate can know. Two recipes are equally good; the columns are the share of trials in which a leaderboard's
interval of the first one's mean misses the truth, its mean width, and the share in which p < .05 for the
difference of the two, with the mean width of its interval.

A trial's seed is (row, trial). The standard error of 5 % is .7 % at 1,000 trials.
"""

import argparse
import math
from dataclasses import dataclass

import numpy as np
from false_alarms import Setting, draw, shift_of
from jaxtyping import Float64
from scipy.special import ndtr

from thorax.evaluation.labeled_images import LabeledImages, ScoredImages, ScoredRuns
from thorax.evaluation.leaderboard import rank_models
from thorax.evaluation.statistics.delong import auc_covariance, auc_interval
from thorax.evaluation.statistics.intervals import (
    Interval,
    ranked_patients,
    resample_counts,
    student_quantile,
)
from thorax.evaluation.statistics.ranking import rank, weighted_auroc
from thorax.evaluation.statistics.seeds import run_means
from thorax.findings import NIH14

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


@dataclass(frozen=True)
class FindingsRow:
    """Two recipes, and how many patients have each finding."""

    runs: int
    spread: float
    positives: tuple[int, ...]
    patients: int = 100
    auc: float = 0.8

    def __str__(self) -> str:
        return (
            f"{self.runs} runs, sd {self.spread}, {', '.join(map(str, self.positives))} "
            f"of {self.patients}, AUC {self.auc}"
        )


FINDINGS_ROWS = tuple(
    FindingsRow(runs, spread, positives, auc=auc)
    for positives, auc in (
        ((8, 8, 8, 8), 0.8),
        ((1, 8, 8, 8), 0.8),
        ((1, 1, 4, 8), 0.8),
        ((1, 1, 4, 8), 0.9),
        ((1, 2, 3, 4, 5, 6, 8, 8, 10, 12, 15, 20), 0.8),
    )
    for runs, spread in ((1, 0.0), (2, 0.01), (5, 0.03))
)


def of_findings(row: FindingsRow, random: np.random.Generator) -> tuple[Interval, float, Interval, float]:
    """Return the first recipe's interval and its truth, and the difference of both with its p value."""
    count, of_auc = len(row.positives), row.spread / SLOPE
    target = np.zeros((row.patients, count), np.int8)
    for k, positives in enumerate(row.positives):
        target[random.choice(row.patients, positives, replace=False), k] = 1
    names = [f"{number:04d}" for number in range(row.patients)]
    shared = np.where(np.array(row.positives) == 1, 0.5, 0.8)

    def noise(*shape: int) -> Float64[np.ndarray, "*shape"]:
        own = random.normal(size=shape)
        return math.sqrt(0.4) * random.normal(size=(*shape[:-1], 1)) + math.sqrt(0.6) * own

    common = noise(row.patients, count)

    def scored(run: int) -> ScoredImages:
        shift = shift_of(row.auc) + of_auc * random.normal()
        own = noise(row.patients, count)
        score = shift * target + np.sqrt(shared) * common + np.sqrt(1 - shared) * own
        return ScoredImages(model=f"seed-{run}", images=names, scores=score, findings=NIH14[:count])

    labeled = LabeledImages(images=names, patients=names, targets=target, findings=NIH14[:count])
    models = [
        ScoredRuns(model=name, runs=tuple(scored(run) for run in range(row.runs))) for name in ("a", "b")
    ]
    board = rank_models(labeled, models, resamples=1)
    (first,) = (one.macro.mean for one in board.standings if one.model == "a")
    assert board.comparison is not None
    macro = board.comparison.pairs[0].macro
    truth = float(ndtr(shift_of(row.auc) / math.sqrt(2 + (of_auc**2 if row.runs > 1 else 0))))
    return first, truth, macro.difference, macro.p


def report_findings(trials: int) -> None:
    print(f"{'':66}{'misses':>8}{'width':>8}{'alarms':>8}{'width':>8}{'no interval':>13}")
    for number, row in enumerate(FINDINGS_ROWS):
        counts = np.zeros(5)
        for trial in range(trials):
            mean, truth, gap, p = of_findings(row, np.random.default_rng((number, trial)))
            counts += (
                not mean.low <= truth <= mean.high,
                mean.high - mean.low,
                p < 0.05,
                gap.high - gap.low,
                math.isnan(mean.low) or math.isnan(p),
            )
        misses, width, alarms, of_gap, none = counts / trials
        print(
            f"{row!s:66}{100 * misses:8.1f}{width:8.3f}{100 * alarms:8.1f}{of_gap:8.3f}{100 * none:13.1f}",
            flush=True,
        )


def report_seeds(trials: int, resamples: int) -> None:
    names = ("patients", "seeds", "bootstrap", "shown")
    print(f"{'':58}" + "".join(f"{name:>16}" for name in names))
    for number, row in enumerate(ROWS):
        misses, widths = np.zeros(4), np.zeros(4)
        for trial in range(trials):
            intervals, truth = measured(row, np.random.default_rng((number, trial)), resamples)
            misses += [not one.low <= truth <= one.high for one in intervals]
            widths += [one.high - one.low for one in intervals]
        cells = "".join(
            f"{100 * miss / trials:9.1f}{width / trials:7.3f}"
            for miss, width in zip(misses, widths, strict=True)
        )
        print(f"{row!s:58}{cells}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=400)
    parser.add_argument("--only", choices=("seeds", "findings"), help="one of the two tables")
    asked = parser.parse_args()
    print(f"{asked.trials} trials, {asked.resamples} resamples; misses in % of the trials, and mean widths")
    if asked.only != "findings":
        report_seeds(asked.trials, asked.resamples)
    if asked.only != "seeds":
        report_findings(asked.trials)


if __name__ == "__main__":
    main()
