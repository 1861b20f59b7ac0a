"""Whether the memory of `train` stays flat in the number of images.

    python bench/memory_train.py [--images 1000 10000]

Prints the peak of anonymous memory (RssAnon; the mapped pages of the store do not count) of a short run with
a tiny net on each number of phantoms, and their ratio. The figure to stay below is 1.1.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from thorax.datasets.phantom import write_phantoms
from thorax.datasets.source import open_source
from thorax.datasets.splits import registered_sha256
from thorax.recipe.schema import Preparation, Recipe
from thorax.store import build_store, open_store

IMAGES_PER_PATIENT = 3.5
MINUTES = 20


def make_store(folder: Path, images: int) -> Path:
    write_phantoms(folder / "phantoms", patients=round(images / IMAGES_PER_PATIENT), size=64)
    source = open_source(folder / "phantoms")
    sums = registered_sha256(source.whole, source.dataset)
    build_store(source, folder / "store", Preparation(size=64), split_sha256=sums)
    return folder / "store"


def train_here(store: Path) -> None:
    from thorax.training import train  # noqa: PLC0415  (torch only in the process that is measured)

    recipe = Recipe.model_validate(
        {
            "name": "memory",
            "summary": "A tiny net, two short epochs.",
            "data": {"split": "folder-official"},
            "store": {"size": 64},
            "model": {"backbone": "resnet10t", "arguments": {"channels": [8, 8, 8, 8]}, "input_size": 32},
            "augment": {"flip": 0.5, "rotate": 10},
            "training": {"epochs": 2, "batch_size": 32},
        }
    )
    train(recipe, open_store(store), store.parent / "run")


def peak_megabytes(store: Path) -> float:
    process = subprocess.Popen([sys.executable, __file__, "--train", str(store)])
    peak, until = 0, time.monotonic() + 60 * MINUTES
    while process.poll() is None and time.monotonic() < until:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        except ProcessLookupError:
            break
        found = [line for line in status.splitlines() if line.startswith("RssAnon")]
        peak = max([peak, *(int(line.split()[1]) for line in found)])
        time.sleep(0.02)
    if process.wait():
        raise SystemExit("the run failed")
    return peak / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs=2, default=[1000, 10000])
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.train:
        train_here(arguments.train)
        return
    peaks = []
    for images in arguments.images:
        with tempfile.TemporaryDirectory() as folder:
            store = make_store(Path(folder), images)
            peaks.append(peak_megabytes(store))
            print(f"{len(open_store(store)):7} images: {peaks[-1]:7.1f} MB of anonymous memory at most")
    print(f"ratio {peaks[1] / peaks[0]:.3f}  (to stay below: 1.1)")


if __name__ == "__main__":
    main()
