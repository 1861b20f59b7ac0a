"""How often 95 % intervals hold the truth where patients are few and of uneven size.

    python bench/coverage.py [--trials 500] [--resamples 1000] [--only cells|precision|auc|scores|means|rates]

Each trial draws patients whose images are alike (sharing a level of the score, and mostly the label), scores
rounded so that many tie, and asks which intervals hold the AUC of 200,000 patients drawn the same way:

* plain: percentiles of the patient bootstrap;
* bootstrap: percentiles moved out for few patients and against the bias, which `percentile_interval` returns;
* shown: `auc_intervals`;
* by image: the same with images as units and the normal quantile, as most software has it.

Wanted: 93 to 97 % for the third. The standard error of a share is about 1 % with 500 trials, .4 with 3,000.

Two tables come before it. `cells` has the interval of an AUC with 4, 8, 20 and 40 of 100 patients positive
and AUCs from .70 to .99, one image per patient ("independent") or 1 to 5 with correlated scores, of which a
positive patient has one negative in five ("clustered"); coverage, and the misses above and below. `precision`
has the average precision of the first kind, with as many positives as chance gives, and the bootstrap's
beside it.

The next table is of the other scores of the same draws, their intervals as shown: partial AUC, average
precision, Brier loss and expected calibration error, of probabilities that are too sure. Resampling makes a
calibration error larger (fewer images differ), so that few patients' intervals of it lie high.

The one after it is of the mean of four AUCs of findings that go together, of the difference of two models on
one finding, and of the difference of their means, computed as `evaluate` and `compare` do, and
another way. The last is of rates: the bootstrap's plain percentiles, and `share_interval`, which is shown for
them. Few patients have a share of .7 to .99 there, and the images of each are correlated weakly or strongly.
Near 1 a share takes few values, so that no interval can hold it in just 95 of 100 trials.
"""

import argparse
import itertools
import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from jaxtyping import Bool, Float64, Int64

from thorax.evaluation.calibration.measure import measure_calibration
from thorax.evaluation.compare import compare
from thorax.evaluation.decisions import LabeledPredictions
from thorax.evaluation.labeled_images import LabeledImages, ScoredImages
from thorax.evaluation.statistics.auc_intervals import auc_intervals, mean_auc_interval, measure_aucs
from thorax.evaluation.statistics.delong import auc_covariance, auc_interval
from thorax.evaluation.statistics.intervals import (
    Interval,
    mean_patients,
    percentile_interval,
    ranked_patients,
    resample_counts,
    resampled_interval,
    share_interval,
)
from thorax.evaluation.statistics.precision_intervals import measure_precisions, precision_intervals
from thorax.evaluation.statistics.presorted import Ranked
from thorax.evaluation.statistics.ranking import (
    auroc_score,
    average_precision_score,
    rank,
    weighted_auroc,
    weighted_scores,
)
from thorax.findings import NIH14

AUCS = (0.7, 0.8, 0.9, 0.95, 0.99)

BATCH = 250
"""Trials whose AUCs are computed at once."""


@dataclass(frozen=True)
class Setting:
    """What is drawn."""

    name: str
    patients: int
    prevalence: float
    shift: float
    heavy: bool = False


SETTINGS = (
    Setting("100 patients of 1 to 11 images", 100, 0.35, 1.0),
    Setting("300 patients of 1 to 11 images", 300, 0.35, 1.0),
    Setting("100 patients, most of 1, some of 60 images", 100, 0.35, 1.0, heavy=True),
    Setting("100 patients, a rare finding", 100, 0.1, 1.0),
    Setting("100 patients, an AUC above .9", 100, 0.35, 2.5),
    Setting("50 patients of 1 to 11 images", 50, 0.35, 1.0),
)


