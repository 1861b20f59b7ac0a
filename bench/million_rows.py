"""What a table of a million images costs without its pixels: read, split, planned, evaluated.

    python bench/million_rows.py [--rows 1000000] [--folder FOLDER]

Writes a label file in NIH's layout and predictions of 14 findings for it, of as many images as asked for and
of a quarter of them, four images a patient on average. Every step runs in a process of its own, which first
does what the step needs. Prints, for each, the seconds of CPU of both sizes, the power of the number of rows
with which they grow (1 is linear), and the peak of the process's memory.
"""

import argparse
import csv
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from thorax.findings import NIH14
from thorax.image_set import ImageSet

SPLIT = "patient-70-15-15"
LABELS, PREDICTIONS, LIST = "labels.csv", "predictions.csv", "list.csv"
PREVALENCE = (0.1, 0.025, 0.12, 0.18, 0.05, 0.056, 0.013, 0.047, 0.042, 0.02, 0.022, 0.015, 0.03, 0.002)


def write_files(folder: Path, rows: int) -> None:
    """Write labels, predictions and a list of parts."""
    random = np.random.default_rng(rows)
    folder.mkdir(parents=True, exist_ok=True)
    patients = np.sort(random.integers(rows // 4, size=rows))
    first = np.r_[True, patients[1:] != patients[:-1]]
    follow_ups = np.arange(rows) - np.maximum.accumulate(np.where(first, np.arange(rows), 0))
    present = random.random((rows, 14)) < np.array(PREVALENCE)
    scores = 1 / (1 + np.exp(2 - 1.2 * present - random.normal(size=(rows, 14))))
    parts = random.choice(["train", "val", "test"], size=rows // 4, p=[0.7, 0.1, 0.2])
    names = [finding.name for finding in NIH14]
    with (
        (folder / LABELS).open("w") as labels,
        (folder / PREDICTIONS).open("w") as predictions,
        (folder / LIST).open("w") as listed,
    ):
        labels.write(
            "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position\n"
        )
        predictions.write(",".join(["Image Index", *names]) + "\n")
        listed.write("image,part\n")
        for row in range(rows):
            patient, image = patients[row], f"{patients[row]:08d}_{follow_ups[row]:03d}.png"
            found = "|".join(names[k] for k in np.flatnonzero(present[row])) or "No Finding"
            age, sex, view = 20 + patient % 60, "MF"[patient % 2], ("PA", "AP")[row % 2]
            labels.write(f"{image},{found},{follow_ups[row]},{patient},{age},{sex},{view}\n")
            predictions.write(",".join([image, *(f"{score:.6f}" for score in scores[row])]) + "\n")
            listed.write(f"{image},{parts[patient]}\n")


@contextmanager
def measured() -> Iterator[None]:
    """Print the seconds of CPU and of the clock, and the peak of this process's memory in MB."""
    start, clock = time.process_time(), time.perf_counter()
    yield
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(time.process_time() - start, time.perf_counter() - clock, peak)


def labels_of(folder: Path) -> Any:
    from thorax.evaluation.inputs.join import read_labels  # noqa: PLC0415

    return read_labels(folder / LABELS)


def read_labels_step(folder: Path) -> None:
    with measured():
        labels_of(folder)


def splitting(name: str) -> Callable[[Path], None]:
    def step(folder: Path) -> None:
        labels = labels_of(folder)
        with measured():
            labels.split(name.format(folder=folder))

    return step


def plan_step(folder: Path) -> None:
    """Plan a training run, and draw the order of its first epoch."""
    from thorax.randomness import permutation  # noqa: PLC0415
    from thorax.recipe.load import load_recipe  # noqa: PLC0415
    from thorax.recipe.schema import Preparation  # noqa: PLC0415
    from thorax.store.manifest import StoreManifest  # noqa: PLC0415
    from thorax.store.mapped import MappedShards  # noqa: PLC0415
    from thorax.store.store import Store  # noqa: PLC0415
    from thorax.training.plan import plan_run  # noqa: PLC0415

    labels = labels_of(folder)
    rows = len(labels.table)
    manifest = StoreManifest(
        dataset=labels.dataset, preparation=Preparation(size=112), shard_rows=4096, num_rows=rows,
        box_side=None, label_files={}, files_sha256="", columns={}, split_sha256=dict(labels.split_sha256),
        software={}, num_images=rows, num_rejected=0, content_sha256="", table_sha256="", rejected_sha256="",
        shards=(),
    )  # fmt: skip
    no_images = MappedShards(folder, manifest.model_copy(update={"num_rows": 0}))
    store = Store(folder, labels.table, manifest, np.arange(rows), no_images)
    with measured():
        plan = plan_run(load_recipe("small-cpu", {"data.split": SPLIT}), store)
        permutation(0, "order", epoch=0, length=len(plan.train))


def evaluating(split: str, *, write: bool) -> Callable[[Path], None]:
    def step(folder: Path) -> None:
        import thorax  # noqa: PLC0415

        with measured():
            result = thorax.evaluate(folder / PREDICTIONS, folder / LABELS, split=split, resamples=1000)
            if write:
                result.write(folder / "report", overwrite=True)

    return step


def seen_step(folder: Path) -> None:
    """Make the identity of a training part, and look images up in it."""
    labels = labels_of(folder)
    split = labels.split(SPLIT)
    with measured():
        seen: ImageSet = split.image_set("train", split.parts["train"], dataset=labels.dataset)
        assert seen.num_images


STEPS: dict[str, Callable[[Path], None]] = {
    "read the labels": read_labels_step,
    f"split by {SPLIT}": splitting(SPLIT),
    "split by a fold of it": splitting(f"{SPLIT}/fold-1-of-5"),
    "split by a list in a file": splitting("file:{folder}/" + LIST),
    "identity of the training part": seen_step,
    "plan a training run, order an epoch": plan_step,
    "evaluate the test part (15 %), and write the report": evaluating(SPLIT, write=True),
    "evaluate all rows": evaluating("", write=False),
}


def run(step: str, folder: Path) -> tuple[float, float, float]:
    done = subprocess.run(
        [sys.executable, __file__, "--step", step, "--folder", str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{step} failed:\n{done.stderr}")
    cpu, clock, peak = map(float, done.stdout.split()[-3:])
    return cpu, clock, peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where the files are kept; default: they are not")
    parser.add_argument("--step", choices=STEPS)
    parser.add_argument("--only", help="a part of the names of steps")
    asked = parser.parse_args()
    if asked.step:
        STEPS[asked.step](asked.folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        sizes = (asked.rows // 4, asked.rows)
        for rows in sizes:
            if not (folder / str(rows) / LIST).is_file():
                write_files(folder / str(rows), rows)
        writer = csv.writer(sys.stdout, delimiter="\t")
        writer.writerow(("step", *(f"CPU s, {rows:,} rows" for rows in sizes), "power", "clock s", "peak MB"))
        for step in STEPS:
            if asked.only and asked.only not in step:
                continue
            (few, _, _), (many, clock, peak) = (run(step, folder / str(rows)) for rows in sizes)
            power = math.log(many / few) / math.log(4)
            writer.writerow(
                (step, f"{few:.1f}", f"{many:.1f}", f"{power:.2f}", f"{clock:.1f}", f"{peak:.0f}")
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
