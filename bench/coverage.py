"""How often the 95 % intervals of an AUC hold the truth where patients are few and of uneven size.

    python bench/coverage.py [--trials 500] [--resamples 1000]

Each trial draws patients whose images are alike (sharing a level of the score, and mostly the label), scores
rounded so that many tie, and asks which intervals hold the AUC of 200,000 patients drawn the same way:

* plain: percentiles of the patient bootstrap;
* shown: those percentiles moved out for few patients, which `percentile_interval` returns for them;
* DeLong: clustered by patient, on the logit's scale, with Student's quantile;
* by image: the same with images as units and the normal quantile, as most software has it.

Wanted: 93 to 97 % for the second. The standard error of a share is about 1 % with 500 trials.
"""

import argparse
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from thorax.evaluation.delong import auc_covariance, auc_interval
from thorax.evaluation.intervals import Interval, percentile_interval, ranked_patients, resample_counts
from thorax.evaluation.ranking import auroc_score, rank, weighted_auroc


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
    return [
        percentile_interval(value, samples),
        percentile_interval(value, samples, patients=few),
        auc_interval(value, float(by_patient), patients=few),
        auc_interval(value, float(by_image)),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--resamples", type=int, default=1000)
    asked = parser.parse_args()
    print(f"{asked.trials} trials each, {asked.resamples} resamples; % of the intervals that hold the truth")
    print(f"{'':44}{'plain':>8}{'shown':>8}{'DeLong':>8}{'by image':>10}")
    for setting in SETTINGS:
        target, score, _ = draw(setting, -1 % 2**32, 200_000)
        truth = auroc_score(target, score)
        held = np.array(
            [
                [each.low <= truth <= each.high for each in intervals(setting, seed, asked.resamples)]
                for seed in range(asked.trials)
            ]
        )
        plain, shown, clustered, by_image = 100 * np.mean(held, axis=0)
        print(f"{setting.name:44}{plain:8.1f}{shown:8.1f}{clustered:8.1f}{by_image:10.1f}", flush=True)


if __name__ == "__main__":
    main()
