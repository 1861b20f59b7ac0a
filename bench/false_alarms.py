"""How often `compare` finds a difference between models that are equal, and holds one that exists.

    python bench/false_alarms.py [--trials 1000] [--only equal|unequal|seeds]

Scores are normal, with a correlation of .5 between the two models; where patients have several images (one to
five), half of the variance is the patient's. The first number of a row is the patients with the finding.

* equal: the share of p values below .05, which should be 5 % or less: of the bootstrap (twice the share of
  resamples on the rarer side; for the first four settings alone), of the difference on its own scale alone,
  and as shown; then how often there is no interval, and how often p < .05 although the interval beside it
  holds 0, or the reverse;
* unequal: the share of intervals that hold the true difference, and that lie above and below it; the interval
  on the difference's own scale, and as shown;
* seeds: models of several training runs whose AUCs differ; the true difference is that of the means over all
  seeds. The share of intervals that exclude it: of the patients alone, and as shown.

A trial's seed is (number of the table, row, trial). The standard error is .7 % at 1,000 trials of 5 %.
"""

import argparse
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.special import ndtr, ndtri

from thorax.evaluation.statistics.delong import AucCovariance, auc_covariance
from thorax.evaluation.statistics.differences import auc_difference
from thorax.evaluation.statistics.intervals import (
    Interval,
    ranked_patients,
    resample_counts,
    student_quantile,
)
from thorax.evaluation.statistics.presorted import Ranked
from thorax.evaluation.statistics.ranking import rank, weighted_auroc
from thorax.evaluation.statistics.seeds import run_means


@dataclass(frozen=True)
class Setting:
    """Two models on some patients."""

    positive: int
    patients: int
    aucs: tuple[float, float]
    clustered: bool = False
    alike: float = 0.5
    """The correlation of the two models' scores within a class."""

    def __str__(self) -> str:
        images = ", 1 to 5 images each" if self.clustered else ""
        aucs = " and ".join(f"{auc:.2f}".removeprefix("0") for auc in dict.fromkeys(self.aucs))
        return f"{self.positive} / {self.patients}{images}, AUC {aucs}, r {self.alike}"


EQUAL = (
    Setting(8, 100, (0.8, 0.8)),
    Setting(5, 100, (0.8, 0.8)),
    Setting(30, 100, (0.8, 0.8)),
    Setting(8, 300, (0.8, 0.8), clustered=True),
    Setting(8, 100, (0.7, 0.7)),
    Setting(8, 100, (0.95, 0.95)),
    Setting(8, 100, (0.8, 0.8), alike=0.9),
    Setting(4, 100, (0.8, 0.8)),
    Setting(20, 300, (0.8, 0.8), clustered=True),
    Setting(8, 300, (0.95, 0.95), clustered=True),
    Setting(30, 100, (0.95, 0.95)),
    Setting(40, 100, (0.99, 0.99)),
)

WITH_BOOTSTRAP = 4

UNEQUAL = (
    Setting(4, 100, (0.8, 0.95)),
    Setting(8, 100, (0.7, 0.9)),
    Setting(8, 100, (0.85, 0.97)),
    Setting(8, 100, (0.85, 0.97), alike=0.9),
    Setting(40, 100, (0.9, 0.97)),
    Setting(20, 200, (0.9, 0.99)),
    Setting(8, 300, (0.7, 0.9), clustered=True),
    Setting(8, 300, (0.85, 0.97), clustered=True),
    Setting(100, 1000, (0.9, 0.99)),
)


def shift_of(auc: float) -> float:
    return math.sqrt(2) * float(ndtri(auc))


Drawn = tuple[Bool[np.ndarray, " n"], Int64[np.ndarray, " n"], list[Float64[np.ndarray, " n"]]]


def draw(random: np.random.Generator, setting: Setting, shifts: list[float]) -> Drawn:
    """Return labels, patients, and the scores of one model per shift."""
    count = setting.patients
    size = random.integers(1, 6, count) if setting.clustered else np.ones(count, np.int64)
    patient = np.repeat(np.arange(count), size)
    target = patient < setting.positive

    def noise() -> Float64[np.ndarray, " n"]:
        own = random.normal(size=len(patient))
        if not setting.clustered:
            return own
        return math.sqrt(0.5) * (random.normal(size=count)[patient] + own)

    shared = math.sqrt(setting.alike) * noise()
    return (
        target,
        patient,
        [shift * target + shared + math.sqrt(1 - setting.alike) * noise() for shift in shifts],
    )


def measure(drawn: Drawn, setting: Setting) -> tuple[list[Ranked], AucCovariance, float]:
    target, patient, scores = drawn
    ranked = [rank(target, score, patient) for score in scores]
    return ranked, auc_covariance(ranked, num_units=setting.patients), ranked_patients(ranked[0])


def plain_interval(
    auc: Float64[np.ndarray, "2"], covariance: Float64[np.ndarray, "2 2"], patients: float
) -> Interval:
    value, spread = float(auc[1] - auc[0]), covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    reach = student_quantile(0.975, patients - 1) * math.sqrt(max(spread, 0))
    return Interval(value, value - reach, value + reach)


def excludes(interval: Interval, value: float) -> bool:
    return interval.low > value or interval.high < value


def bootstrap_p(ranked: list[Ranked], setting: Setting, seed: int, resamples: int) -> float:
    counts = resample_counts(setting.patients, resamples=resamples, seed=seed)
    first, second = (weighted_auroc(ranking, counts) for ranking in ranked)
    samples = (second - first)[~np.isnan(first)]
    rarer = min(np.sum(samples <= 0), np.sum(samples >= 0))
    return min(1.0, float(2 * (rarer + 1) / (len(samples) + 1)))


