"""How fast the statistics of an evaluation are beside scikit-learn's, and whether they are the same.

    python bench/evaluation.py [--rounds 3] [--resamples 1000] [--checked 50]

Draws 25,596 images of 2,797 patients and 14 findings with the official test's numbers of positives and
scores of four decimals, so that many tie. scikit-learn's `roc_auc_score` is called in a loop over --checked
resamples and the findings; its time is scaled to all resamples. Each of these values is compared with ours.
Prints one table: medians of interleaved rounds. Ours runs on all cores (or OMP_NUM_THREADS);
scikit-learn's loop on one. On a busy machine the column of CPU time says more than that of the clock.
"""

import argparse
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import sklearn
from jaxtyping import Bool, Float64, Int64
from sklearn.metrics import roc_auc_score

from thorax.evaluation.statistics.delong import auc_covariance
from thorax.evaluation.statistics.intervals import bootstrap, over_resamples, resample_counts
from thorax.evaluation.statistics.presorted import Ranked
from thorax.evaluation.statistics.ranking import rank, rank_pooled, weighted_auroc
from thorax.hardware import num_threads

PATIENTS, IMAGES = 2797, 25596
POSITIVES = (3279, 1069, 4658, 6112, 1748, 1623, 555, 2665, 1815, 925, 1093, 435, 1143, 86)


@dataclass(frozen=True)
class Cohort:
    """Labels, scores and patients of the images."""

    target: Bool[np.ndarray, "n k"]
    score: Float64[np.ndarray, "n k"]
    patient: Int64[np.ndarray, " n"]


def draw_cohort() -> Cohort:
    """Draw patients of uneven size, of whom some are ill far more often than others."""
    random = np.random.default_rng(0)
    share = random.exponential(size=PATIENTS) ** 1.5
    more = random.choice(PATIENTS, IMAGES - PATIENTS, p=share / share.sum())
    patient = np.sort(np.concatenate([np.arange(PATIENTS), more]))
    target = np.zeros((IMAGES, len(POSITIVES)), dtype=np.bool_)
    for k, count in enumerate(POSITIVES):
        tendency = random.gumbel(size=IMAGES) + 2 * random.normal(size=PATIENTS)[patient]
        target[np.argsort(tendency)[-count:], k] = True
    logit = random.normal(size=target.shape) + 1.2 * target - 2
    return Cohort(target, np.round(1 / (1 + np.exp(-logit)), 4), patient)


def rank_all(cohort: Cohort) -> list[Ranked]:
    columns = zip(cohort.target.T, cohort.score.T, strict=True)
    return [rank(target, score, cohort.patient) for target, score in columns]


def auc_alone(cohort: Cohort, resamples: int) -> Float64[np.ndarray, "resample k"]:
    ranked = rank_all(cohort)
    return over_resamples(
        lambda counts: np.stack([weighted_auroc(each, counts) for each in ranked], axis=1),
        num_patients=PATIENTS,
        resamples=resamples,
        seed=0,
    )


def scikit_learn(cohort: Cohort, resamples: int) -> Float64[np.ndarray, "resample k"]:
    counts = resample_counts(PATIENTS, resamples=resamples, seed=0)
    values = np.empty((resamples, len(POSITIVES)))
    for resample in range(resamples):
        rows = np.repeat(np.arange(IMAGES), counts[resample, cohort.patient])
        for k in range(len(POSITIVES)):
            values[resample, k] = roc_auc_score(cohort.target[rows, k], cohort.score[rows, k])
    return values


def one_pass(cohort: Cohort) -> None:
    for k in range(len(POSITIVES)):
        roc_auc_score(cohort.target[:, k], cohort.score[:, k])


def micro(cohort: Cohort, resamples: int) -> None:
    pooled = rank_pooled(cohort.target, cohort.score, known=np.ones_like(cohort.target), unit=cohort.patient)
    weighted_auroc(pooled, resample_counts(PATIENTS, resamples=resamples, seed=0))


def measure(jobs: dict[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, float]]:
    """Return the median seconds of clock and of CPU of each job; rounds are interleaved."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            start, start_cpu = time.perf_counter(), time.process_time()
            job()
            seconds[name].append((time.perf_counter() - start, time.process_time() - start_cpu))
    return {
        name: (statistics.median(clock for clock, _ in each), statistics.median(cpu for _, cpu in each))
        for name, each in seconds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--checked", type=int, default=50)
    asked = parser.parse_args()
    cohort, resamples = draw_cohort(), asked.resamples
    samples = bootstrap(rank_all(cohort), num_patients=PATIENTS, resamples=resamples, seed=0).auroc
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    furthest = np.max(np.abs(samples[: asked.checked] - scikit_learn(cohort, asked.checked)))
    loop, passes = f"scikit-learn, {resamples} resamples, AUC", "scikit-learn, the findings once, AUC"
    jobs: dict[str, tuple[str, float, Callable[[], object]]] = {
        loop: (loop, resamples / asked.checked, lambda: scikit_learn(cohort, asked.checked)),
        f"{resamples} resamples, AUC": (loop, 1, lambda: auc_alone(cohort, resamples)),
        f"{resamples} resamples, AUC, partial AUC and average precision": (
            loop,
            1,
            lambda: bootstrap(rank_all(cohort), num_patients=PATIENTS, resamples=resamples, seed=0),
        ),
        f"{resamples} resamples, micro AUC": (loop, 1, lambda: micro(cohort, resamples)),
        passes: (passes, 1, lambda: one_pass(cohort)),
        "DeLong by patient, all covariances": (
            passes,
            1,
            lambda: auc_covariance(rank_all(cohort), num_units=PATIENTS),
        ),
    }
    medians = measure({name: job for name, (_, _, job) in jobs.items()}, asked.rounds)
    taken = {name: [each * scale for each in medians[name]] for name, (_, scale, _) in jobs.items()}
    print(
        f"{platform.machine()}, {num_threads()} cores, load {os.getloadavg()[0]:.1f}, Python "
        f"{platform.python_version()}, NumPy {np.__version__}, scikit-learn {sklearn.__version__}; "
        f"{IMAGES} images, {PATIENTS} patients, {len(POSITIVES)} findings, medians of {asked.rounds} rounds"
    )
    print(f"{'':56}{'seconds':>9}{'rate':>8}{'CPU s':>9}{'CPU rate':>10}")
    for name, (against, _, _) in jobs.items():
        clock, cpu = taken[name]
        print(
            f"{name:56}{clock:9.3f}{taken[against][0] / clock:8.1f}{cpu:9.3f}{taken[against][1] / cpu:10.1f}"
        )
    print(f"furthest of {asked.checked * len(POSITIVES)} resampled AUCs from scikit-learn's: {furthest:.0e}")
    print(f"memory at the peak of the resamples: {peak:.0f} MB")
    print("wanted: rates of at least 50 (80 with two cores) and 1 for DeLong; 1e-12; under 1000 MB")


if __name__ == "__main__":
    main()
