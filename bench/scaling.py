"""Time and memory of the commands as the number of images grows.

    python bench/scaling.py --work FOLDER [--counts 1000 10000 100000] [--drawn 10000] [--turns 1]

Each step is the command that a user gives, with the recipe `small-cpu`, on folders of phantoms in NIH's
layout. Only `--drawn` phantoms are drawn; other folders have hard links to them under new names and new
patients, for drawing is not what is measured, and every command reads each file by its own name. Copies are
not searched for: bench/audit.py times that. `report` and `compare` read predictions, of one model and of two.
Peaks are of anonymous memory over all processes of a command: mapped shards do not count. What has been
measured is kept in FOLDER/costs.json: the same command goes on where it stopped, and more `--turns` add to
it, of some `--steps` if need be.

Prints one table of medians, with what a million images would take if the last growth went on, and says what
is not linear or not flat. The exponent is of CPU seconds above those of the smallest count, over the two
largest: 1 for costs that are linear whatever a start costs; its 95 % interval is Student's, over the turns.
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
from math import log, sqrt
from pathlib import Path
from statistics import StatisticsError, mean, median, stdev

import pandas as pd
from anonymous_memory import Cost, run_measured
from scipy.stats import t as student

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


def steps(source: Path, work: Path) -> Iterator[tuple[str, str | None, list[str]]]:
    """Yield each step's name, the folder that it makes and its command; each needs those before it."""
    thorax = [sys.executable, "-m", "thorax"]
    store, run, evaluation = (str(work / name) for name in ("store", "run", "evaluation"))
    predictions, others = str(work / "evaluation" / "predictions.csv"), str(work / "others.csv")
    yield "prepare", "store", [*thorax, "prepare", str(source), "--recipe", "small-cpu", "--out", store]
    settings = ("training.epochs=1", "schedule.warmup_epochs=0", "data.split=folder-official")
    one_epoch = [part for setting in settings for part in ("--set", setting)]
    train = [*thorax, "train", "small-cpu", "--store", store, "--out", run, *one_epoch]
    yield "train, one epoch", "run", train
    yield (
        "evaluate",
        "evaluation",
        [*thorax, "evaluate", run, "--store", store, "--no-pixels", "--out", evaluation],
    )
    yield "predict", None, [*thorax, "predict", run, str(source / "images"), "--csv"]
    split = ["--store", store, "--split", "folder-official"]
    report, comparison = ["--out", str(work / "report")], ["--out", str(work / "comparison")]
    from_file = [*thorax, "evaluate", "--predictions", predictions, *split, "--no-pixels"]
    yield "report", "report", [*from_file, *report]
    yield "compare", "comparison", [*thorax, "compare", predictions, others, *split, *comparison]
    audit = ["--split", "folder-official", "--predictions", predictions, "--bundle", run, "--no-pixels"]
    yield "audit", None, [*thorax, "audit", store, *audit]


STEPS = ("prepare", "train", "evaluate", "predict", "report", "compare", "audit")
Costs = dict[str, dict[int, list[Cost]]]
"""By step and count, one cost for each turn."""


def write_others(work: Path) -> None:
    """Write another model's predictions: the reverse of each column's order, half of the time."""
    file = work / "others.csv"
    if not file.is_file():
        table = pd.read_csv(work / "evaluation" / "predictions.csv")
        scores = table.select_dtypes("float").columns
        table[scores] = (table[scores] + table[scores].to_numpy()[::-1]) / 2
        table.to_csv(file, index=False)


def measure(work: Path, drawn: Path, count: int, costs: Costs, *, turns: int, chosen: set[str]) -> None:
    """Measure the steps that have fewer turns for this number of images."""
    folder = work / str(count)
    folder.mkdir(exist_ok=True)
    source = linked(drawn, work / f"source-{count}", count)
    for name, out, command in steps(source, folder):
        known = costs.setdefault(name, {}).setdefault(count, [])
        while len(known) < (turns if name.partition(",")[0] in chosen else 0):
            if name == "compare":
                write_others(folder)
            if out:  # of the turn before, or of an attempt that was stopped
                shutil.rmtree(folder / out, ignore_errors=True)
            output = folder / f"{name.partition(',')[0]}.log"
            known.append(
                run_measured(command, log=output, good={0, 1})
            )  # 1: the audit finds the equal images
            save(work, costs)
            print(f"{name}, {count:,} images: {known[-1]}", file=sys.stderr, flush=True)


def save(work: Path, costs: Costs) -> None:
    kept = {
        step: {count: [asdict(cost) for cost in turns] for count, turns in counts.items()}
        for step, counts in costs.items()
    }
    (work / "costs.json").write_text(json.dumps(kept, indent=1))


def load(work: Path) -> Costs:
    file = work / "costs.json"
    kept = json.loads(file.read_text()) if file.is_file() else {}
    return {
        step: {int(count): [Cost(**cost) for cost in turns] for count, turns in counts.items()}
        for step, counts in kept.items()
    }


def middle(turns: list[Cost]) -> Cost:
    """Return the medians of the turns."""
    return Cost(
        *(median(getattr(cost, field) for cost in turns) for field in ("seconds", "cpu_seconds", "peak_mib"))
    )


def exponent(counts: dict[int, list[Cost]]) -> str:
    """Return the exponent of CPU seconds with its interval, as text; empty for fewer than 3 counts."""
    if len(counts) < 3:
        return ""
    least, *_, less, most = sorted(counts)
    start = median(cost.cpu_seconds for cost in counts[least])
    pairs = zip(counts[less], counts[most], strict=False)
    try:
        growth = [log((big.cpu_seconds - start) / (small.cpu_seconds - start)) for small, big in pairs]
        growth = [value / log((most - least) / (less - least)) for value in growth]
        half = student.ppf(0.975, len(growth) - 1) * stdev(growth) / sqrt(len(growth))
    except (ValueError, StatisticsError):
        return ""
    return f"exponent {mean(growth):.2f} ({mean(growth) - half:.2f} to {mean(growth) + half:.2f})"


def table(step: str, counts: dict[int, list[Cost]]) -> list[str]:
    """Return the lines of a step; "over" names what is not linear or not flat."""
    lines: list[str] = []
    before: tuple[int, Cost] | None = None
    slope = cpu_slope = 0.0
    for count, cost in sorted((count, middle(turns)) for count, turns in counts.items()):
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
        lines.append(
            f"{step:18}{'(million)':>10}{seconds:>10.0f}{cpu:>10.0f}{1e3 * cpu / MILLION:>11.2f}"
            f"{'':12}{exponent(counts)}"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for everything; kept")
    parser.add_argument("--counts", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument(
        "--drawn", type=int, default=10_000, help="phantoms that are drawn, the rest is links"
    )
    parser.add_argument("--turns", type=int, default=1, help="measurements of each step")
    parser.add_argument(
        "--steps", nargs="+", choices=STEPS, default=STEPS, help="the others must be measured"
    )
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    drawn = drawn_phantoms(arguments.work, arguments.drawn)
    costs = load(arguments.work)
    for count in arguments.counts:
        measure(arguments.work, drawn, count, costs, turns=arguments.turns, chosen=set(arguments.steps))
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"Python {platform.python_version()}"
    )
    print(f"{'':18}{'images':>10}{'seconds':>10}{'CPU s':>10}{'CPU ms/im':>11}{'MiB':>10}")
    for step, counts in costs.items():
        measured = {count: turns for count, turns in counts.items() if turns}
        print("\n".join(table(step, measured)))


if __name__ == "__main__":
    main()
