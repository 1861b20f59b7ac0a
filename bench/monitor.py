"""How often monitoring gives a false alarm, and how soon it shows what has changed, on real images.

    python bench/monitor.py --store STORE --cnn predictions.csv.gz --nih FOLDER [--runs 100] [--references 5]

STORE is NIH's images prepared with the recipe small-cpu, of which the starter has not learned from those of
validation and test; the CSV has a model's probabilities of many other images of NIH, whose labels are in the
folder. Weeks have 300 images, drawn with replacement.

* quiet: alarms of 200 weeks, all quantities together; validation and weeks are drawn from one pool, single
  images or whole patients with all of their images at once.
* inverted, window: the share of runs with an alarm after one week, in which some images are inverted or have
  another window, beside the starter's own validation.
* another device: anteroposterior images where validation had posteroanterior ones.
* doubled: the share of runs in which a doubled prevalence is an alarm within the number of images that the
  page states, after a quarter of quiet weeks.
"""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from thorax.arrays import PixelsBatch
from thorax.bundle import hashed_patients, load_bundle
from thorax.distributions import GATE_SCORES, ValidationDistribution
from thorax.evaluation.inputs.join import labeled_images
from thorax.evaluation.labeled_images import LabeledImages
from thorax.evaluation.monitoring.describe import GateWords, describe_validation
from thorax.evaluation.monitoring.detection import detection
from thorax.evaluation.monitoring.weekly import WINDOWS, Comparer, Observations, Quantity, Window, looks
from thorax.evaluation.operating_points import choose_threshold, parse_rule
from thorax.findings import finding_or_new
from thorax.image_set import ImageSet
from thorax.inference.engines import open_predictor
from thorax.inference.gate import check_pixels
from thorax.inference.predictor import Predictor
from thorax.inference.validation import gate_words
from thorax.store import open_store

WEEK, WEEKS, QUARTER = 300, 200, 14
"""Images of a week, weeks of a quiet run, and quiet weeks before a change."""
MONDAY = date(2026, 1, 5).toordinal()
DOUBLED = ("Effusion", "Infiltration", "Atelectasis")
QUIET, REFERENCE = 4000, 8000
"""Images of validation beside CheXNet's quiet weeks, and beside a doubled prevalence."""


@dataclass(frozen=True)
class Pool:
    """Images to draw from: their labels, probabilities, and what the gate says of them, if there is one."""

    cohort: LabeledImages
    probabilities: np.ndarray
    thresholds: dict[str, float | None]
    gate: GateWords | None

    @property
    def size(self) -> int:
        """Number of images."""
        return len(self.probabilities)

    def take(self, rows: np.ndarray, *, apart: bool = False) -> "Pool":
        """Return some images, perhaps several times; apart, each is one of another patient."""
        numbered = [f"{self.cohort.images[row]} {number}" for number, row in enumerate(rows)]
        cohort = LabeledImages(
            images=numbered,
            patients=numbered if apart else [self.cohort.patients[row] for row in rows],
            targets=self.cohort.targets[rows],
            findings=self.cohort.findings,
        )
        gate = self.gate and GateWords(
            self.gate.scores[rows], self.gate.held_back[rows], self.gate.warned[rows]
        )
        return Pool(cohort, self.probabilities[rows], self.thresholds, gate)

    def described(self) -> ValidationDistribution:
        """Return it as a bundle keeps its validation images."""
        of = ImageSet.of(self.cohort.images, self.cohort.patients, dataset="bench")
        made = describe_validation(
            self.cohort, self.probabilities, self.thresholds, measured_on=of, gate=self.gate
        )
        assert made is not None
        return made

    def observed(self) -> Observations:
        """Return it as the images of a site, so many a week."""
        count = self.size
        gate = self.gate or GateWords(
            np.full((count, len(GATE_SCORES)), np.nan), np.zeros(count, bool), np.zeros(count, bool)
        )
        return Observations(
            days=MONDAY + np.arange(count) * 7 // WEEK,
            probabilities=np.where(gate.held_back[:, None], np.nan, self.probabilities),
            names=tuple(finding.name for finding in self.cohort.findings),
            held_back=gate.held_back,
            warned=gate.warned,
            scores=gate.scores,
        )


def by_patient(pool: Pool, count: int, random: np.random.Generator) -> np.ndarray:
    """Return rows of whole patients, drawn with replacement, until there are so many."""
    order = np.argsort(np.asarray(pool.cohort.patients), kind="stable")
    _, starts, sizes = np.unique(
        np.asarray(pool.cohort.patients)[order], return_index=True, return_counts=True
    )
    rows: list[np.ndarray] = []
    while sum(map(len, rows)) < count:
        drawn = random.integers(0, len(starts), count)
        rows += [order[starts[one] : starts[one] + sizes[one]] for one in drawn]
    return np.concatenate(rows)[:count]


