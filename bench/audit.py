"""How long `thorax audit` looks for copies among 112,120 images, which copies it finds, and how sure it is.

    python bench/audit.py [SAMPLE] [--size 112] [--rows 112120] [--fit] [--changes] [--time]

SAMPLE is a folder in NIH's layout with part of the images; without one, phantoms are drawn, which are far
more alike than radiographs. Three tables, all of them by default:

--changes  Of 20 images spread over the sample, how many changed copies are found among the others, how many
           are only listed to be looked at, and the lowest scores.
--fit      The highest scores of pairs of different patients, a generalized Pareto distribution fitted to them
           (probability-weighted moments), and how many pairs it expects by chance among NIH's.
--time     Seconds of the whole search, to stay below 300. Read are the sample's images, hard-linked under new
           names until there are `--rows` of them and prepared once. As all copies of an image are equal, the
           search itself goes through fingerprints drawn from the sample's mean and covariance, and what it
           registers are the sample's images.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from thorax.auditing.copies import Whitening, find_candidates, find_copies, fit_whitening, registered
from thorax.auditing.descriptions import fit_space
from thorax.auditing.duplicates import SAME_PICTURE, WORTH_A_LOOK
from thorax.auditing.fingerprints import Fingerprints, take_fingerprints, thumbnails
from thorax.datasets.nih import read_nih
from thorax.datasets.phantom import write_phantoms
from thorax.datasets.splits import NIH_IMAGES
from thorax.datasets.table import patient_codes
from thorax.recipe.schema import Preparation
from thorax.store import Store, build_store, open_store

NIH_PAIRS = NIH_IMAGES * (NIH_IMAGES - 1) / 2
TAILS = (100, 200, 400)


def prepared(source: Path, out: Path, size: int) -> Store:
    build_store(read_nih(source), out, Preparation(size=size))
    return open_store(out)


def turned(pixels: np.ndarray, degrees: float) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).rotate(degrees, Image.Resampling.BILINEAR))


def cropped(pixels: np.ndarray, share: float) -> np.ndarray:
    cut = len(pixels) * (1 - share) / 2
    box = (cut, cut, len(pixels) - cut, len(pixels) - cut)
    return np.asarray(Image.fromarray(pixels).resize(pixels.shape[::-1], Image.Resampling.BILINEAR, box=box))


def shifted(pixels: np.ndarray, right: int) -> np.ndarray:
    return np.pad(pixels, ((0, 0), (right, 0)))[:, : pixels.shape[1]]


def noisy(pixels: np.ndarray, deviation: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, deviation, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mirrored": lambda pixels: pixels[:, ::-1],
    "turned by 2 degrees": lambda pixels: turned(pixels, 2),
    "turned by 5 degrees": lambda pixels: turned(pixels, 5),
    "turned by -5 degrees": lambda pixels: turned(pixels, -5),
    "cropped to 90 %": lambda pixels: cropped(pixels, 0.9),
    "shifted by 4 pixels": lambda pixels: shifted(pixels, 4),
    "shifted by 9 pixels": lambda pixels: shifted(pixels, 9),
    "inverted": lambda pixels: 255 - pixels,
    "mirrored, inverted, turned by 5": lambda pixels: 255 - turned(pixels[:, ::-1], 5),
    "turned by 5, cropped to 90 %": lambda pixels: cropped(turned(pixels, 5), 0.9),
    "brightness": lambda pixels: (pixels * 0.8 + 30).astype(np.uint8),
    "gamma 1.4": lambda pixels: (255 * (pixels / 255.0) ** 1.4 + 0.5).astype(np.uint8),
    "noise of 5 gray levels": lambda pixels: noisy(pixels, 5),
    "noise of 10 gray levels": lambda pixels: noisy(pixels, 10),
}


def report_changes(source: Path, store: Store) -> None:
    """Print how many of 20 copies are found: changed at the source's size, then shrunk to the store's."""
    size, images = store.preparation.size, store.table.images
    rows = np.linspace(3, len(store) - 4, 20).astype(np.int64)
    files = [source / "images" / images[row] for row in rows]
    originals = [np.asarray(Image.open(file).convert("L")) for file in files]
    patients = patient_codes(store.table)
    everyone = np.concatenate([patients, patients.max() + 1 + np.arange(20)])
    print(f"of 20 copies among {len(store):,} images of {size} pixels: found, to look at, lowest scores")
    for name, change in CHANGES.items():
        changed = [Image.fromarray(np.ascontiguousarray(change(pixels))) for pixels in originals]
        copies = np.stack([np.asarray(copy.resize((size, size), Image.Resampling.BOX)) for copy in changed])

        def read(wanted: np.ndarray, copies: np.ndarray = copies) -> np.ndarray:
            own = store.pixels(np.minimum(wanted, len(store) - 1))
            of_copies = copies[np.maximum(wanted - len(store), 0)]
            return np.where((wanted < len(store))[:, None, None], own, of_copies)

        prints = take_fingerprints(read, len(everyone))
        found = find_copies(prints, np.arange(len(everyone)), everyone, read)
        sides = zip(found.pairs.moving.tolist(), found.pairs.fixed.tolist(), strict=True)
        score = dict(zip(map(frozenset, sides), found.scores.tolist(), strict=True))
        own = np.array([score.get(frozenset((int(row), len(store) + k)), -1) for k, row in enumerate(rows)])
        sure, look = int((own >= SAME_PICTURE).sum()), int((own >= WORTH_A_LOOK).sum())
        print(f"  {name:34} {sure:2} {look - sure:2}  {np.sort(own)[:3].round(2).tolist()}", flush=True)


def report_fit(store: Store) -> None:
    """Print the highest scores of different patients' pairs, and what they say about many more pairs."""
    patients, rows = patient_codes(store.table), np.arange(len(store))
    prints = take_fingerprints(store.pixels, len(store))
    some = thumbnails(store.pixels(np.linspace(0, len(store) - 1, 300).astype(np.int64)))
    candidates = find_candidates(prints, rows, patients, fit_space(some), most=20_000)
    whitening: Whitening = fit_whitening(some)
    pieces = [candidates.take(slice(start, start + 256)) for start in range(0, len(candidates), 256)]
    scores = np.concatenate([registered(piece, whitening, store.pixels)[0] for piece in pieces])
    ordered = np.sort(scores.astype(np.float64))[::-1]
    counts = np.unique(patients, return_counts=True)[1].astype(np.int64)
    pairs = (len(store) ** 2 - int((counts**2).sum())) / 2
    print(f"{pairs:,.0f} pairs of different patients, {len(scores):,} registered; highest scores:")
    print(" ", ", ".join(f"{ordered[rank - 1]:.3f} ({rank})" for rank in (1, 2, 3, 5, 10, 30, 100, 300)))
    for tail in TAILS:
        threshold, excess = ordered[tail], ordered[:tail] - ordered[tail]
        shape, scale = pareto(excess)
        level = threshold + scale / shape * ((NIH_PAIRS * tail / pairs) ** shape - 1)
        straight = threshold + excess.mean() * np.log(NIH_PAIRS * tail / pairs)
        print(
            f"  highest {tail}: shape {shape:.3f}, scale {scale:.4f}; one pair expected among NIH's "
            f"{NIH_PAIRS:.2g} above {level:.3f} (with shape 0, as a bound, above {straight:.3f})"
        )


