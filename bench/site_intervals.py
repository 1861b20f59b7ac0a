"""Coverage of the intervals of calibration at a site: observed over expected, in the large, slope.

    OMP_NUM_THREADS=1 python bench/site_intervals.py --trials 600

Patients have one to twelve images; a model's logits and the truth share what the images of a patient share,
and the truth is 0.4 + 0.8 logit, in every second row with a patient's own deviation of standard deviation 1
that the logits do not show. Seed 5.
"""

import argparse

import numpy as np

from thorax.calibration import sigmoid
from thorax.evaluation.calibration.logistic import fit_logistic
from thorax.evaluation.calibration.site import in_the_large, observed_expected, slope_interval

CELLS = ((-6, 100), (-4, 60), (-4, 150), (-4, 400), (-2.5, 60), (-2.5, 150), (-2.5, 500), (0, 60), (0, 200))
"""Mean logit and number of patients."""


def draw(
    rng: np.random.Generator, patients: int, mean: float, deviation: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return patient, logit and label of each image, and the probability that the label has in truth."""
    patient = np.repeat(np.arange(patients), rng.geometric(0.45, patients).clip(1, 12))
    common = rng.normal(size=patients)[patient]
    logits = mean + 1.3 * (0.75 * common + 0.66 * rng.normal(size=len(patient)))
    truth = sigmoid(0.4 + 0.8 * logits + deviation * rng.normal(size=patients)[patient])
    return patient, logits, rng.random(len(patient)) < truth


def main() -> None:
    """Print a line per cell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=600)
    trials = parser.parse_args().trials
    rng = np.random.default_rng(5)
    print(
        "| mean logit | patients | own deviation | positive patients | O:E | in the large | slope (trials) |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for mean, patients in CELLS:
        for deviation in (0.0, 1.0):
            patient, logits, label = draw(rng, 200_000, mean, deviation)
            whole = fit_logistic(label, logits, patient)
            shift = fit_logistic(label, logits, patient, slope=False)
            assert whole is not None
            assert shift is not None
            truths = (label.sum() / sigmoid(logits).sum(), shift.intercept, whole.slope)
            inside, known, positive = np.zeros(3), np.zeros(3), []
            for _ in range(trials):
                patient, logits, label = draw(rng, patients, mean, deviation)
                ratio = observed_expected(label, sigmoid(logits), patient)
                intervals = (ratio, in_the_large(logits, ratio), slope_interval(label, logits, patient))
                inside += [one.low <= truth <= one.high for one, truth in zip(intervals, truths, strict=True)]
                known += [one.exists for one in intervals]
                positive.append(len(np.unique(patient[label])))
            cells = [f"{100 * share:.1f}" for share in inside / np.maximum(known, 1)]
            row = (
                mean,
                patients,
                deviation,
                int(np.median(positive)),
                *cells[:2],
                f"{cells[2]} ({known[2]:.0f})",
            )
            print("| " + " | ".join(map(str, row)) + " |", flush=True)


if __name__ == "__main__":
    main()