def alarms(pool: Pool, reference: ValidationDistribution, *, first: int = 0) -> Iterator[set[Quantity]]:
    """Yield what is an alarm at the end of each week from some week on."""
    observed = pool.observed()
    comparer = Comparer(observed, reference)
    for look in looks(observed.days, today=date.fromordinal(MONDAY + 10_000))[first:]:
        yield {comparison.quantity for _, comparison in comparer.alarms(look)}


# ---- what models say of real images ------------------------------------------------------------------


def said(predictor: Predictor, pixels: PixelsBatch, cohort: LabeledImages) -> Pool:
    """Return what a bundle and its gate say of prepared images."""
    points = predictor.bundle.manifest.operating_points
    assert points is not None
    words = gate_words([check_pixels(predictor.gate, image) for image in pixels])
    return Pool(cohort, predictor.probabilities(pixels), dict(points.thresholds), words)


def windowed(pixels: PixelsBatch, width: float) -> PixelsBatch:
    """Return images as a display window of another width shows them, with the same center."""
    return np.clip((pixels.astype(np.float64) - 127.5) / width + 127.5, 0, 255).round().astype(np.uint8)


def cnn_pool(csv: Path, folder: Path) -> Pool:
    """Return the images of a table of probabilities, with NIH's labels."""
    table = pd.read_csv(csv)
    labels = pd.read_csv(folder / "Data_Entry_2017_v2020.csv.gz").set_index("Image Index")
    rows = labels.loc[table["Image Index"]]
    names = [column.removeprefix("prob_") for column in table.columns if column.startswith("prob_")]
    texts = rows["Finding Labels"].str.split("|")
    targets = np.array([[name in each for name in names] for each in texts], np.int8)
    cohort = LabeledImages(
        images=table["Image Index"].tolist(),
        patients=rows["Patient ID"].astype(str).tolist(),
        targets=targets,
        findings=tuple(map(finding_or_new, names)),
    )
    return Pool(cohort, table[[f"prob_{name}" for name in names]].to_numpy(np.float64), {}, None)


def with_thresholds(pool: Pool) -> Pool:
    """Return a pool with the thresholds that have the highest F1 on it."""
    thresholds: dict[str, float | None] = {
        finding.name: choose_threshold(parse_rule("f1-optimal"), target == 1, column)
        for finding, target, column in zip(
            pool.cohort.findings, pool.cohort.targets.T, pool.probabilities.T, strict=True
        )
    }
    return Pool(pool.cohort, pool.probabilities, thresholds, pool.gate)


# ---- what is measured ----------------------------------------------------------------------------------


def quiet(name: str, pool: Pool, validation: int, references: int, *, patients: bool) -> None:
    """Print the alarms of quiet weeks beside validation images of the same pool."""
    totals, kinds = [], Counter[str]()
    for number in range(references):
        random = np.random.default_rng((4, number))
        if patients:
            before, after = (by_patient(pool, count, random) for count in (validation, WEEK * WEEKS))
        else:
            before, after = (random.integers(0, pool.size, count) for count in (validation, WEEK * WEEKS))
        chosen = with_thresholds(pool.take(before, apart=not patients))
        weeks = pool.take(after)
        found = list(alarms(weeks, chosen.described()))
        totals.append(sum(map(len, found)))
        kinds += Counter(quantity.kind for week in found for quantity in week)
    print(
        f"quiet, {name}, {validation} validation images: alarms in {WEEKS} weeks {totals}, {dict(kinds)}",
        flush=True,
    )


def changed(
    name: str, plain: Pool, other: Pool, part: float, reference: ValidationDistribution, runs: int
) -> None:
    """Print how often a week is an alarm in which a part of the images is of another kind."""
    found = Counter[str]()
    for run in range(runs):
        random = np.random.default_rng((1, run))
        rows = random.integers(0, plain.size, WEEK)
        swapped = random.random(WEEK) < part
        week = mixed(plain.take(rows), other.take(random.integers(0, other.size, WEEK)), swapped)
        (kinds,) = ({quantity.kind for quantity in each} for each in alarms(week, reference))
        found.update([*kinds, *(["any"] if kinds else [])])
    print(
        f"{name}, {100 * part:.0f} %: of {runs} runs {found['any']} with an alarm, {dict(found)}", flush=True
    )


def mixed(plain: Pool, other: Pool, swapped: np.ndarray) -> Pool:
    """Return images of one pool, of which some are replaced by those of another."""
    assert plain.gate is not None
    assert other.gate is not None
    gate = GateWords(
        np.where(swapped[:, None], other.gate.scores, plain.gate.scores),
        np.where(swapped, other.gate.held_back, plain.gate.held_back),
        np.where(swapped, other.gate.warned, plain.gate.warned),
    )
    probabilities = np.where(swapped[:, None], other.probabilities, plain.probabilities)
    return Pool(plain.cohort, probabilities, plain.thresholds, gate)


