"""How fast images in random order come from a disk, with and without saying beforehand which are wanted.

    python bench/cold_store.py STORE [--batches 30] [--batch 256] [--rounds 3]

For a large store (some GB: a small one is read ahead whole) and the administrator, since each measurement
begins by emptying the page cache. Medians of interleaved rounds:

- ordered: images one after the other, the most that the disk gives;
- random: as `Store.pixels` alone reads them;
- announced: the same, after `Store.expect` of the batch four steps ahead, as training does it.
"""

import argparse
import os
import platform
import statistics
import time
from pathlib import Path

import numpy as np

from thorax.store import Store, open_store

AHEAD = 4


def forget() -> None:
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def rate(store: Store, batches: np.ndarray, *, announced: bool) -> float:
    forget()
    start = time.perf_counter()
    if announced:
        for soon in batches[:AHEAD]:
            store.expect(soon)
    for step, rows in enumerate(batches):
        if announced and step + AHEAD < len(batches):
            store.expect(batches[step + AHEAD])
        store.pixels(rows)
    return batches.size / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--batches", type=int, default=30)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    store = open_store(arguments.store)
    count = arguments.batches * arguments.batch
    shape = (arguments.batches, arguments.batch)
    rates: dict[str, list[float]] = {"ordered": [], "random": [], "announced": []}
    for round_number in range(arguments.rounds):
        order = np.random.default_rng(round_number).permutation(len(store))[:count].reshape(shape)
        rates["ordered"].append(rate(store, np.arange(count).reshape(shape), announced=False))
        rates["random"].append(rate(store, order, announced=False))
        rates["announced"].append(rate(store, order, announced=True))
    size = store.preparation.size**2
    print(f"{len(store):,} images of {store.preparation.size} pixels, {platform.platform()}")
    print("| images in | images/s | MB/s |\n| --- | --- | --- |")
    for name, found in rates.items():
        median = statistics.median(found)
        print(f"| {name} | {median:,.0f} | {median * size / 1e6:,.0f} |")


if __name__ == "__main__":
    main()
