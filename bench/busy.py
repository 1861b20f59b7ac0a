"""What a command takes on cores that other work keeps busy, beside quiet ones, by settings of its threads.

    python bench/busy.py --data FOLDER [--turns 9] [--steps train predict evaluate] [--settings now before]

FOLDER has radiographs in NIH's layout. Each turn runs every step with every setting as a whole process, on
quiet cores and in the first `--busy-turns` beside as many endless loops as there are cores, in random order.
"now" is what Thorax sets by itself, "before" what libgomp does when nothing is set: it spins 300,000 times at
a barrier before it sleeps, and a thread that waits for one which has no core holds up the next for
milliseconds. Beside the loops that takes minutes, and is measured once.

Prints the median seconds; "busy rate" is the share of the quiet rate of the same setting that is left beside
the loops, where .5 would be fair; "quiet, to before" is the ratio of the rates with its 95 % interval over
the turns. Times mean nothing while anything else runs.
"""

import argparse
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

SETTINGS: dict[str, dict[str, str]] = {
    "before": {"GOMP_SPINCOUNT": "300000"},
    "now": {},
    "spin 1,000": {"GOMP_SPINCOUNT": "1000"},
    "spin 10,000": {"GOMP_SPINCOUNT": "10000"},
    "spin 30,000": {"GOMP_SPINCOUNT": "30000"},
    "spin 60,000": {"GOMP_SPINCOUNT": "60000"},
    "spin 100,000": {"GOMP_SPINCOUNT": "100000"},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
THREADS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
SLOW = ("before", True)
STEPS = ("train", "predict", "evaluate")
RESAMPLES = 10_000


def thorax(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "thorax", *map(str, arguments)]


def prepare(data: Path, work: Path) -> dict[str, list[str]]:
    """Make a store and a run, and return the command of each step; `{out}` does not exist yet."""
    store, run = work / "store", work / "run"
    short = ("--set", "training.epochs=2", "--set", "schedule.warmup_epochs=0")
    train = thorax("train", "small-cpu", "--store", store, "--out", "{out}", *short)
    images = work / "images"
    images.mkdir()
    for path in sorted((data / "images").iterdir())[:300]:
        (images / path.name).symlink_to(path.resolve())
    for command in (
        thorax("prepare", data, "--recipe", "small-cpu", "--out", store),
        [part.replace("{out}", str(run)) for part in train],
    ):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return {
        "train": train,
        "predict": thorax("predict", run, images, "--csv"),
        "evaluate": thorax("evaluate", run, "--store", store, "--out", "{out}"),
    }


@contextmanager
def loops(count: int) -> Iterator[None]:
    """Run endless loops of the same priority meanwhile."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    time.sleep(0.2 if count else 0)
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def seconds(command: list[str], setting: dict[str, str], *, busy: bool) -> float:
    """Return the seconds that a whole process takes."""
    environment = {name: value for name, value in os.environ.items() if name not in THREADS} | setting
    with tempfile.TemporaryDirectory() as folder, loops(len(os.sched_getaffinity(0)) if busy else 0):
        asked = [part.replace("{out}", f"{folder}/out") for part in command]
        start = time.perf_counter()
        subprocess.run(
            asked, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        return time.perf_counter() - start


def interval(ratios: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of the median, by resampling turns."""
    chosen = np.random.default_rng(0).integers(len(ratios), size=(RESAMPLES, len(ratios)))
    low, high = np.quantile(np.median(ratios[chosen], axis=1), [0.025, 0.975])
    return float(low), float(high)


def lines(step: str, times: dict[tuple[str, bool], list[float]]) -> Iterator[str]:
    """Yield a line of each setting."""
    for setting in dict.fromkeys(setting for setting, _ in times):
        quiet, busy = (np.array(times[setting, state]) for state in (False, True))
        line = f"{step:10}{setting:14}{np.median(quiet):9.1f}{np.median(busy):9.1f}"
        line += f"{np.median(quiet) / np.median(busy):11.2f}"
        if "before" in (known for known, _ in times) and setting != "before":
            ratios = np.array(times["before", False]) / quiet
            low, high = interval(ratios)
            line += f"{np.median(ratios):11.3f} ({low:.3f} to {high:.3f})"
        yield line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a folder in NIH's layout")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--busy-turns", type=int, default=3)
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=["before", "now"])
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    order = random.Random(asked.seed)
    work = Path(tempfile.mkdtemp(prefix="busy-"))
    try:
        commands = prepare(asked.data, work)
        kinds = [(setting, busy) for setting in asked.settings for busy in (False, True)]
        times: dict[str, dict[tuple[str, bool], list[float]]]
        times = {step: {kind: [] for kind in kinds} for step in asked.steps}
        for turn in range(asked.turns):
            # What is as long as minutes is measured once, what takes twice its time a few times.
            most = {
                kind: 1 if kind == SLOW else asked.busy_turns if kind[1] else asked.turns for kind in kinds
            }
            turns = [(step, kind) for step in asked.steps for kind in kinds if turn < most[kind]]
            for step, (setting, busy) in order.sample(turns, len(turns)):
                taken = seconds(commands[step], SETTINGS[setting], busy=busy)
                times[step][setting, busy].append(taken)
            print(f"turn {turn + 1} of {asked.turns}", file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(
        f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}, "
        f"Python {platform.python_version()}; {asked.turns} turns"
    )
    print(f"{'':10}{'':14}{'quiet s':>9}{'busy s':>9}{'busy rate':>11}{'quiet, to before':>18}")
    for step in asked.steps:
        print("\n".join(lines(step, times[step])))


if __name__ == "__main__":
    main()