def another_device(pool: Pool, views: Sequence[str], runs: int) -> None:
    """Print how soon anteroposterior images show beside posteroanterior ones of validation."""
    frontal = pool.take(np.flatnonzero(np.asarray(views) == "PA"))
    beds = pool.take(np.flatnonzero(np.asarray(views) == "AP"))
    reference = with_thresholds(frontal).described()
    for count in (100, 200, 300):
        found = 0
        for run in range(runs):
            week = beds.take(np.random.default_rng((2, run)).integers(0, beds.size, count)).observed()
            window = Window(WINDOWS[0], 0, count, date.fromordinal(MONDAY), date.fromordinal(MONDAY))
            comparer = Comparer(week, reference)
            found += any(
                comparer.p_value(each, window) < comparer.level(each, window) for each in comparer.quantities
            )
        print(
            f"another device: {beds.size} AP beside {frontal.size} PA images: of {runs} runs {found} with an "
            f"alarm after {count}",
            flush=True,
        )


def doubled(pool: Pool, name: str, runs: int) -> None:
    """Print how often a doubled prevalence is an alarm within the images that the page states."""
    column = [finding.name for finding in pool.cohort.findings].index(name)
    present = np.flatnonzero(pool.cohort.targets[:, column] == 1)
    absent = np.flatnonzero(pool.cohort.targets[:, column] == 0)
    share = len(present) / pool.size
    within, stated = 0, []
    for run in range(runs):
        random = np.random.default_rng((3, run))
        drawn = pool.take(random.integers(0, pool.size, REFERENCE), apart=True)
        reference = with_thresholds(drawn).described()
        found = detection(reference, name, weekly=WEEK)
        if found is None or found.images is None:
            continue
        stated.append(found.images)
        before = random.integers(0, pool.size, WEEK * QUARTER)
        ill = random.random(found.images) < 2 * share
        after = np.where(ill, random.choice(present, found.images), random.choice(absent, found.images))
        weeks = pool.take(np.concatenate([before, after]))
        within += any(Quantity("positive", name) in each for each in alarms(weeks, reference, first=QUARTER))
    print(
        f"doubled {name} (prevalence {share:.3f}): stated in {len(stated)} of {runs} runs, after "
        f"{np.median(stated) if stated else 0:.0f} images (middle), {within} alarms within",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--cnn", type=Path, required=True)
    parser.add_argument("--nih", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--references", type=int, default=5)
    arguments = parser.parse_args()
    bundle, store = load_bundle("starter"), open_store(arguments.store)
    predictor, reference = open_predictor(bundle, device="cpu"), bundle.manifest.distribution
    assert reference is not None
    frame, seen = store.table.frame, frozenset(bundle.patients["train"])
    hashes = hashed_patients(store.dataset, [str(patient) for patient in frame["patient"]])
    unseen = np.flatnonzero([hashes[str(patient)] not in seen for patient in frame["patient"]])
    validation = np.array(
        [hashes[str(frame["patient"].iloc[row])] in bundle.patients["val"] for row in unseen]
    )
    pixels, cohort = store.pixels(unseen), labeled_images(store.table.take(unseen), bundle.findings)
    plain = said(predictor, pixels, cohort)
    of_validation = plain.take(np.flatnonzero(validation))
    kinds = {
        "inverted": (255 - pixels, (0.05,)),
        "window half as wide": (windowed(pixels, 0.5), (0.2, 0.5, 1.0)),
        "window twice as wide": (windowed(pixels, 2.0), (0.2, 0.5, 1.0)),
    }
    print(
        f"{plain.size} images that the starter has not learned from, {of_validation.size} of validation",
        flush=True,
    )
    for name, (copies, parts) in kinds.items():
        other = said(predictor, copies, cohort).take(np.flatnonzero(validation))
        for part in parts:
            changed(name, of_validation, other, part, reference, arguments.runs)
    changed("nothing", of_validation, of_validation, 1.0, reference, arguments.runs)
    another_device(plain, [str(view) for view in frame["view"].iloc[unseen]], arguments.runs)
    for patients in (False, True):
        quiet("starter", plain, 124, arguments.references, patients=patients)
    cnn = cnn_pool(arguments.cnn, arguments.nih)
    for name in DOUBLED:
        doubled(cnn, name, arguments.runs)
    for patients in (False, True):
        quiet("CheXNet", cnn, QUIET, arguments.references, patients=patients)


if __name__ == "__main__":
    main()
