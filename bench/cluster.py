"""Two Ray nodes of one core each, beside two workers of one machine: images/s of `prepare` and `predict`.

    python bench/cluster.py [--images 1200] [--rounds 3] [--jobs prepare predict]

Phantoms of 1024 pixels are prepared in shards of 64, and predicted with the starter. The rate is that between
the first and the last report of progress, so starting Ray and opening the model do not count: they take
seconds, once. Rounds are interleaved, and medians are shown. The command, the processes of the nodes and the
workers share the same cores, which nodes of their own would not. It needs Ray, and permission for a network
of its own (`unshare -rn`).
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rows import Row, environment, print_rows

from thorax.cluster import Cluster
from thorax.datasets.phantom import write_phantoms
from thorax.datasets.sources import read_folder
from thorax.recipe.schema import Preparation
from thorax.store.build import build
from thorax.store.plan import Settings
from thorax.workflows.model import load

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.helpers.node import isolated
from tests.helpers.nodes import two_nodes

TARGET = 0.85
JOBS = ("prepare", "predict")
DRAWN = 12
SHARD = 64

Job = Callable[[Path, Cluster | None, Callable[[int], None]], object]


def write_images(folder: Path, count: int) -> None:
    """Draw some phantoms and copy them, as files of their own, with their CSV."""
    write_phantoms(folder / "drawn", patients=DRAWN, size=1024)
    drawn = sorted((folder / "drawn").rglob("*.png"))
    (folder / "images").mkdir()
    names = [f"{number:05d}.png" for number in range(count)]
    for number, name in enumerate(names):
        shutil.copy(drawn[number % len(drawn)], folder / "images" / name)
    lines = [f"{name},0" for name in names]
    (folder / "images" / "labels.csv").write_text("\n".join(["path,Mass", *lines, ""]))


def jobs(images: Path) -> dict[str, Job]:
    """Return what is measured, by name."""
    source = read_folder(images / "labels.csv")
    settings = Settings(preparation=Preparation(size=224), shard_rows=SHARD)
    model = load()

    def prepare(out: Path, cluster: Cluster | None, done: Callable[[int], None]) -> None:
        build(source, out, settings, workers=2, cluster=cluster, progress=lambda count, _all: done(count))

    def predict(out: Path, cluster: Cluster | None, done: Callable[[int], None]) -> None:
        model.predict_folder(images, out, cluster=cluster, progress=lambda now: done(now.done))

    return {"prepare": prepare, "predict": predict}


def rate(job: Job, out: Path, cluster: Cluster | None) -> float:
    """Return the images/s of a job between its first and last progress."""
    seen: list[tuple[float, int]] = []
    job(out, cluster, lambda count: seen.append((time.perf_counter(), count)))
    shutil.rmtree(out)
    (begun, first), (ended, last) = seen[0], seen[-1]
    return (last - first) / (ended - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=1200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=JOBS)
    options = parser.parse_args()
    if os.environ.get("THORAX_ISOLATED") != "1":
        paths = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        words = [*isolated(), sys.executable, *sys.argv]  # type: ignore[no-untyped-call]
        sys.exit(subprocess.run(words, env=os.environ | {"PYTHONPATH": paths}, check=False).returncode)
    print(environment())
    with tempfile.TemporaryDirectory() as folder, two_nodes() as nodes:
        write_images(Path(folder), options.images)
        cluster, out = Cluster(address=nodes.address), Path(folder, "out")
        rows = []
        of_name = jobs(Path(folder, "images"))
        for name in options.jobs:
            job = of_name[name]
            rates: dict[bool, list[float]] = {True: [], False: []}
            for _ in range(options.rounds):
                for over in (True, False):
                    rates[over].append(rate(job, out, cluster if over else None))
            ours, theirs = statistics.median(rates[True]), statistics.median(rates[False])
            rows.append(
                Row.rate(f"`{name}` over two Ray nodes", "two workers here", ours, theirs, reach=TARGET)
            )
    print_rows(rows)


if __name__ == "__main__":
    main()
