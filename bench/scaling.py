"""Time and memory of prepare, a training epoch, evaluate and predict as the number of images grows.

    python bench/scaling.py --work FOLDER [--counts 1000 10000 100000] [--drawn 10000]

Each step is the command that a user gives, with the recipe `small-cpu`, on folders of phantoms in NIH's
layout. Only `--drawn` phantoms are drawn; other folders have hard links to them under new names and new
patients, for drawing is not what is measured, and every command reads each file by its own name. (The audit
in a report then finds that many images are equal; that is so.) Peaks are of
anonymous memory over all processes of a command: mapped shards do not count. What has been measured is
kept in FOLDER/costs.json: the same command goes on where it stopped. Prints one table, with what a million
images would take if the last growth went on, and says what is not linear or not flat.
"""

import argparse
import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from anonymous_memory import Cost, run_measured

from thorax.datasets.phantom import write_phantoms

LISTS = ("train_val_list.txt", "test_list.txt")
IMAGES_PER_PATIENT = 3.6
MILLION = 1_000_000
LIMIT = 1.1
"""Of seconds per further image, and of the peak, both in comparison with the step before."""


def drawn_phantoms(work: Path, images: int) -> Path:
    """Draw the phantoms that everything else is linked to, once."""
    folder = work / f"drawn-{images}"
    if not folder.is_dir():
        partial = work / "drawn.partial"
        shutil.rmtree(partial, ignore_errors=True)
        write_phantoms(partial, patients=round(images / IMAGES_PER_PATIENT))
        partial.rename(folder)
    return folder


def linked(drawn: Path, folder: Path, count: int) -> Path:
    """Make a folder of `count` images: links to the drawn ones, each turn as patients of its own."""
    if folder.is_dir():
        return folder
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "images").mkdir(parents=True)
    (labels,) = drawn.glob("Data_Entry*.csv")
    head, *rows = labels.read_text().splitlines()
    turns = range(-(-count // len(rows)))
    kept = [renamed(row, turn) for turn in turns for row in rows][:count]
    (partial / labels.name).write_text("\n".join([head, *kept]) + "\n")
    names = {row.partition(",")[0] for row in kept}
    for turn in turns:
        for image in (drawn / "images").iterdir():
            if (name := renamed(image.name, turn)) in names:
                os.link(image, partial / "images" / name)
    for each in LISTS:
        lines = (drawn / each).read_text().split()
        there = [name for turn in turns for line in lines if (name := renamed(line, turn)) in names]
        (partial / each).write_text("\n".join(there) + "\n")
    partial.rename(folder)
    return folder


def renamed(text: str, turn: int) -> str:
    """Give a phantom patient (9, four digits of the seed, six of the number) another seed."""
    return re.sub(r"\b90000(?=\d{6})", f"9{turn:04d}", text)


def steps(source: Path, work: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield each step's name and command, in the order in which they need each other."""
    thorax = [sys.executable, "-m", "thorax"]
    store, run, report = (str(work / name) for name in ("store", "run", "report"))
    yield "prepare", [*thorax, "prepare", str(source), "--recipe", "small-cpu", "--out", store]
    settings = ("training.epochs=1", "schedule.warmup_epochs=0", "data.split=folder-official")
    one_epoch = [part for setting in settings for part in ("--set", setting)]
    yield "train, one epoch", [*thorax, "train", "small-cpu", "--store", store, "--out", run, *one_epoch]
    yield "evaluate", [*thorax, "evaluate", run, "--store", store, "--out", report]
    yield "predict", [*thorax, "predict", run, str(source / "images"), "--csv"]


def measure(work: Path, drawn: Path, count: int, costs: dict[str, dict[str, Cost]]) -> None:
    """Measure the steps that have no cost yet for this number of images."""
    folder = work / str(count)
    source = linked(drawn, work / f"source-{count}", count)
    for name, command in steps(source, folder):
        if str(count) in costs.get(name, {}):
            continue
        out = {"prepare": "store", "train, one epoch": "run", "evaluate": "report"}.get(name)
        if out:  # of an attempt that was stopped
            shutil.rmtree(folder / out, ignore_errors=True)
        folder.mkdir(exist_ok=True)
        cost = run_measured(command, log=folder / f"{name.partition(',')[0]}.log")
        costs.setdefault(name, {})[str(count)] = cost
        kept = {step: {n: asdict(each) for n, each in found.items()} for step, found in costs.items()}
        (work / "costs.json").write_text(json.dumps(kept, indent=1))
        print(f"{name}, {count:,} images: {cost}", file=sys.stderr, flush=True)


def load(work: Path) -> dict[str, dict[str, Cost]]:
    file = work / "costs.json"
    found = json.loads(file.read_text()) if file.is_file() else {}
    return {step: {n: Cost(**each) for n, each in costs.items()} for step, costs in found.items()}


def table(step: str, costs: dict[str, Cost]) -> list[str]:
    """Return the lines of a step; "over" names what is not linear or not flat."""
    lines: list[str] = []
    before: tuple[int, Cost] | None = None
    slope = cpu_slope = 0.0
    for count, cost in sorted((int(n), cost) for n, cost in costs.items()):
        over = []
        if before:
            more = count - before[0]
            cpu_old = cpu_slope
            slope = (cost.seconds - before[1].seconds) / more
            cpu_slope = (cost.cpu_seconds - before[1].cpu_seconds) / more
            if cpu_old and cpu_slope > LIMIT * cpu_old:
                over.append(f"CPU per further image {cpu_slope / cpu_old:.2f} of the step before")
            if cost.peak_mib > LIMIT * before[1].peak_mib:
                over.append(f"memory {cost.peak_mib / before[1].peak_mib:.2f} of the step before")
        lines.append(
            f"{step:18}{count:>10,}{cost.seconds:>10.1f}{cost.cpu_seconds:>10.1f}"
            f"{1e3 * cost.cpu_seconds / count:>11.2f}{cost.peak_mib:>10.0f}  {'; '.join(over)}"
        )
        before = count, cost
    if before and slope > 0 and cpu_slope > 0:  # else the counts are too near for a busy machine
        seconds = before[1].seconds + slope * (MILLION - before[0])
        cpu = before[1].cpu_seconds + cpu_slope * (MILLION - before[0])
        lines.append(f"{step:18}{'(million)':>10}{seconds:>10.0f}{cpu:>10.0f}{1e3 * cpu / MILLION:>11.2f}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for everything; kept")
    parser.add_argument("--counts", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument(
        "--drawn", type=int, default=10_000, help="phantoms that are drawn, the rest is links"
    )
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    drawn = drawn_phantoms(arguments.work, arguments.drawn)
    costs = load(arguments.work)
    for count in arguments.counts:
        measure(arguments.work, drawn, count, costs)
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"Python {platform.python_version()}"
    )
    print(f"{'':18}{'images':>10}{'seconds':>10}{'CPU s':>10}{'CPU ms/im':>11}{'MiB':>10}")
    for step, found in costs.items():
        print("\n".join(table(step, found)))


if __name__ == "__main__":
    main()
