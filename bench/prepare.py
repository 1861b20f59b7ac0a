"""How fast `prepare` is beside Pillow's bare decoding of the same files, on one core and on two.

    python bench/prepare.py [--images FOLDER] [--repeat 100] [--rounds 3] [--size 256]

Without --images, phantoms of 1024 pixels are drawn; each file is used --repeat times under other names.
`prepare` is timed end to end: listing, worker start, hashing, decoding, resizing, writing with fsync,
table. Prints one table: medians of interleaved rounds, and the ratios to one core of bare decoding.
On a busy machine the column of CPU time says more than that of the clock.
"""

import argparse
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import PIL

from thorax.datasets.folder import read_folder
from thorax.datasets.phantom import write_phantoms
from thorax.datasets.table import Source
from thorax.recipe.schema import Preparation
from thorax.store import build_store

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--images", type=Path, help="folder with PNG files (default: phantoms of 1024 pixels)"
    )
    parser.add_argument("--repeat", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=256)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.images
        if folder is None:
            folder = Path(scratch, "phantoms", "images")
            write_phantoms(folder.parent, patients=4, size=1024)
        source = make_source(sorted(folder.glob("*.png")), asked.repeat, Path(scratch, "source"))
        out = Path(scratch, "store")
        jobs: dict[str, Callable[[], None]] = {
            "Pillow, decode only, 1 process": lambda: decode(source, 1),
            "Pillow, decode only, 2 processes": lambda: decode(source, 2),
            "prepare, 1 worker": lambda: prepare(source, out, asked.size, 1),
            "prepare, 2 workers": lambda: prepare(source, out, asked.size, 2),
        }
        medians = measure(jobs, asked.rounds)
    count, (clock, cpu) = len(source.table), next(iter(medians.values()))
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python "
        f"{platform.python_version()}, Pillow {PIL.__version__}; {count} files from {folder.name} to "
        f"{asked.size} px, medians of {asked.rounds} interleaved rounds"
    )
    print(f"{'':34}{'images/s':>9}{'rate':>7}{'CPU ms/image':>14}{'CPU rate':>10}")
    for name, (seconds, cpu_time) in medians.items():
        print(
            f"{name:34}{count / seconds:9.1f}{clock / seconds:7.2f}"
            f"{1e3 * cpu_time / count:14.2f}{cpu / cpu_time:10.2f}"
        )
    print("wanted: rate at least 0.90 with 1 worker and 1.80 with 2")


if __name__ == "__main__":
    main()
