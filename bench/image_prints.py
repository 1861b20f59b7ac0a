"""Measures the fingerprints of seen images: how well they tell radiographs apart, and what they cost.

    python bench/image_prints.py --images /path/to/nih/images

Prints the distances between different patients and to changed copies, then CPU time, which is that of one
thread with OMP_NUM_THREADS=1.
"""

import argparse
import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from thorax.bundle.image_prints import ImagePrints, equal_prints, image_prints, near_prints

NIH_LEARNED_FROM, NIH_TEST = 86_524, 25_596
"""Images of NIH's official train_val and test lists."""


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Return an image after compression."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def scaled(image: np.ndarray) -> np.ndarray:
    """Return an image shrunk to 70 % and enlarged again."""
    side = len(image)
    small = Image.fromarray(image).resize((round(side * 0.7),) * 2, Image.Resampling.BICUBIC)
    return np.asarray(small.resize((side, side), Image.Resampling.BICUBIC))


def noisy(image: np.ndarray) -> np.ndarray:
    """Return an image with noise of ten gray levels."""
    return image + np.random.default_rng(int(image[::7, ::7].sum())).normal(0, 10, image.shape)


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "JPEG, quality 90": lambda image: jpeg(image, 90),
    "JPEG, quality 30": lambda image: jpeg(image, 30),
    "gamma 1.3": lambda image: 255 * (image / 255) ** 1.3,
    "gamma 0.8": lambda image: 255 * (image / 255) ** 0.8,
    "20 levels brighter": lambda image: image.astype(float) + 20,
    "contrast 1.2": lambda image: (image.astype(float) - 128) * 1.2 + 128,
    "noise of 10 levels": noisy,
    "70 % of the size, and back": scaled,
    "blurred by one pixel": lambda image: np.asarray(
        Image.fromarray(image).filter(ImageFilter.GaussianBlur(1))
    ),
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True, help="a folder of NIH's images")
    files = sorted(parser.parse_args().images.glob("*.png"))
    patients = np.array([file.name[:8] for file in files])
    for side in (256, 112):
        gray = [Image.open(file).convert("L").resize((side, side), Image.Resampling.BOX) for file in files]
        pixels = np.stack([np.asarray(image) for image in gray])
        measure(side, pixels, patients)
    cost()


def prints_of(pixels: np.ndarray) -> ImagePrints:
    """Return the fingerprints of images."""
    return image_prints(pixels.__getitem__, np.arange(len(pixels)))


def measure(side: int, pixels: np.ndarray, patients: np.ndarray) -> None:
    """Print distances in bits."""
    prints = prints_of(pixels)
    counts = np.zeros(97, np.int64)
    for row in range(len(prints)):
        bits = np.bitwise_count(prints[row, 4:] ^ prints[row + 1 :, 4:]).sum(axis=1)
        counts += np.bincount(bits[patients[row + 1 :] != patients[row]], minlength=97)
    closest = np.flatnonzero(counts)[:6]
    print(f"{side} pixels: {counts.sum():,} pairs of different patients; closest, in bits:")
    print("  " + ", ".join(f"{bits}: {counts[bits]}" for bits in closest.tolist()))
    for name, change in CHANGES.items():
        changed = np.stack([np.clip(change(image), 0, 255).round().astype(np.uint8) for image in pixels])
        bits = np.bitwise_count(prints_of(changed)[:, 4:] ^ prints[:, 4:]).sum(axis=1)
        print(f"  {name}: at most {bits.max()} bits, at most 8 in {np.mean(bits <= 8):.1%}")


def cost() -> None:
    """Print what fingerprints and their comparison cost."""
    rng = np.random.default_rng(0)
    for side in (112, 256, 512):
        pixels = rng.integers(0, 256, (256, side, side), dtype=np.uint8)
        start = time.process_time()
        prints_of(pixels)
        print(f"{side} pixels: {(time.process_time() - start) / len(pixels) * 1e3:.2f} ms per image")
    seen = rng.integers(0, 256, (NIH_LEARNED_FROM, 16), dtype=np.uint8)
    asked = rng.integers(0, 256, (NIH_TEST, 16), dtype=np.uint8)
    for name, compare in (("equal", equal_prints), ("near", near_prints)):
        start = time.process_time()
        compare(asked, seen)
        print(f"{name}: {time.process_time() - start:.2f} s for {NIH_TEST:,} x {NIH_LEARNED_FROM:,} images")


if __name__ == "__main__":
    main()