def report_equal(trials: int, resamples: int) -> None:
    print(f"{'equal':50}{'bootstrap':>10}{'plain':>8}{'shown':>8}{'no interval':>13}{'contradict':>12}")
    for row, setting in enumerate(EQUAL):
        counts = np.zeros(5)
        for trial in range(trials):
            drawn = draw(np.random.default_rng((1, row, trial)), setting, [shift_of(a) for a in setting.aucs])
            ranked, measured, patients = measure(drawn, setting)
            pairs = len(ranked[0].positives) * len(ranked[0].negatives)
            tested = auc_difference(
                measured.auc, measured.covariance, degrees=patients - 1, smallest_loss=1 / pairs
            )
            counts += (
                row < WITH_BOOTSTRAP and bootstrap_p(ranked, setting, trial, resamples) < 0.05,
                excludes(plain_interval(measured.auc, measured.covariance, patients), 0.0),
                tested.p < 0.05,
                math.isnan(tested.interval.low),
                (tested.p < 0.05) != excludes(tested.interval, 0.0),
            )
        share = 100 * counts / trials
        bootstrap = f"{share[0]:.1f}" if row < WITH_BOOTSTRAP else ""
        print(
            f"{setting!s:50}{bootstrap:>10}{share[1]:8.1f}{share[2]:8.1f}{share[3]:13.1f}{share[4]:12.1f}",
            flush=True,
        )


def report_unequal(trials: int, resamples: int) -> None:
    del resamples
    print(f"\n{'unequal':50}{'plain':>22}{'shown':>22}{'width':>14}")
    for row, setting in enumerate(UNEQUAL):
        truth, held = setting.aucs[1] - setting.aucs[0], np.zeros((2, 4))
        for trial in range(trials):
            drawn = draw(np.random.default_rng((2, row, trial)), setting, [shift_of(a) for a in setting.aucs])
            ranked, measured, patients = measure(drawn, setting)
            pairs = len(ranked[0].positives) * len(ranked[0].negatives)
            shown = auc_difference(
                measured.auc, measured.covariance, degrees=patients - 1, smallest_loss=1 / pairs
            ).interval
            for place, one in enumerate((plain_interval(measured.auc, measured.covariance, patients), shown)):
                held[place] += (
                    not excludes(one, truth),
                    one.low > truth,
                    one.high < truth,
                    one.high - one.low,
                )
        share = 100 * held / trials
        cells = "".join(f"{held_:8.1f}{above:7.1f}{below:7.1f}" for held_, above, below, _ in share)
        widths = "".join(f"{width / 100:7.3f}" for width in share[:, 3])
        print(f"{setting!s:50}{cells}{widths}", flush=True)


@dataclass(frozen=True)
class SeedsSetting:
    """Two models of equal worth whose AUC varies with the seed of training."""

    runs: tuple[int, int]
    spread: float
    """The standard deviation over seeds of each run's AUC, about."""
    patients: Setting

    def __str__(self) -> str:
        return f"{self.runs[0]} and {self.runs[1]} runs, sd {self.spread}, {self.patients}"


FEW = Setting(30, 300, (0.8, 0.8), alike=0.8)

SEEDS = tuple(
    SeedsSetting(runs, spread, FEW)
    for spread in (0.03, 0.01, 0.0)
    for runs in ((3, 3), (5, 5), (5, 1), (2, 2), (2, 5))
)


def report_seeds(trials: int, resamples: int) -> None:
    del resamples
    print(f"\n{'seeds':64}{'patients alone':>16}{'shown':>8}{'width':>16}")
    for row, setting in enumerate(SEEDS):
        of_auc = setting.spread / 0.198  # an AUC of .8 grows by .198 per unit of the shift
        shift = shift_of(0.8)
        expected = float(ndtr(shift / math.sqrt(2 + of_auc**2)))
        told = np.zeros(4)
        for trial in range(trials):
            random = np.random.default_rng((3, row, trial))
            shifts = [shift + of_auc * random.normal() for _ in range(sum(setting.runs))]
            ranked, measured, patients = measure(draw(random, setting.patients, shifts), setting.patients)
            means = run_means(measured.auc, measured.covariance, setting.runs)
            # A model of one run is that one network: its own AUC is asked for.
            true = [
                float(ndtr(shifts[first] / math.sqrt(2))) if count == 1 else expected
                for first, count in zip((0, setting.runs[0]), setting.runs, strict=True)
            ]
            shown = auc_difference(
                means.auc,
                means.covariance,
                degrees=means.degrees(np.array([-1.0, 1.0]), patients=patients),
                smallest_loss=1 / (len(ranked[0].positives) * len(ranked[0].negatives)),
            ).interval
            weights = np.repeat([-1 / setting.runs[0], 1 / setting.runs[1]], setting.runs)
            reach = student_quantile(0.975, patients - 1) * math.sqrt(weights @ measured.covariance @ weights)
            alone = Interval(shown.value, shown.value - reach, shown.value + reach)
            told += (
                excludes(alone, true[1] - true[0]),
                excludes(shown, true[1] - true[0]),
                alone.high - alone.low,
                shown.high - shown.low,
            )
        told /= trials
        print(
            f"{setting!s:64}{100 * told[0]:16.1f}{100 * told[1]:8.1f}{told[2]:8.3f}{told[3]:8.3f}", flush=True
        )


TABLES = {"equal": report_equal, "unequal": report_unequal, "seeds": report_seeds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--only", choices=TABLES)
    asked = parser.parse_args()
    print(f"{asked.trials} trials, {asked.resamples} resamples; % of the trials")
    for table in [TABLES[asked.only]] if asked.only else TABLES.values():
        table(asked.trials, asked.resamples)


if __name__ == "__main__":
    main()
