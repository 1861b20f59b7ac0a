"""How long `thorax audit` looks for duplicates among the 112,120 images of NIH ChestX-ray14.

    python bench/audit.py [--store STORE] [--patients 100] [--rounds 3]

Timed are fingerprints of a store's images and, with --store, the whole search among 112,120 images, none left
out: those of the store again and again, each copy rolled by two drawn numbers of pixels so that no two are
alike, made as they are read (which is in the time). Prints the seconds (to stay below 300), and how far
hashes of two patients are from one another and from those of changed copies. Without --store, phantoms are
drawn: they are far more alike than radiographs.
"""

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from thorax.auditing.duplicates import candidate_pairs, equal_pairs, near_pairs
from thorax.auditing.fingerprints import HASH_BITS, perceptual_hash, take_fingerprints, thumbnails
from thorax.datasets.nih import read_nih
from thorax.datasets.phantom import write_phantoms
from thorax.datasets.splits import NIH_IMAGES
from thorax.datasets.table import patient_codes
from thorax.recipe.schema import Preparation
from thorax.store import Store, build_store, open_store

SAMPLE = 400


def make_store(folder: Path, patients: int) -> Store:
    write_phantoms(folder / "source", patients=patients, size=256)
    build_store(read_nih(folder / "source"), folder / "store", Preparation(size=256))
    return open_store(folder / "store")


def seconds(job: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        job()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def whole_search(store: Store) -> tuple[float, float, int, int, int]:
    """Return seconds of fingerprints and of pairs, candidates, confirmed pairs, and those of one source."""
    random = np.random.default_rng(0)
    shifts = random.integers(0, store.preparation.size, (NIH_IMAGES, 2))

    def read(rows: np.ndarray) -> np.ndarray:
        images = store.pixels(rows % len(store))
        return np.stack(
            [np.roll(image, shift, (0, 1)) for image, shift in zip(images, shifts[rows], strict=True)]
        )

    start = time.perf_counter()
    prints = take_fingerprints(read, NIH_IMAGES)
    taken = time.perf_counter()
    equal = equal_pairs(prints, np.zeros(NIH_IMAGES, np.int64))
    candidates = list(candidate_pairs(prints, np.zeros(NIH_IMAGES, np.int64)))
    near = near_pairs(candidates, read)  # as if each image were of a patient of its own
    ended = time.perf_counter()
    pairs = np.concatenate([equal, near]) % len(store)
    of_one = int(np.sum(pairs[:, 0] == pairs[:, 1]))
    return taken - start, ended - taken, sum(map(len, candidates)), len(pairs), of_one


def distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.bitwise_count(first ^ second).sum(axis=-1)


def recompressed(pixels: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=30)
    return np.asarray(Image.open(file))


def darkened(pixels: np.ndarray) -> np.ndarray:
    return (255 * (pixels / 255.0) ** 1.3 + 0.5).astype(np.uint8)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--store", type=Path)
    arguments.add_argument("--patients", type=int, default=100)
    arguments.add_argument("--rounds", type=int, default=3)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(given.store) if given.store else make_store(Path(folder), given.patients)
        report(store, given.rounds, lookup=given.store is not None)


def report(store: Store, rounds: int, *, lookup: bool) -> None:
    count = len(store)
    prints = take_fingerprints(store.pixels, count)  # also brings the pixels into memory
    each = seconds(lambda: take_fingerprints(store.pixels, count), rounds) / count
    print(f"{count:,} images of {store.preparation.size} x {store.preparation.size} pixels")
    print(f"fingerprints: {1e3 * each:.3f} ms an image, {each * NIH_IMAGES:.1f} s for {NIH_IMAGES:,}")
    if lookup:
        prints_s, pairs_s, candidates, pairs, of_one = whole_search(store)
        print(
            f"all {NIH_IMAGES:,} images: fingerprints {prints_s:.1f} s, pairs {pairs_s:.1f} s, together "
            f"{prints_s + pairs_s:.1f} s (to stay below 300)"
        )
        print(f"candidates {candidates:,}, confirmed {pairs:,}, of one source image {of_one:,}")
    patients = patient_codes(store.table)
    first, second = np.triu_indices(min(count, 2000), 1)
    strangers = patients[first] != patients[second]
    nearest = distances(prints.perceptual[first], prints.perceptual[second])[strangers].min()
    print(f"nearest hashes of two patients: {nearest} of {HASH_BITS} bits")
    rows = np.linspace(0, count - 1, min(count, SAMPLE)).astype(np.int64)
    pixels = store.pixels(rows)
    for name, change in (("JPEG of quality 30", recompressed), ("gamma 1.3", darkened)):
        changed = np.stack([change(image) for image in pixels])
        bits = distances(prints.perceptual[rows], perceptual_hash(changed)[0])
        alike = np.einsum("nd,nd->n", thumbnails(pixels), thumbnails(changed))
        print(f"{name}: up to {bits.max()} bits, correlation from {alike.min():.3f} ({len(rows)} images)")
    looks = thumbnails(pixels)
    correlation = (looks @ looks.T)[patients[rows][:, None] != patients[rows]]
    print(f"thumbnails of two patients: correlation up to {correlation.max():.3f} ({len(rows)} images)")


if __name__ == "__main__":
    main()
