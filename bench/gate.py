"""How well the input gate tells chest radiographs from everything else, on images that it was not fitted on.

    python bench/gate.py STORE [--pictures FOLDER] [--bundle BUNDLE --radiographs FOLDER] [--folds 5]

- STORE: a prepared store. Its images are cross-fitted by patient: a fold is judged by a gate that was fitted
  on the patients of the others, a tenth of whom set its limits.
- `--pictures`: pictures that are not chest radiographs, from `bench/gate_pictures.py`, listed with their
  kinds in its pictures.csv. Each is judged by the gate of every fold; the worst is shown beside the mean.
- `--radiographs`: images of other hospitals, judged by the gate of `--bundle`. Look at them seldom, and write
  down each look: what is changed after a look is no longer measured by the next one.
"""

import argparse
import csv
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from thorax.bundle import load_bundle
from thorax.errors import ImageError
from thorax.evaluation.statistics.intervals import share_interval
from thorax.gating import GateImages, fit_gate, known_ages
from thorax.image_set import ImageSet
from thorax.imaging import read_radiograph
from thorax.inference.gate import Gate, GateAnswer, check, check_pixels, open_gate
from thorax.randomness import permutation
from thorax.store import Store, open_store

CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as it is": lambda pixels: pixels,
    "turned by 90": lambda pixels: np.rot90(pixels, 3),
    "turned by 180": lambda pixels: np.rot90(pixels, 2),
    "turned by 270": lambda pixels: np.rot90(pixels, 1),
    "inverted": lambda pixels: 255 - pixels,
    "mirrored": lambda pixels: pixels[:, ::-1],
}
NAMED = {"turned by 90": "turned-90", "turned by 180": "turned-180", "turned by 270": "turned-270"}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--radiographs", type=Path, action="append", default=[])
    parser.add_argument("--folds", type=int, default=5)
    given = parser.parse_args()
    if given.radiographs:
        other_hospitals(open_gate(load_bundle(given.bundle)), given.radiographs)
        return
    store = open_store(given.store)
    gates = cross_fitted(store, given.folds)
    if given.pictures:
        pictures(gates, given.pictures)
    cost(gates[0])


# ---- images of the store ---------------------------------------------------------------------------


def cross_fitted(store: Store, folds: int) -> list[Gate]:
    """Judge each image by the gate of its fold; return the gates."""
    patients = store.table.frame["patient"].to_numpy()
    names, of_image = np.unique(patients, return_inverse=True)
    fold_of = permutation(0, "folds", epoch=0, length=len(names)) % folds
    gates, answers = [], {name: [GateAnswer()] * len(store) for name in CHANGES}
    for fold in range(folds):
        gate = fitted(store, fold_of[of_image] != fold)
        gates.append(gate)
        assert gate.section is not None
        for row in np.flatnonzero(fold_of[of_image] == fold).tolist():
            pixels = store.pixels(np.array([row]))[0]
            for name, change in CHANGES.items():
                answers[name][row] = check_pixels(gate, np.ascontiguousarray(change(pixels)))
        print(f"fold {fold + 1}: {gate.section.held_back} of its validation images held back", flush=True)
    print(f"\n{len(store):,} images of {len(names):,} patients in {folds} folds")
    for name, of_change in answers.items():
        table_row(name, of_change, of_image)
    for row, answer in enumerate(answers["as it is"]):
        if answer.refused:
            print(f"  held back: {store.table.frame['image'].iloc[row]}: {', '.join(codes(answer))}")
    part = store.table.frame["official"].to_numpy() == "test"
    if part.any():
        held = sum(answer.refused for answer, tested in zip(answers["as it is"], part, strict=True) if tested)
        print(f"of the official test part: {held} of {part.sum()} held back")
    return gates


def fitted(store: Store, chosen: np.ndarray) -> Gate:
    """Return a gate for the images that a mask chooses; a tenth of their patients set the limits."""
    frame = store.table.frame
    patients = frame["patient"].to_numpy()
    names = np.unique(patients[chosen])
    for_limits = names[permutation(1, "limits", epoch=0, length=len(names)) % 10 == 0]
    is_limit = np.isin(patients, for_limits)
    parts = []
    for mask in (chosen & ~is_limit, chosen & is_limit):
        rows = np.flatnonzero(mask)
        images, owners = (frame[column].iloc[rows].tolist() for column in ("image", "patient"))
        parts.append(GateImages(store.pixels, rows, ImageSet.of(images, owners, dataset=store.dataset)))
    fit = store.preparation.fit
    result = fit_gate(*parts, fit=fit, ages=known_ages(store, parts[0].rows))
    return Gate(fit, result.section, result.numbers)


