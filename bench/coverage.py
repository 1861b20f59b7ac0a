"""How often 95 % intervals hold the truth where patients are few and of uneven size.

    python bench/coverage.py [--trials 500] [--resamples 1000] [--only auc|scores|means|rates]

Each trial draws patients whose images are alike (sharing a level of the score, and mostly the label), scores
rounded so that many tie, and asks which intervals hold the AUC of 200,000 patients drawn the same way:

* plain: percentiles of the patient bootstrap;
* shown: percentiles moved out for few patients and against the bias, which `percentile_interval` returns;
* DeLong: clustered by patient, on the logit's scale, with Student's quantile;
* by image: the same with images as units and the normal quantile, as most software has it.

Wanted: 93 to 97 % for the second. The standard error of a share is about 1 % with 500 trials, .4 with 3,000.

The second table is of the other scores of the same draws, their intervals as shown: partial AUC, average
precision, Brier loss and expected calibration error, of probabilities that are too sure. Resampling makes a
calibration error larger (fewer images differ), so that few patients' intervals of it lie high.

The third table is of the mean of four AUCs of findings that go together, of the difference of two models on
one finding, and of the difference of their means, computed as `evaluate` and `compare` do: bootstrap, and
DeLong. The fourth is of rates: the bootstrap's plain percentiles, and `share_interval`, which is shown for
them. Few patients have a share of .7 to .99 there, and the images of each are correlated weakly or strongly.
Near 1 a share takes few values, so that no interval can hold it in just 95 of 100 trials.
"""

import argparse
import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from thorax.evaluation.calibration.measure import measure_calibration
from thorax.evaluation.compare import compare
from thorax.evaluation.decisions import LabeledPredictions
from thorax.evaluation.labeled_images import LabeledImages, ScoredImages
from thorax.evaluation.statistics.delong import auc_contrast, auc_covariance, auc_interval
from thorax.evaluation.statistics.intervals import (
    Interval,
    mean_patients,
    percentile_interval,
    ranked_patients,
    resample_counts,
    share_interval,
)
from thorax.evaluation.statistics.ranking import auroc_score, rank, weighted_auroc, weighted_scores
from thorax.findings import NIH14


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
    by_patient = auc_covariance([ranked], num_units=setting.patients).covariance[0, 0]
    by_image = auc_covariance([images], num_units=len(target)).covariance[0, 0]
    low, high = np.quantile(samples, [0.025, 0.975])
    return [
        Interval(value, low, high),
        percentile_interval(value, samples, patients=few),
        auc_interval(value, float(by_patient), patients=few),
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
    few, covariance = mean_patients(ranked), auc_covariance(ranked, num_units=setting.patients)
    sum_ = auc_contrast(covariance, np.full(len(FINDINGS), 1 / len(FINDINGS)))
    mean, gap = float(np.mean(truth[0])), truth[1] - truth[0]
    asked = (
        (percentile_interval(sum_.interval.value, samples, patients=few), mean),
        (auc_interval(sum_.interval.value, sum_.variance, patients=few), mean),
        (pair.findings[0].auc.difference, gap[0]),
        (pair.findings[0].auc.delong.interval, gap[0]),
        (pair.macro.difference, np.mean(gap)),
        (pair.macro.delong.interval, np.mean(gap)),
    )
    return [each.low <= true <= each.high for each, true in asked]


def report_means(trials: int, resamples: int) -> None:
    print(f"\n{'':44}{'mean':>8}{'DeLong':>8}{'diff.':>8}{'DeLong':>8}{'of means':>10}{'DeLong':>8}")
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
    print(f"{'':44}{'plain':>8}{'shown':>8}{'DeLong':>8}{'by image':>10}")
    for setting in SETTINGS:
        target, score, _ = draw(setting, -1 % 2**32, 200_000)
        truth = auroc_score(target, score)
        held = np.array(
            [
                [each.low <= truth <= each.high for each in intervals(setting, seed, resamples)]
                for seed in range(trials)
            ]
        )
        plain, shown, clustered, by_image = 100 * np.mean(held, axis=0)
        print(f"{setting.name:44}{plain:8.1f}{shown:8.1f}{clustered:8.1f}{by_image:10.1f}", flush=True)


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


TABLES = {"auc": report_aucs, "scores": report_scores, "means": report_means, "rates": report_rates}


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
