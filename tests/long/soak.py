"""Predictions of one folder over and over: no memory, descriptor or process more at the end than early on.

`make soak`, or `python -m tests.long.soak --minutes 120`. The anonymous memory of the last third may be at
most 1.05 times that of the time from a sixth to a half, which are minutes 5 to 15 of half an hour. A run of
seconds is given more by --growth, since memory levels off only after some hundred images.
"""

import argparse
import io
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from PIL import Image
from pydicom.uid import JPEG2000Lossless

import thorax
from tests.helpers.chest import chest
from tests.helpers.dicom_writing import dataset, to_bytes
from thorax.imaging import image_files

WARMING = 6


@dataclass(frozen=True)
class Sample:
    """The state of this process after a pass through the folder."""

    seconds: float
    memory: int
    descriptors: int
    processes: int


def write_images(folder: Path, *, seed: int) -> None:
    """Write radiographs of several formats, and files that are refused."""
    draws = np.random.default_rng(seed)
    for number in range(4):
        taller = Image.fromarray(chest(512)).resize((512, 600 + 40 * number))
        pixels = np.asarray(taller).astype(np.uint16) * 16 + draws.integers(
            0, 16, taller.size[::-1], np.uint16
        )
        eight = (pixels >> 4).astype(np.uint8)
        Image.fromarray(eight).save(folder / f"{number}-8-bit.png")
        Image.fromarray(pixels * 16).save(folder / f"{number}-16-bit.png")
        stream = io.BytesIO()
        Image.fromarray(eight).save(stream, "jpeg")
        (folder / f"{number}.jpg").write_bytes(stream.getvalue())
        (folder / f"{number}-cut.jpg").write_bytes(stream.getvalue()[:5_000])
        plain = dataset(pixels, bits=12)
        (folder / f"{number}.dcm").write_bytes(to_bytes(plain))
        plain.compress(JPEG2000Lossless)
        packed = to_bytes(plain)
        (folder / f"{number}-jpeg2000.dcm").write_bytes(packed)
        (folder / f"{number}-cut.dcm").write_bytes(packed[: len(packed) // 2])
        (folder / f"{number}.txt").write_text("not an image")


def sample(began: float) -> Sample:
    """Look at this process."""
    status = Path("/proc/self/status").read_text()
    memory = next(line.split()[1] for line in status.splitlines() if line.startswith("RssAnon"))
    children = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that has just ended
            children.append((task / "children").read_text())
    return Sample(
        seconds=time.monotonic() - began,
        memory=int(memory) << 10,
        descriptors=len(list(Path("/proc/self/fd").iterdir())),
        processes=sum(len(text.split()) for text in children),
    )


def soak(folder: Path, *, seconds: float) -> tuple[list[Sample], Counter[str]]:
    """Predict the folder until the time is over, at least six times; return a sample of each pass.

    The first passes do not count: the decoders are opened and buffers grow to their size.
    """
    model, outcomes = thorax.load(), Counter[str]()
    samples: list[Sample] = []
    for _ in range(WARMING):
        list(model.predict_many(image_files([folder], failed=print)))
    began = time.monotonic()
    while len(samples) < 6 or samples[-1].seconds < seconds:
        files = image_files([folder], failed=print)
        outcomes.update(type(outcome).__name__ for outcome in model.predict_many(files))
        samples.append(sample(began))
    return samples, outcomes


def verdict(samples: Sequence[Sample], *, most: float) -> str:
    """Return what grew, in one line; stop with it if memory grew to more than `most` times.

    A descriptor or a process more than early on is too much as well.
    """
    whole = samples[-1].seconds
    early = [one for one in samples if whole / 6 <= one.seconds <= whole / 2]
    late = [one for one in samples if one.seconds > whole * 2 / 3]
    growth = fmean(one.memory for one in late) / fmean(one.memory for one in early)
    more = {
        name: max(getattr(one, name) for one in late) - max(getattr(one, name) for one in early)
        for name in ("descriptors", "processes")
    }
    said = (
        f"anonymous memory {fmean(one.memory for one in early) / 1e6:.1f} MB early, {growth:.3f} times that "
        f"at the end; {more['descriptors']:+} descriptors, {more['processes']:+} processes"
    )
    if growth > most or max(more.values()) > 0:
        raise SystemExit(f"soak: {said}: more than {most} times, or more than none")
    return said


def main(arguments: Sequence[str] | None = None) -> None:
    """Predict for some minutes, and print what was predicted and the seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--growth", type=float, default=1.05)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        write_images(Path(name), seed=options.seed)
        samples, outcomes = soak(Path(name), seconds=options.minutes * 60)
    counted = ", ".join(f"{count:,} {kind}" for kind, count in sorted(outcomes.items()))
    print(f"soak: {len(samples):,} passes in {samples[-1].seconds:.0f} s (seed {options.seed}): {counted}")
    print(f"soak: {verdict(samples, most=options.growth)}", flush=True)


if __name__ == "__main__":
    main()