def draw(
    setting: Setting, seed: int, patients: int
) -> tuple[Bool[np.ndarray, " n"], Float64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    random = np.random.default_rng(seed)
    if setting.heavy:
        size = np.ceil(np.minimum(random.pareto(1.2, patients) + 0.5, 60)).astype(np.int64)
    else:
        size = random.integers(1, 12, patients)
    patient = np.repeat(np.arange(patients), size)
    ill = random.random(patients) < setting.prevalence
    kept = random.random(len(patient)) < 0.8
    target = np.where(kept, ill[patient], random.random(len(patient)) < setting.prevalence)
    score = setting.shift * target + random.normal(size=patients)[patient]
    return target, np.round(score + 0.7 * random.normal(size=len(patient)), 1), patient


def intervals(setting: Setting, seed: int, resamples: int) -> list[Interval]:
    target, score, patient = draw(setting, seed, setting.patients)
    ranked, images = rank(target, score, patient), rank(target, score, np.arange(len(target)))
    counts = resample_counts(setting.patients, resamples=resamples, seed=seed)
    value, samples, few = auroc_score(target, score), weighted_auroc(ranked, counts), ranked_patients(ranked)
    by_image = auc_covariance([images], num_units=len(target)).covariance[0, 0]
    low, high = np.quantile(samples, [0.025, 0.975])
    return [
        Interval(value, low, high),
        percentile_interval(value, samples, patients=few),
        auc_intervals(measure_aucs([ranked], num_units=setting.patients))[0],
        auc_interval(value, float(by_image)),
    ]


def probability(score: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    return 1 / (1 + np.exp(0.8 - 1.2 * score))


def scores(
    setting: Setting, seed: int, patients: int, resamples: int
) -> tuple[Interval, Interval, Interval, Interval]:
    target, score, patient = draw(setting, seed, patients)
    ranked = rank(target, score, patient)
    counts = resample_counts(patients, resamples=resamples, seed=seed)
    plain, samples = (weighted_scores(ranked, each) for each in (np.ones((1, patients), np.int32), counts))
    few = ranked_patients(ranked)
    readings = LabeledPredictions(
        targets=target.astype(np.int8)[:, None],
        probabilities=probability(score)[:, None],
        decisions=np.zeros((len(target), 1), np.int8),
        patients=patient,
        findings=NIH14[:1],
    )
    (calibration,) = measure_calibration(readings, resamples=resamples, seed=seed).findings
    return (
        percentile_interval(float(plain.partial_auroc[0]), samples.partial_auroc, patients=few),
        percentile_interval(float(plain.average_precision[0]), samples.average_precision, patients=few),
        calibration.brier,
        calibration.ece,
    )


FINDINGS = NIH14[:4]


def draw_models(setting: Setting, seed: int, patients: int) -> tuple[LabeledImages, list[ScoredImages]]:
    """Draw two models' scores of four findings; the second is a little better, and partly of one mind."""
    random = np.random.default_rng(seed)
    _, _, patient = draw(setting, seed, patients)
    shape = (len(patient), len(FINDINGS))
    ill = random.random((patients, len(FINDINGS))) < setting.prevalence
    kept = random.random(shape) < 0.8
    target = np.where(kept, ill[patient], random.random(shape) < setting.prevalence)
    lean, level, noise = (random.normal(size=(patients, k)) for k in (1, 4, 4))
    shared = (0.6 * lean + 0.8 * level)[patient]
    scores = [
        np.round(better * target + shared + 0.5 * own[patient] + 0.7 * random.normal(size=shape), 1)
        for better, own in ((setting.shift, 0 * noise), (setting.shift + 0.3, noise))
    ]
    images = [str(row) for row in range(len(patient))]
    labeled = LabeledImages(
        images=images,
        patients=[str(each) for each in patient],
        targets=target.astype(np.int8),
        findings=FINDINGS,
    )
    return labeled, [
        ScoredImages(model=name, images=images, scores=each, findings=FINDINGS)
        for name, each in zip(("one", "other"), scores, strict=True)
    ]


def means_held(setting: Setting, seed: int, resamples: int, truth: Float64[np.ndarray, "2 k"]) -> list[bool]:
    labeled, models = draw_models(setting, seed, setting.patients)
    (pair,) = compare(labeled, models, resamples=resamples, seed=seed).pairs
    patient = np.unique(labeled.patients, return_inverse=True)[1]
    ranked = [rank(labeled.targets[:, k] == 1, models[0].scores[:, k], patient) for k in range(len(FINDINGS))]
    counts = resample_counts(setting.patients, resamples=resamples, seed=seed)
    samples = np.nanmean([weighted_auroc(each, counts) for each in ranked], axis=0)
    few = mean_patients(ranked)
    shown = mean_auc_interval(
        measure_aucs(ranked, num_units=setting.patients), np.ones(len(FINDINGS), dtype=bool)
    )
    mean, gap = float(np.mean(truth[0])), truth[1] - truth[0]
    asked = (
        (percentile_interval(shown.value, samples, patients=few), mean),
        (shown, mean),
        (pair.findings[0].auc.difference, gap[0]),
        (pair.findings[0].auc.bootstrap, gap[0]),
        (pair.macro.difference, np.mean(gap)),
        (pair.macro.bootstrap, np.mean(gap)),
    )
    return [each.low <= true <= each.high for each, true in asked]


def report_means(trials: int, resamples: int) -> None:
    print(f"\n{'':44}{'bootst.':>8}{'mean':>8}{'diff.':>8}{'bootst.':>8}{'of means':>10}{'bootst.':>8}")
    for setting in SETTINGS:
        labeled, models = draw_models(setting, 2**32 - 1, 100_000)
        truth = np.array(
            [
                [
                    auroc_score(target == 1, score)
                    for target, score in zip(labeled.targets.T, each.scores.T, strict=True)
                ]
                for each in models
            ]
        )
        held = 100 * np.mean([means_held(setting, seed, resamples, truth) for seed in range(trials)], axis=0)
        columns = "".join(f"{each:{10 if k == 4 else 8}.1f}" for k, each in enumerate(held))
        print(f"{setting.name:44}{columns}", flush=True)


def rates_held(share: float, alike: float, patients: int, seed: int, resamples: int) -> list[bool]:
    random = np.random.default_rng(seed)
    images = random.integers(1, 12, patients)
    skill = random.beta(share * (1 - alike) / alike, (1 - share) * (1 - alike) / alike, patients)
    some = random.binomial(images, skill)
    counts = resample_counts(patients, resamples=resamples, seed=seed).astype(np.float64)
    low, high = np.quantile((counts @ some) / (counts @ images), [0.025, 0.975])
    shown = share_interval(some.astype(np.float64), images.astype(np.float64))
    return [low <= share <= high, shown.low <= share <= shown.high]


def report_rates(trials: int, resamples: int) -> None:
    print(f"\n{'share, correlation, patients of 1 to 11 images':48}{'plain':>8}{'shown':>8}")
    for share, alike, patients in itertools.product((0.7, 0.9, 0.97, 0.99), (0.05, 0.4), (20, 50, 200)):
        held = np.mean(
            [rates_held(share, alike, patients, seed, resamples) for seed in range(trials)], axis=0
        )
        print(
            f"{share:5.2f}{alike:8.2f}{patients:8}{'':27}{100 * held[0]:8.1f}{100 * held[1]:8.1f}",
            flush=True,
        )


def report_aucs(trials: int, resamples: int) -> None:
    print(f"\n{'':44}{'plain':>8}{'bootst.':>8}{'shown':>8}{'by image':>10}")
    for setting in SETTINGS:
        target, score, _ = draw(setting, -1 % 2**32, 200_000)
        truth = auroc_score(target, score)
        held = np.array(
            [
                [each.low <= truth <= each.high for each in intervals(setting, seed, resamples)]
                for seed in range(trials)
            ]
        )
        plain, bootstrap, shown, by_image = 100 * np.mean(held, axis=0)
        print(f"{setting.name:44}{plain:8.1f}{bootstrap:8.1f}{shown:8.1f}{by_image:10.1f}", flush=True)


def report_scores(trials: int, resamples: int) -> None:
    print(f"\n{'':44}{'partial':>8}{'AP':>8}{'Brier':>8}{'ECE':>8}")
    for setting in SETTINGS:
        truth = [each.value for each in scores(setting, 2**32 - 1, 200_000, 1)]
        held = np.array(
            [
                [
                    each.low <= true <= each.high
                    for each, true in zip(
                        scores(setting, seed, setting.patients, resamples), truth, strict=True
                    )
                ]
                for seed in range(trials)
            ]
        )
        print(f"{setting.name:44}{''.join(f'{each:8.1f}' for each in 100 * held.mean(axis=0))}", flush=True)


def draw_cell(
    random: np.random.Generator, positives: int, auc: float, *, clustered: bool
) -> tuple[Bool[np.ndarray, " n"], Float64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Draw labels, scores and patients of one trial of `report_cells`."""
    shift = math.sqrt(2) * NormalDist().inv_cdf(auc)
    size = random.integers(1, 6, 100) if clustered else np.ones(100, dtype=np.int64)
    patient = np.repeat(np.arange(100), size)
    first = np.append(True, np.diff(patient) > 0)
    target = (patient < positives) & (first | (random.random(len(patient)) < 0.8))
    shared, own = random.normal(size=100)[patient], random.normal(size=len(patient))
    return target, shift * target + (math.sqrt(0.5) * (shared + own) if clustered else own), patient


def report_cells(trials: int, _resamples: int) -> None:
    """Print coverage, misses above the truth (flattering) and below it, for each cell."""
    print(f"\n{'of 100 positive':16}{'':13}" + "".join(f"{auc:>22.2f}" for auc in AUCS))
    for clustered, positives in itertools.product((False, True), (4, 8, 20, 40)):
        cells = []
        for auc in AUCS:
            random = np.random.default_rng([1, positives, round(100 * auc), clustered])
            above = below = 0
            for first in range(0, trials, BATCH):
                drawn = [
                    rank(*draw_cell(random, positives, auc, clustered=clustered))
                    for _ in range(min(BATCH, trials - first))
                ]
                shown = auc_intervals(measure_aucs(drawn, num_units=100))
                above += sum(interval.low > auc for interval in shown)
                below += sum(interval.high < auc for interval in shown)
            share, high, low = (100 * count / trials for count in (trials - above - below, above, below))
            cells.append(f"{share:9.1f} ({high:4.1f}/{low:4.1f})")
        print(f"{positives:<16}{'clustered' if clustered else 'independent':13}" + "".join(cells), flush=True)


def report_precisions(trials: int, resamples: int) -> None:
    """Print the coverage of the bootstrap's interval of average precision, and of the one that is shown."""
    print(f"\n{'average precision, positives of 100':38}" + "".join(f"{auc:>14.2f}" for auc in AUCS))
    for share in (0.04, 0.08, 0.2, 0.4):
        cells = []
        for auc in AUCS:
            random, shift = (
                np.random.default_rng([2, round(100 * share), round(100 * auc)]),
                math.sqrt(2) * NormalDist().inv_cdf(auc),
            )
            many = np.arange(400_000) < 400_000 * share
            truth = average_precision_score(many, random.normal(size=len(many)) + shift * many)
            held: list[list[bool]] = []
            while len(held) < trials:
                target = random.random(100) < share
                ranked = rank(target, random.normal(size=100) + shift * target, np.arange(100))
                if np.sum(target) > 1:
                    held.append(precisions_held(ranked, truth, seed=len(held), resamples=resamples))
            cells.append("{:8.1f} /{:5.1f}".format(*(100 * np.mean(held, axis=0))))
        print(f"{100 * share:<38.0f}" + "".join(cells), flush=True)


def precisions_held(ranked: Ranked, truth: float, *, seed: int, resamples: int) -> list[bool]:
    samples = weighted_scores(ranked, resample_counts(100, resamples=resamples, seed=seed)).average_precision
    (shown,) = precision_intervals(measure_precisions([ranked], num_units=100))
    resampled = resampled_interval(shown.value, samples, patients=ranked_patients(ranked))
    return [interval.low <= truth <= interval.high for interval in (resampled, shown)]


TABLES = {
    "cells": report_cells,
    "precision": report_precisions,
    "auc": report_aucs,
    "scores": report_scores,
    "means": report_means,
    "rates": report_rates,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--only", choices=TABLES)
    asked = parser.parse_args()
    print(f"{asked.trials} trials each, {asked.resamples} resamples; % of the intervals that hold the truth")
    for table in [TABLES[asked.only]] if asked.only else TABLES.values():
        table(asked.trials, asked.resamples)


if __name__ == "__main__":
    main()
