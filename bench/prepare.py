"""How fast `prepare` is beside Pillow's bare decoding of the same files, on one core and on two.

    python bench/prepare.py [--images FOLDER] [--repeat 100] [--rounds 3]

Without --images, phantoms of 1024 pixels are drawn; each file is used --repeat times under other names.
`prepare` is timed end to end: listing, worker start, hashing, decoding, resizing, writing with fsync,
table. Prints one table: medians of interleaved rounds, and the ratios to one core of bare decoding.
On a busy machine the column of CPU time says more than that of the clock.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import PIL
from rows import Row, environment, print_rows

from thorax.datasets.phantom import write_phantoms
from thorax.datasets.sources import read_folder
from thorax.datasets.table import Source
from thorax.recipe.schema import Preparation
from thorax.store import build_store

SIZES = {256: 0.95, 224: 0.88}
"""What is to be reached for each size, as a part of bare decoding."""

DECODE = "import sys; from PIL import Image\nfor path in sys.argv[1:]: Image.open(path).load()"


def make_source(images: list[Path], repeat: int, root: Path) -> Source:
    """Return a data set that has each image `repeat` times, as copies of their own."""
    root.mkdir()
    lines = ["path,Mass"]
    for turn in range(repeat):
        for image in images:
            name = f"{turn:04d}_{image.name}"
            shutil.copy(image, root / name)
            lines.append(f"{name},0")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return read_folder(root / "labels.csv")


def decode(source: Source, processes: int) -> None:
    """Open and load every file with Pillow, shared out among fresh processes."""
    paths = [str(source.root / path) for path in source.table.frame["path"]]
    crew = [
        subprocess.Popen([sys.executable, "-c", DECODE, *paths[part::processes]]) for part in range(processes)
    ]
    assert not any(process.wait() for process in crew)


def prepare(source: Source, out: Path, size: int, workers: int) -> None:
    build_store(source, out, Preparation(size=size), workers=workers)
    shutil.rmtree(out)


def cpu_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measure(jobs: dict[str, Callable[[], None]], rounds: int) -> dict[str, tuple[float, float]]:
    """Return the median seconds of clock and of CPU of each job; rounds are interleaved."""
    clock: dict[str, list[float]] = {name: [] for name in jobs}
    cpu: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            start, start_cpu = time.perf_counter(), cpu_seconds()
            job()
            clock[name].append(time.perf_counter() - start)
            cpu[name].append(cpu_seconds() - start_cpu)
    return {name: (statistics.median(clock[name]), statistics.median(cpu[name])) for name in jobs}


def rows(folder: Path, *, sizes: dict[int, float], repeat: int, rounds: int) -> list[Row]:
    """Return the table's rows on `prepare`.

    Args:
        folder: Holds PNG files.
        sizes: What is to be reached for each size, as a part of bare decoding on one core.
        repeat: Copies of each file.
        rounds: Interleaved.
    """
    with tempfile.TemporaryDirectory() as scratch:
        source = make_source(sorted(folder.rglob("*.png")), repeat, Path(scratch, "source"))
        out, count = Path(scratch, "store"), len(source.table)
        jobs: dict[str, Callable[[], None]] = {"decode 1": lambda: decode(source, 1)}
        for size in sizes:
            jobs[f"{size} 1"] = partial(prepare, source, out, size, 1)
        first = next(iter(sizes))
        jobs |= {"decode 2": lambda: decode(source, 2), f"{first} 2": lambda: prepare(source, out, first, 2)}
        found = measure(jobs, rounds)
    bare, cpu = found["decode 1"]
    against = f"Pillow decoding, one process ({folder.name})"
    two, decoding_two = found[f"{first} 2"][0], found["decode 2"][0]
    return [
        *(
            Row.rate(
                f"`prepare --size {size}`, one worker", against, count / found[f"{size} 1"][0], count / bare,
                reach=reach,
            )
            for size, reach in sizes.items()
        ),
        Row.note(
            f"`prepare --size {first}`: CPU of decoding over its own",
            f"{cpu / found[f'{first} 1'][1]:.2f} ({1e3 * cpu / count:.2f} ms an image to decode)",
        ),
        Row.note(
            f"`prepare --size {first}`, two workers",
            f"{bare / two:.2f} of one decoding process; two of those: {bare / decoding_two:.2f}",
        ),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, help="folder with PNG files; phantoms if not given")
    parser.add_argument("--repeat", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    print(environment(), f"Pillow {PIL.__version__}, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.images or write_phantoms(Path(scratch), patients=4, size=1024).folder
        print_rows(rows(folder, sizes=SIZES, repeat=asked.repeat, rounds=asked.rounds))


if __name__ == "__main__":
    main()