def table_row(name: str, answers: list[GateAnswer], of_image: np.ndarray) -> None:
    """Print how many of the images were refused, and rightly named; or warned about."""
    refused = np.array([answer.refused for answer in answers])
    images = np.bincount(of_image).astype(float)
    interval = share_interval(np.bincount(of_image, weights=refused).astype(float), images)
    line = (
        f"{name}: {refused.sum():,} of {len(answers):,} refused ({interval.value:.2%}, {interval.low:.2%} to "
    )
    line += f"{interval.high:.2%})"
    if name != "as it is":
        wanted = NAMED.get(name, name)
        line += f", {sum(codes(answer) == [wanted] for answer in answers):,} with the right reason"
    warned = Counter(reason.code for answer in answers for reason in answer.reasons if reason.level == "warn")
    print(f"{line}; warnings: {dict(warned) or 'none'}")


def codes(answer: GateAnswer) -> list[str]:
    """Return the codes of the reasons; refusals alone where there are some."""
    level = "refuse" if answer.refused else "warn"
    return [
        reason.code for reason in answer.reasons if reason.level == level and reason.code != "unlike-training"
    ] or [reason.code for reason in answer.reasons if reason.level == level]


# ---- other pictures --------------------------------------------------------------------------------


def pictures(gates: list[Gate], folder: Path) -> None:
    """Print how many pictures of each kind are refused."""
    with (folder / "pictures.csv").open(newline="", encoding="utf-8") as file:
        listed = [(row["kind"], folder / row["picture"]) for row in csv.DictReader(file)]
    refused: dict[str, list[np.ndarray]] = defaultdict(list)
    by_rule: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    for kind, path in listed:
        try:
            radiograph = read_radiograph(path)
        except ImageError as error:
            print(f"{path.name}: cannot be read, and counts as refused ({error})")
            refused[kind].append(np.ones(len(gates), np.bool_))
            continue
        answers = [check(gate, radiograph) for gate in gates]
        refused[kind].append(np.array([answer.refused for answer in answers]))
        by_rule[kind] += answers[0].refused and answers[0].reasons[0].code in {"color", "no-contrast"}
        passed.update([path.name] * sum(not answer.refused for answer in answers))
    print(f"\n{len(listed)} pictures that are not chest radiographs, judged by each of {len(gates)} gates")
    everything = [mask for masks in refused.values() for mask in masks]
    for kind, masks in [*refused.items(), ("all", everything)]:
        counts = np.sum(masks, axis=0)
        rules = sum(by_rule.values()) if kind == "all" else by_rule[kind]
        print(
            f"{kind}: {counts.mean():.1f} of {len(masks)} refused on average, {counts.min()} by the worst "
            f"gate; {rules} by color or lack of contrast already"
        )
    for name, times in passed.most_common():
        print(f"  passed {times} of {len(gates)} gates: {name}")
    for gate in gates[:1]:
        gray = [
            check_pixels(gate, read_radiograph(path).pixels).refused for _, path in listed if readable(path)
        ]
        print(f"by their gray pixels alone, without the rule for color: {sum(gray)} of {len(gray)}")


def readable(path: Path) -> bool:
    """Return whether a file is an image."""
    try:
        read_radiograph(path)
    except ImageError:
        return False
    return True


# ---- other hospitals -------------------------------------------------------------------------------


def other_hospitals(gate: Gate, folders: Iterable[Path]) -> None:
    """Print what the gate says of every image of other hospitals, and counts by folder and stated view."""
    for folder in folders:
        views = stated_views(folder)
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".csv"):
            try:
                answer = check(gate, read_radiograph(path))
                said = ", ".join(f"{reason.code} ({reason.level})" for reason in answer.reasons) or "passes"
                held = "held back" if answer.refused else "warned" if answer.reasons else "passes"
            except ImageError as error:
                said, held = f"not read: {error}", "not read"
            counts[f"{path.parent.name} {views.get(path.name, '')}".strip()][held] += 1
            print(f"{path.parent.name}/{path.name}: {said}")
        for group, of_group in counts.items():
            print(f"{group}: {dict(of_group)} of {of_group.total()}")


def stated_views(folder: Path) -> dict[str, str]:
    """Return the view of each image that a CSV in the folder names."""
    views: dict[str, str] = {}
    for path in folder.glob("*.csv"):
        with path.open(newline="", encoding="utf-8") as file:
            views |= {row["image"]: row.get("view", "") for row in csv.DictReader(file)}
    return views


# ---- cost ------------------------------------------------------------------------------------------


def cost(gate: Gate) -> None:
    """Print the CPU time of a check."""
    random = np.random.default_rng(0)
    for side, kind in ((1024, np.uint8), (3000, np.uint16)):
        pixels = random.integers(0, np.iinfo(kind).max, (side, side), dtype=kind)
        start = time.process_time()
        for _ in range(20):
            check_pixels(gate, pixels)
        each = (time.process_time() - start) / 20 * 1000
        print(f"{side} x {side}, {8 * pixels.itemsize} bits: {each:.1f} ms of CPU time")


if __name__ == "__main__":
    main()
