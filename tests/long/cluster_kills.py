"""A Ray node is killed at a random moment while units are done: the result is that of one machine.

`make kills`, or `python -m tests.long.cluster_kills --count 10 --seed 7`. It needs Ray, and no other network.
"""

import argparse
import random
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.helpers.chest import chest
from tests.helpers.nodes import Nodes, two_nodes
from tests.long.kills import compare, every_file
from tests.long.own_network import enter_own_network

Work = Callable[[Path, Any], object]


def write_images(folder: Path) -> None:
    """Write 240 radiographs with noise, and their CSV."""
    folder.mkdir()
    draws, real, lines = np.random.default_rng(0), chest(300).astype(int), ["path,patient,Mass"]
    for number in range(240):
        noisy = np.clip(real + draws.integers(-9, 10, real.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{number:03d}.png")
        lines.append(f"{number:03d}.png,p{number // 2},{number % 2}")
    (folder / "labels.csv").write_text("\n".join([*lines, ""]))


def preparing(images: Path) -> Work:
    from thorax.datasets.sources import read_folder
    from thorax.recipe.schema import Preparation
    from thorax.store.build import build
    from thorax.store.plan import Settings

    source = read_folder(images / "labels.csv")
    settings = Settings(preparation=Preparation(size=64), shard_rows=20)
    return lambda out, cluster: build(source, out, settings, workers=1, cluster=cluster)


def predicting(images: Path) -> Work:
    import thorax

    model = thorax.load()
    return lambda out, cluster: model.predict_folder(images, out, cluster=cluster)


def kill_once(nodes: Nodes, moment: float, work: Callable[[], object]) -> None:
    """Do some work, kill a node after some seconds, and start another one."""
    timer = threading.Timer(moment, nodes.kill)
    timer.start()
    try:
        work()
    finally:
        timer.join()
    nodes.add()


def main(arguments: Sequence[str] | None = None) -> None:
    """Kill as the arguments say, and print how often and the seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    enter_own_network("tests.long.cluster_kills", arguments)
    from thorax.cluster import GIB, Cluster

    moments, began = random.Random(options.seed), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kills-ray-") as folder, two_nodes() as nodes:
        images, cluster = Path(folder, "images"), Cluster(address=nodes.address, memory=GIB)
        write_images(images)
        for kind, make in (("prepare", preparing), ("predict", predicting)):
            work, expected = make(images), Path(folder, kind)
            work(expected, None)
            begun = time.monotonic()
            work(Path(folder, f"{kind}-whole"), cluster)
            duration = time.monotonic() - begun
            for number in range(options.count):
                out = Path(folder, f"{kind}-{number}")
                moment = moments.uniform(0.1, 0.9) * duration
                kill_once(nodes, moment, lambda out=out, work=work: work(out, cluster))  # type: ignore[misc]
                compare(kind, every_file(out), every_file(expected), out)
            print(f"{kind}: {options.count} nodes killed (seed {options.seed})", flush=True)
    print(f"each result equal to that of one machine; {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
