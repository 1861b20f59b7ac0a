"""How often the bands of abstention hold what they promise, and what choosing the checkpoint costs.

    python bench/abstention.py [--trials 5000] [--only coverage|checkpoint]

The first table: bands are set on few validation patients, and a new patient with (or without) the finding is
drawn; the figure is how often the finding (or its absence) is not ruled out, in per cent. Scores are normal.
In "one image", each patient has one. In "many images", patients have 1 to 11 whose scores are correlated by
.5, and the score rises with the number of images, as where the sick come back. The two last columns are what
other ways would give (with the finding): each patient's images weighing one over their number, and every
image counting once. A band cuts at one of K + 1 places for K patients, so that coverage exceeds the level by
up to 1 / (K + 1); "exact" is that coverage.

The second table: of 25 checkpoints, which are equally good and whose scores are correlated by .7, the one
with the highest AUC on the validation patients is chosen, and the band is set on the same patients. The AUC
is that of this finding, or the mean over this finding and 13 others like it.

The seed of a trial is its number. The standard error of a figure is at most .25 with 5,000 trials, and .4
with 2,000.
"""

import argparse
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float64, Int64

from thorax.bands import Band, fewest_patients
from thorax.evaluation.abstention import choose_band

SHIFT = 1.5
"""How much higher scores are with the finding, in standard deviations: an AUC of .86."""
CHECKPOINTS = 25
SHARED = 0.7
FINDINGS = 14
PATIENTS = ((4, 100), (9, 100), (15, 100), (19, 100), (49, 200), (99, 900))
LEVELS = (0.8, 0.9)

Drawn = tuple[Bool[np.ndarray, " n"], Float64[np.ndarray, " n"], Int64[np.ndarray, " n"]]


def probability(score: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    return np.asarray(1 / (1 + np.exp(2 - SHIFT * score)))


def one_image(random: np.random.Generator, with_it: int, without: int) -> Drawn:
    target = np.arange(with_it + without) < with_it
    return target, SHIFT * target + random.normal(size=len(target)), np.arange(len(target))


def many_images(random: np.random.Generator, with_it: int, without: int) -> Drawn:
    images = random.integers(1, 12, with_it + without)
    patient = np.repeat(np.arange(len(images)), images)
    target = patient < with_it
    level = random.normal(size=len(images)) + 0.15 * (images - 6)
    noise = random.normal(size=len(patient))
    return target, SHIFT * target + np.sqrt(0.5) * (level[patient] + noise), patient


def new_images(draw: Callable[[np.random.Generator, int, int], Drawn]) -> list[Float64[np.ndarray, " n"]]:
    """Return the sorted probabilities of an image of each of 100,000 new patients with and without it."""
    target, score, patient = draw(np.random.default_rng(10**9), 100_000, 100_000)
    first = np.unique(patient, return_index=True)[1]
    return [np.sort(probability(score[first][target[first] == present])) for present in (True, False)]


def covered(band: Band, new: list[Float64[np.ndarray, " n"]]) -> tuple[float, float]:
    with_it, without = new
    return (
        1 - float(np.searchsorted(with_it, band.low, "left")) / len(with_it),
        float(np.searchsorted(without, band.high, "right")) / len(without),
    )


def weighted_low(drawn: Drawn, level: float) -> float:
    """Return the lower end with each patient's images weighing one over their number; 0 without one."""
    target, score, patient = drawn
    p, owner = probability(score)[target], patient[target]
    share = 1 / np.bincount(owner)[owner]
    order = np.argsort(-p)
    enough = np.cumsum(share[order]) + 1e-9 >= level * (len(np.unique(owner)) + 1)
    return float(p[order[np.argmax(enough)]]) if enough.any() else 0.0


def coverage(trials: int) -> None:
    print("| level | patients with, without | images | with it | without it | exact | weighed | by image |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for draw in (one_image, many_images):
        new = new_images(draw)
        for level in LEVELS:
            for patients in PATIENTS:
                if min(patients) < fewest_patients(level):
                    continue
                shares = []
                for seed in range(trials):
                    drawn = draw(np.random.default_rng(seed), *patients)
                    target, score, patient = drawn
                    p = probability(score)
                    ours = band_of(target, p, patient, level)
                    weighed = ours.model_copy(update={"low": weighted_low(drawn, level)})
                    by_image = band_of(target, p, np.arange(len(p)), level)
                    others = covered(weighed, new)[0], covered(by_image, new)[0]
                    shares.append((*covered(ours, new), *others))
                exact = [1 - np.floor((count + 1) * (1 - level) + 1e-9) / (count + 1) for count in patients]
                with_it, without, *ways = (f"{100 * figure:.1f}" for figure in np.mean(shares, axis=0))
                known = ", ".join(f"{100 * share:.1f}" for share in exact)
                name = draw.__name__.replace("_", " ")
                shown = f"{100 * level:.0f} % | {patients[0]}, {patients[1]} | {name}"
                cells = " | ".join((with_it, without, known, *ways))
                print(f"| {shown} | {cells} |", flush=True)


def band_of(
    target: Bool[np.ndarray, " n"],
    p: Float64[np.ndarray, " n"],
    patient: Int64[np.ndarray, " n"],
    level: float,
) -> Band:
    band = choose_band(target, p, patient, level=level)
    assert isinstance(band, Band)
    return band


def checkpoint(trials: int) -> None:
    print("| level | patients with, without | none chosen | by the mean of 14 findings | by its own AUC |")
    print("| --- | --- | --- | --- | --- |")
    new = new_images(one_image)
    for patients in PATIENTS:
        levels = [level for level in LEVELS if min(patients) >= fewest_patients(level)]
        shares: dict[tuple[float, int], list[tuple[float, float]]] = {}
        for seed in range(trials):
            random = np.random.default_rng(seed)
            target, _, patient = one_image(random, *patients)
            common = random.normal(size=(FINDINGS, 1, len(target)))
            own = random.normal(size=(FINDINGS, CHECKPOINTS, len(target)))
            scores = np.sqrt(SHARED) * common + np.sqrt(1 - SHARED) * own + SHIFT * target
            ranks = np.argsort(np.argsort(scores, axis=2), axis=2)
            merit = np.sum(ranks[:, :, target], axis=2)  # grows with the AUC, and with nothing else
            chosen = (0, int(np.argmax(np.sum(merit, axis=0))), int(np.argmax(merit[0])))
            for level in levels:
                for way, number in enumerate(chosen):
                    band = band_of(target, probability(scores[0, number]), patient, level)
                    shares.setdefault((level, way), []).append(covered(band, new))
        for level in levels:
            means = [100 * np.mean(shares[level, way], axis=0) for way in range(3)]
            cells = " | ".join(f"{with_it:.1f}, {without:.1f}" for with_it, without in means)
            print(f"| {100 * level:.0f} % | {patients[0]}, {patients[1]} | {cells} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Coverage of the bands of abstention.")
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--only", choices=("coverage", "checkpoint"))
    options = parser.parse_args()
    if options.only != "checkpoint":
        coverage(options.trials)
    if options.only != "coverage":
        checkpoint(options.trials)
