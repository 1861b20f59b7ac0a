"""A node with eight senders, beside one process that makes the same results from files.

    python bench/node.py [--bundle starter] [--objects 200] [--rounds 3] [--side 1024]
    python bench/node.py --memory --objects 2000

Both read, predict, explain and build the objects of the same radiographs of 12 bits, with as many threads as
there are cores. Senders, node and archive (DCMTK's storescp) share the machine, which the other process has
for itself. Rounds are interleaved, and the ratio is that of medians.

- rate: images/s from the first one sent until the last result was taken, to images/s of the other process;
- steps: milliseconds of each step of an image in the node, from its metrics;
- memory: anonymous memory of the node, the mean over its last quarter of objects to that over the second one;
  with --objects 2000, of the last 500 to that of objects 500 to 1,000. With --memory this alone is measured.
"""

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from rows import Row, print_rows
from serve import memory

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.helpers.node import Node, image, program, received, running_node, storescp

SENDERS = 8

OTHER = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from thorax import starter
from thorax.hardware import num_threads
from thorax.pacs.finishing import encoded
from thorax.pacs.maker import open_maker
from thorax.workflows.model import load

maker = open_maker(load(sys.argv[1]).predictor)
paths = sorted(Path(sys.argv[2]).iterdir())

def make(path):
    return [encoded(dataset) for dataset in maker.results(path.read_bytes(), path.name).objects]

make(paths[0])
with ThreadPoolExecutor(num_threads()) as pool:
    began = time.perf_counter()
    for _ in pool.map(make, paths):
        pass
    print(len(paths) / (time.perf_counter() - began), flush=True)
"""


def write_images(folder: Path, count: int, side: int) -> list[Path]:
    """Write different radiographs."""
    folder.mkdir()
    paths = []
    for number in range(1, count + 1):
        _, content = image(number, side=side)
        paths.append(folder / f"{number:05d}.dcm")
        paths[-1].write_bytes(content)
    return paths


def alone(bundle: str, folder: Path) -> float:
    """Return images/s of one process."""
    done = subprocess.run(
        [sys.executable, "-c", OTHER, bundle, str(folder)], capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def sent_objects(node: Node) -> int:
    """Return how many objects the node has done with."""
    found = re.search(r'thorax_node_objects\{state="sent"\} (\d+)', node.get("/metrics")[1])
    return int(found[1]) if found else 0


def steps(node: Node) -> dict[str, float]:
    """Return the mean milliseconds of each step."""
    text = node.get("/metrics")[1]
    sums = dict(re.findall(r'step_seconds_sum\{step="(\w+)"\} ([\d.]+)', text))
    counts = dict(re.findall(r'step_seconds_count\{step="(\w+)"\} (\d+)', text))
    return {step: 1000 * float(sums[step]) / int(counts[step]) for step in sums}


def through_a_node(
    bundle: str, work: Path, paths: Sequence[Path]
) -> tuple[float, dict[str, float], list[int]]:
    """Return images/s, the steps, and memory at each tenth of the objects."""
    for folder in ("queue", "pacs"):
        shutil.rmtree(work / folder, ignore_errors=True)
    with storescp(work / "pacs") as pacs:
        options = ("--forward", f"PACS@127.0.0.1:{pacs}")
        with (
            running_node(work / "queue", *options, bundle=bundle) as node,
            ThreadPoolExecutor(SENDERS) as pool,
        ):
            began = time.perf_counter()
            sending = [pool.submit(_send, node.port, paths[first::SENDERS]) for first in range(SENDERS)]
            memories: list[int] = []
            while (done := sent_objects(node)) < len(paths):
                if done * 40 >= len(memories) * len(paths):
                    memories.append(memory(node.process.pid))
                time.sleep(0.1)
            seconds = time.perf_counter() - began
            for one in sending:
                one.result()
            taken = steps(node)
            node.end()
    if len(received(work / "pacs")) < len(paths):
        raise SystemExit("the archive does not have every result")
    return len(paths) / seconds, taken, memories


def _send(port: int, paths: Sequence[Path]) -> None:
    words = [program("storescu"), "-aec", "THORAX", "-aet", "TEST", "127.0.0.1", str(port)]
    for first in range(0, len(paths), 100):
        subprocess.run([*words, *map(str, paths[first : first + 100])], check=True)


def rates(bundle: str, work: Path, paths: Sequence[Path], rounds: int) -> tuple[list[Row], list[int]]:
    """Return the rows of the rate and the steps, and the memory of the last round."""
    own: list[float] = []
    others: list[float] = []
    taken: dict[str, float] = {}
    memories: list[int] = []
    for _ in range(rounds):
        others.append(alone(bundle, work / "images"))
        rate, taken, memories = through_a_node(bundle, work, paths)
        own.append(rate)
    ours, theirs = statistics.median(own), statistics.median(others)
    both, ratio = f"{ours:.2f} / {theirs:.2f} images/s", ours / theirs
    rows = [Row("node, eight senders", "one process, from files", both, f"{ratio:.2f}", "0.8", ratio >= 0.8)]
    rows += [Row.note(f"step {step}", f"{milliseconds:.1f} ms") for step, milliseconds in taken.items()]
    return rows, memories


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", default="starter")
    parser.add_argument("--objects", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--memory", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="node-") as folder:
        work = Path(folder)
        paths = write_images(work / "images", options.objects, options.side)
        rows, memories = (
            ([], through_a_node(options.bundle, work, paths)[2])
            if options.memory
            else rates(options.bundle, work, paths, options.rounds)
        )
    quarter = len(memories) // 4
    early, late = np.mean(memories[quarter : 2 * quarter]), np.mean(memories[-quarter:])
    measured = f"{late / 2**20:.0f} / {early / 2**20:.0f} MB"
    rows.append(
        Row.limit("memory, last quarter of objects", measured, float(late / early), unit="x", below=1.05)
    )
    print_rows(rows)


if __name__ == "__main__":
    main()
