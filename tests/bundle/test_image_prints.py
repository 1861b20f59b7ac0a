"""Fingerprints of images: equal for equal pixels, near for changed copies, the same on every machine."""

import hashlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from thorax.bundle.image_prints import (
    _cosines,
    _frequencies,
    equal_prints,
    image_prints,
    merged_prints,
    near_prints,
    sorted_prints,
    tell_apart,
)


def scenes(count, seed=0, side=96):
    """Smooth random pictures, of which no two look alike."""
    noise = np.random.default_rng(seed).normal(size=(count, side, side))
    smooth = np.stack([gaussian_filter(one, 2.5) for one in noise])
    low, high = smooth.min(axis=(1, 2), keepdims=True), smooth.max(axis=(1, 2), keepdims=True)
    return ((smooth - low) / (high - low) * 255).astype(np.uint8)


def prints_of(pixels):
    return image_prints(pixels.__getitem__, np.arange(len(pixels)))


@pytest.fixture(scope="module")
def pictures():
    return scenes(60)


def slow_print(image):
    """The definition, one coefficient after the other, on whole numbers of any size."""
    side = len(image)
    rows = [[int(value) for value in row] for row in image]

    def cosine(frequency, place):
        return round(float(np.cos(np.pi * frequency * (place + 0.5) / side)) * 1024)

    pairs = sorted(
        ((u, v) for u in range(19) for v in range(19) if u + v >= 13), key=lambda pair: (sum(pair), pair)
    )
    bits = ""
    for u, v in pairs[:96]:
        total = sum(
            cosine(u, y) * sum(cosine(v, x) * value for x, value in enumerate(row))
            for y, row in enumerate(rows)
        )
        bits += "1" if total > 0 else "0"
    perceptual = int(bits, 2).to_bytes(12, "big")
    return hashlib.blake2b(image.tobytes(), digest_size=4).digest() + perceptual


def test_a_fingerprint_is_what_it_is_defined_to_be():
    pixels = scenes(2, side=40)
    assert [bytes(one) for one in prints_of(pixels)] == [slow_print(image) for image in pixels]


def test_every_order_of_the_sums_gives_the_same():
    """Whole numbers below 2 ** 53, at the largest size of a store, are exact in float64."""
    assert 255 * (1024 * 2048) ** 2 < 2**53
    pixels = scenes(3)
    cosines = _cosines(pixels.shape[1]).astype(np.int64)
    down, across = _frequencies()
    exact = (cosines @ pixels.astype(np.int64) @ cosines.T)[:, down, across]
    np.testing.assert_array_equal(np.packbits(exact > 0, axis=1), prints_of(pixels)[:, 4:])


def test_equal_pixels_are_recognized_in_any_order(pictures):
    seen = sorted_prints(prints_of(pictures[:40]))
    asked = prints_of(pictures[[50, 3, 51, 39]])
    assert equal_prints(asked, seen).tolist() == [False, True, False, True]
    assert not equal_prints(asked, seen[:0]).any()


def test_one_gray_level_is_no_equal_copy_but_a_near_one(pictures):
    changed = pictures[:40].copy()
    changed[:, 5, 5] ^= 1
    seen = prints_of(pictures[:40])
    assert not equal_prints(prints_of(changed), seen).any()
    assert near_prints(prints_of(changed), seen).all()
    assert not near_prints(prints_of(pictures[40:]), seen).any()


@pytest.mark.parametrize(
    "change",
    [
        lambda x, _: x * 0.8 + 20,
        lambda x, rng: x + rng.normal(0, 8, x.shape),
        lambda x, _: 255 * (x / 255) ** 1.15,
    ],
)
def test_changed_copies_are_near(pictures, change):
    rng = np.random.default_rng(1)
    changed = np.clip(change(pictures.astype(float), rng), 0, 255).round().astype(np.uint8)
    assert near_prints(prints_of(changed), prints_of(pictures)).mean() >= 0.95


def test_near_is_counted_bit_by_bit(pictures):
    """As the slow way counts: differing bits of the last twelve bytes, at most eight."""
    seen = prints_of(pictures)
    rng = np.random.default_rng(2)
    asked = np.repeat(seen[:1], 20, axis=0)
    for flips, one in enumerate(asked):
        for bit in rng.choice(96, flips, replace=False):
            one[4 + bit // 8] ^= np.uint8(1 << (bit % 8))
    expected = [
        min(
            sum((int(a) ^ int(b)).bit_count() for a, b in zip(one[4:], other[4:], strict=True))
            for other in seen
        )
        <= 8
        for one in asked
    ]
    assert near_prints(asked, seen).tolist() == expected
    assert expected[:9] == [True] * 9
    assert not expected[19]


def test_blank_images_are_copies_of_nothing(pictures):
    blank = np.stack([np.zeros_like(pictures[0]), np.full_like(pictures[0], 200)])
    prints = prints_of(blank)
    assert not prints[:, 4:].any()
    seen = np.concatenate([prints, prints_of(pictures)])
    assert not equal_prints(prints, seen).any()
    assert not near_prints(prints, seen).any()


def test_images_that_look_alike_are_not_told_apart(pictures):
    assert tell_apart(prints_of(pictures))
    one = scenes(1, seed=9)[0].astype(float)
    alike = one + np.random.default_rng(3).normal(0, 12, (60, *one.shape))
    assert not tell_apart(prints_of(np.clip(alike, 0, 255).astype(np.uint8)))
    assert not tell_apart(prints_of(pictures[:1]))


@given(st.lists(st.lists(st.integers(0, 3), max_size=6), max_size=4))
def test_merging_keeps_each_as_often_as_its_most_frequent_source(numbers):
    sources = [np.repeat(np.array(rows, np.uint8)[:, None], 16, axis=1).reshape(-1, 16) for rows in numbers]
    merged = [int(one[0]) for one in merged_prints(sources)]
    assert merged == sorted(merged)
    assert {n: merged.count(n) for n in range(4)} == {
        n: max((rows.count(n) for rows in numbers), default=0) for n in range(4)
    }


def test_changed_copies_of_real_radiographs_are_near_and_other_patients_are_not(nih_sample):
    files = sorted((nih_sample / "images").iterdir())[::5]
    real = np.stack(
        [np.asarray(Image.open(file).convert("L").resize((112, 112), Image.Resampling.BOX)) for file in files]
    )
    patients = np.array([file.name[:8] for file in files])
    seen = prints_of(real)
    assert tell_apart(seen)
    for row in range(len(real)):
        others = seen[patients != patients[row]]
        assert not near_prints(seen[row : row + 1], others).any()
    for change in (lambda image: jpeg(image, 60), lambda image: 255 * (image / 255) ** 0.8):
        changed = np.stack([np.asarray(change(image)).round().astype(np.uint8) for image in real])
        assert not equal_prints(prints_of(changed), seen).any()
        assert near_prints(prints_of(changed), seen).mean() >= 0.95


def jpeg(image, quality):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return Image.open(file)