def pareto(excess: np.ndarray) -> tuple[float, float]:
    """Return shape and scale of a generalized Pareto distribution (Hosking and Wallis 1987)."""
    ordered = np.sort(excess)
    position = (np.arange(1, len(ordered) + 1) - 0.35) / len(ordered)
    first, second = ordered.mean(), ((1 - position) * ordered).mean()
    return 2 - first / (first - 2 * second), 2 * first * second / (first - 2 * second)


def linked(source: Path, folder: Path, count: int) -> Path:
    """Return a folder with `count` images: the sample's, hard-linked under new names and patients."""
    table = pd.read_csv(next(source.glob("Data_Entry_2017_v2020.csv*")))
    files = sorted((source / "images").iterdir())
    (folder / "images").mkdir(parents=True)
    names = [f"9{number // 4:010d}_{number % 4:03d}.png" for number in range(count)]
    for number, name in enumerate(names):
        (folder / "images" / name).hardlink_to(files[number % len(files)])
    some = table.iloc[[0] * count].copy()
    some["Image Index"] = names
    some["Patient ID"] = [int(name[:11]) for name in names]
    some.to_csv(folder / "Data_Entry_2017_v2020.csv", index=False)
    (folder / "train_val_list.txt").write_text("\n".join(names))
    return folder


def report_time(sample: Store, many: Store) -> None:
    """Print wall and processor seconds of fingerprints, search and registration."""
    start, used = time.perf_counter(), time.process_time()
    take_fingerprints(many.pixels, len(many))
    read_s, read_used = time.perf_counter() - start, time.process_time() - used
    prints = drawn(take_fingerprints(sample.pixels, len(sample)), len(many))
    rows = np.arange(len(many))
    start, used = time.perf_counter(), time.process_time()
    found = find_copies(prints, rows, rows, lambda wanted: sample.pixels(wanted % len(sample)))
    search_s, search_used = time.perf_counter() - start, time.process_time() - used
    print(
        f"{len(many):,} images of {many.preparation.size} pixels on {os.cpu_count()} cores (load before: "
        f"{os.getloadavg()[1]:.1f}): fingerprints {read_s:.0f} s ({read_used:.0f} of processor time), search "
        f"among {found.compared:,} pairs and registration of {len(found.pairs):,}: {search_s:.0f} s "
        f"({search_used:.0f}); together {read_s + search_s:.0f} s (to stay below 300)"
    )


def drawn(prints: Fingerprints, count: int) -> Fingerprints:
    """Return fingerprints drawn from a normal distribution with the mean and covariance of these."""
    known = prints.descriptions.reshape(len(prints.blank), -1).astype(np.float64)
    size, axes = np.linalg.eigh(np.cov(known.T))
    root = (axes * np.sqrt(np.maximum(size, 0))).T.astype(np.float32)
    random = np.random.default_rng(0)
    made = np.empty((count, known.shape[1]), np.float16)
    for start in range(0, count, 4096):
        noise = random.standard_normal((min(4096, count - start), known.shape[1]), np.float32)
        made[start : start + 4096] = noise @ root + known.mean(axis=0).astype(np.float32)
    shape = (count, *prints.descriptions.shape[1:])
    return replace(
        prints,
        content=np.arange(count, dtype=np.uint64),
        descriptions=made.reshape(shape),
        blank=np.zeros(count, bool),
    )


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("sample", type=Path, nargs="?")
    arguments.add_argument("--size", type=int, default=112)
    arguments.add_argument("--rows", type=int, default=NIH_IMAGES)
    for table in ("--fit", "--changes", "--time"):
        arguments.add_argument(table, action="store_true")
    given = arguments.parse_args()
    every = not (given.fit or given.changes or given.time)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.sample is None:
            write_phantoms(folder / "phantoms", patients=100, size=256)
        source = given.sample or folder / "phantoms"
        store = prepared(source, folder / "store", given.size)
        if given.changes or every:
            report_changes(source, store)
        if given.fit or every:
            report_fit(store)
        if given.time or every:
            copies = linked(source, folder / "linked", given.rows)
            report_time(store, prepared(copies, folder / "many", given.size))


if __name__ == "__main__":
    main()
