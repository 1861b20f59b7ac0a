"""How often the 95 % intervals of net benefit hold the truth.

    python bench/decision_curves.py [--trials 1000]

Each trial draws patients of 1 to 5 images that are alike, with probabilities near the calibrated ones, and
measures the net benefit at four thresholds. The truth is that of 200,000 patients drawn the same way. The
columns are the share of intervals that hold it, then those above and below it, for the net benefit of the
model (against none) and for its gain over a positive decision for every image. Seeds are (row, trial).
"""

import argparse
from dataclasses import dataclass

import numpy as np

from thorax.evaluation.decision_curves import DecisionCurve, decision_curves
from thorax.evaluation.decisions import LabeledPredictions
from thorax.findings import NIH14

THRESHOLDS = (0.02, 0.05, 0.2, 0.5)


@dataclass(frozen=True)
class Setting:
    """What is drawn."""

    patients: int
    prevalence: float
    shift: float = 1.5


SETTINGS = (Setting(100, 0.08), Setting(100, 0.3), Setting(500, 0.02), Setting(500, 0.08), Setting(500, 0.3))


def measure(setting: Setting, random: np.random.Generator, patients: int) -> DecisionCurve:
    patient = np.repeat(np.arange(patients), random.integers(1, 6, patients))
    ill = random.random(patients) < setting.prevalence
    kept = random.random(len(patient)) < 0.8
    target = np.where(kept, ill[patient], random.random(len(patient)) < setting.prevalence)
    noise = np.sqrt(0.5) * (random.normal(size=patients)[patient] + random.normal(size=len(patient)))
    score = setting.shift * target + noise
    odds = setting.prevalence / (1 - setting.prevalence)
    logit = np.log(odds) + setting.shift * (
        score - setting.shift / 2
    )  # the likelihood ratio of normal scores
    predictions = LabeledPredictions(
        targets=target.astype(np.int8)[:, None],
        probabilities=(1 / (1 + np.exp(-logit)))[:, None],
        decisions=np.zeros((len(patient), 1), np.int8),
        patients=patient,
        findings=NIH14[:1],
    )
    (curve,) = decision_curves(predictions, THRESHOLDS)
    return curve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    trials = parser.parse_args().trials
    print(f"{trials} trials; % of the trials")
    print(f"{'patients, prevalence, threshold':34}{'against none':>24}{'against all':>24}")
    for row, setting in enumerate(SETTINGS):
        truth = measure(setting, np.random.default_rng((row, 2**31)), 200_000)
        counts = np.zeros((len(THRESHOLDS), 2, 3))
        for trial in range(trials):
            curve = measure(setting, np.random.default_rng((row, trial)), setting.patients)
            for place, (point, true) in enumerate(zip(curve.points, truth.points, strict=True)):
                for column, (interval, value) in enumerate(
                    ((point.model, true.model.value), (point.over_all, true.over_all.value))
                ):
                    above, below = interval.low > value, interval.high < value
                    counts[place, column] += (not (above or below), above, below)
        for threshold, shares in zip(THRESHOLDS, 100 * counts / trials, strict=True):
            cells = "".join(f"{held:10.1f}{above:7.1f}{below:7.1f}" for held, above, below in shares)
            print(f"{setting.patients:5}{setting.prevalence:8.2f}{threshold:8.2f}{'':13}{cells}", flush=True)


if __name__ == "__main__":
    main()
