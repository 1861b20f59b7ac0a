"""Perturbations beside slow twins, at levels that change nothing, and by image."""

import hashlib
import math

import numpy as np
import pytest

from thorax.errors import RecipeError
from thorax.imaging.perturbations import (
    LEVELS,
    Perturbation,
    _rotated,
    perturb,
    perturbation_kinds,
    standard_perturbations,
)
from thorax.randomness import uniform

IDENTITY = {
    "noise": 0, "gamma": 1, "window-width": 100, "window-center": 0, "bit-depth": 8, "rotation": 0, "blur": 0,
    "resolution": 100,
}  # fmt: skip


def chest(side=40, count=3):
    """Smooth gray images with some noise, like radiographs, over the full range."""
    down, right = np.mgrid[:side, :side] / (side - 1)
    draws = np.random.default_rng(side).normal(size=(count, side, side))
    smooth = 128 + 90 * np.sin(5 * down) * np.cos(4 * right)
    return np.clip(smooth + 12 * draws, 0, 255).astype(np.uint8)


NAMES = ["a.png", "b.png", "c.png"]


def changed(kind, level, pixels, *, images=NAMES, seed=0):
    return perturb(pixels, Perturbation(kind, float(level)), images=images, seed=seed)


def half_up(value):
    return int(min(max(math.floor(value + 0.5 + 1e-6), 0), 255))


@pytest.mark.parametrize(("kind", "level"), IDENTITY.items())
@pytest.mark.parametrize("side", [33, 40])
def test_the_identity_level_changes_nothing(kind, level, side):
    pixels = chest(side)
    assert np.array_equal(changed(kind, level, pixels), pixels)


def test_jpeg_of_the_best_quality_changes_a_pixel_by_two_grays_at_most():
    pixels = chest()
    assert np.abs(changed("jpeg", 100, pixels).astype(int) - pixels).max() <= 2


@pytest.mark.parametrize("perturbation", standard_perturbations(perturbation_kinds(())), ids=lambda p: p.name)
def test_every_level_is_a_function_of_pixels_level_seed_and_name_only(perturbation):
    pixels = chest(200)
    together = perturb(pixels, perturbation, images=NAMES)
    assert together.dtype == np.uint8
    assert not np.array_equal(together, pixels)
    for number in (2, 0, 1):
        alone = perturb(pixels[[number]], perturbation, images=[NAMES[number]])
        assert np.array_equal(alone[0], together[number])


def test_stronger_levels_change_more():
    pixels = chest(200)
    for kind in ("jpeg", "noise", "bit-depth", "rotation", "blur", "resolution"):
        distances = [
            float(np.mean((changed(kind, level, pixels).astype(float) - pixels) ** 2))
            for level in LEVELS[kind]
        ]
        assert distances == sorted(distances), kind
        assert distances[0] > 0, kind


@pytest.mark.parametrize("level", LEVELS["gamma"])
def test_gamma_as_computed_pixel_by_pixel(level):
    pixels = chest()
    twin = [[[half_up(255 * (v / 255) ** level) for v in row] for row in image] for image in pixels]
    assert np.array_equal(changed("gamma", level, pixels), twin)


@pytest.mark.parametrize("level", LEVELS["window-width"])
def test_window_width_as_computed_pixel_by_pixel(level):
    pixels, low = chest(), 127.5 - 127.5 * level / 100
    twin = [
        [[half_up(255 * (v - low) / (255 * level / 100)) for v in row] for row in image] for image in pixels
    ]
    assert np.array_equal(changed("window-width", level, pixels), twin)


@pytest.mark.parametrize("level", LEVELS["window-center"])
def test_window_center_as_computed_pixel_by_pixel(level):
    pixels = chest()
    twin = [[[half_up(v - 2.55 * level) for v in row] for row in image] for image in pixels]
    assert np.array_equal(changed("window-center", level, pixels), twin)


@pytest.mark.parametrize("level", LEVELS["bit-depth"])
def test_bit_depth_as_computed_pixel_by_pixel(level):
    pixels = chest()
    twin = [
        [[half_up((int(v) // 2 ** (8 - round(level))) * 255 / (2**level - 1)) for v in row] for row in image]
        for image in pixels
    ]
    result = changed("bit-depth", level, pixels)
    assert np.array_equal(result, twin)
    assert len(np.unique(result)) <= 2**level


def test_noise_as_drawn_pixel_by_pixel():
    pixels, level, seed = chest(31), 5, 7
    result = changed("noise", level, pixels, seed=seed)
    size = 31 * 31
    half = (size + 1) // 2
    for name, image, noisy in zip(NAMES, pixels, result, strict=True):
        key = int(hashlib.sha256(name.encode()).hexdigest()[:16], 16) // 2
        draws = uniform(seed, "noise", epoch=0, positions=np.array([key]), count=2 * half)[0]
        for pixel in range(size):
            pair = pixel % half
            radius, angle = math.sqrt(-2 * math.log(1 - draws[pair])), 2 * math.pi * draws[half + pair]
            normal = radius * (math.cos(angle) if pixel < half else math.sin(angle))
            assert noisy.ravel()[pixel] == half_up(image.ravel()[pixel] + 255 * level / 100 * normal)


def test_noise_has_the_stated_standard_deviation_and_differs_by_image_and_seed():
    gray = np.full((2, 200, 200), 128, np.uint8)
    noise = changed("noise", 5, gray, images=NAMES[:2]).astype(float) - 128
    assert noise.std() == pytest.approx(12.75, rel=0.01)
    assert noise.mean() == pytest.approx(0, abs=0.15)
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(noise[0, :, 1:].ravel(), noise[0, :, :-1].ravel())[0, 1]) < 0.02
    other = changed("noise", 5, gray, images=NAMES[:2], seed=1).astype(float) - 128
    assert abs(np.corrcoef(noise[0].ravel(), other[0].ravel())[0, 1]) < 0.02
    stronger = changed("noise", 10, gray, images=NAMES[:2]).astype(float) - 128
    assert np.corrcoef(noise[0].ravel(), stronger[0].ravel())[0, 1] > 0.99


def _turned(image, degrees):
    """One pixel after the other: where it comes from, and the mean of the four around, weighted."""
    side, angle = len(image), math.radians(degrees)
    center = (side - 1) / 2

    def gray(row, column):
        return float(image[row, column]) if 0 <= row < side and 0 <= column < side else 0.0

    turned = np.zeros_like(image)
    for row in range(side):
        for column in range(side):
            down, right = row - center, column - center
            y = down * math.cos(angle) - right * math.sin(angle) + center
            x = right * math.cos(angle) + down * math.sin(angle) + center
            top, left = math.floor(y), math.floor(x)
            value = sum(
                (1 - abs(y - r)) * (1 - abs(x - c)) * gray(r, c)
                for r in (top, top + 1)
                for c in (left, left + 1)
            )
            turned[row, column] = half_up(value)
    return turned


@pytest.mark.parametrize("level", [2, 10, 90])
def test_rotation_as_computed_pixel_by_pixel_in_either_direction(level):
    pixels, names = chest(33, count=8), [f"{number}.png" for number in range(8)]
    result = changed("rotation", level, pixels, images=names)
    directions = []
    for image, turned in zip(pixels, result, strict=True):
        clockwise, back = _turned(image, level), _turned(image, -level)
        directions.append(1 if np.array_equal(turned, clockwise) else -1)
        assert np.array_equal(turned, clockwise if directions[-1] == 1 else back)
    assert set(directions) == {1, -1}


def test_positive_degrees_turn_clockwise():
    mark = np.zeros((5, 5), np.uint8)
    mark[0, 2] = 255  # at the top
    pixels = np.stack([mark] * 16)
    result = changed("rotation", 90, pixels, images=[str(number) for number in range(16)])
    assert {(int(row), int(column)) for _, row, column in np.argwhere(result == 255)} == {(2, 4), (2, 0)}
    assert _rotated(mark, degrees=90.0)[2, 4] == 255  # to the right


@pytest.mark.parametrize("level", LEVELS["blur"])
def test_blur_as_computed_pixel_by_pixel(level):
    side = 60
    image = chest(side, count=1)[0]
    sd = side * level / 100
    reach = math.ceil(4 * sd)
    offsets = range(-reach, reach + 1)
    total = sum(math.exp(-(o**2) / (2 * sd**2)) for o in offsets)
    result = changed("blur", level, image[None], images=NAMES[:1])[0]
    for row, column in [(0, 0), (0, 30), (30, 59), (17, 22), (40, 41), (59, 0)]:
        value = 0.0
        for down in offsets:
            for right in offsets:
                weight = math.exp(-(down**2 + right**2) / (2 * sd**2)) / total**2
                source = (min(max(row + down, 0), side - 1), min(max(column + right, 0), side - 1))
                value += weight * float(image[source])
        assert result[row, column] == half_up(value)


@pytest.mark.parametrize("level", [*LEVELS["resolution"], 1])
def test_resolution_as_computed_pixel_by_pixel(level):
    side = 40
    image = chest(side, count=1)[0]
    small = max(1, round(side * level / 100))
    step = side / small
    reduced = np.zeros((small, small))
    for row in range(small):
        for column in range(small):
            for r in range(side):
                for c in range(side):
                    high = min((row + 1) * step, r + 1) - max(row * step, r)
                    wide = min((column + 1) * step, c + 1) - max(column * step, c)
                    if high > 0 and wide > 0:
                        reduced[row, column] += high * wide * float(image[r, c]) / step**2
    result = changed("resolution", level, image[None], images=NAMES[:1])[0]
    for row in range(0, side, 3):
        for column in range(side):
            y = min(max((row + 0.5) / step - 0.5, 0), small - 1)
            x = min(max((column + 0.5) / step - 0.5, 0), small - 1)
            corners = [(r, c) for r in (int(y), int(y) + 1) for c in (int(x), int(x) + 1)]
            value = sum(
                (1 - abs(y - r)) * (1 - abs(x - c)) * reduced[min(r, small - 1), min(c, small - 1)]
                for r, c in corners
            )
            assert result[row, column] == half_up(value)


# Table K.1 of ITU-T T.81: the quantization of luminance at quality 50.
LUMINANCE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61], [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56], [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77], [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101], [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)  # fmt: skip


@pytest.mark.parametrize("quality", LEVELS["jpeg"])
def test_jpeg_as_quantized_cosines_of_each_block(quality):
    """Two grays apart at most, except in blocks where libjpeg's integers round a coefficient otherwise."""
    image = chest(64, count=1)[0]
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    table = np.clip((LUMINANCE * scale + 50) // 100, 1, 255)
    frequency, place = np.mgrid[:8, :8]
    cosines = np.cos((2 * place + 1) * frequency * math.pi / 16) * np.where(frequency == 0, 0.5**0.5, 1) / 2
    twin = np.zeros((64, 64))
    for row in range(0, 64, 8):
        for column in range(0, 64, 8):
            block = image[row : row + 8, column : column + 8].astype(float) - 128
            quantized = np.round(cosines @ block @ cosines.T / table) * table
            twin[row : row + 8, column : column + 8] = cosines.T @ quantized @ cosines + 128
    result = changed("jpeg", quality, image[None], images=NAMES[:1])[0]
    distance = np.abs(result - np.clip(twin, 0, 255))
    by_block = distance.reshape(8, 8, 8, 8).max(axis=(1, 3))
    assert np.mean(by_block <= 2) >= 0.7
    assert distance.mean() < np.abs(result - image.astype(float)).mean() / 4


def test_names_of_kinds():
    assert perturbation_kinds(["blur", "jpeg", "blur"]) == ("jpeg", "blur")
    assert perturbation_kinds([]) == tuple(LEVELS)
    with pytest.raises(RecipeError, match="no perturbation 'fog'; there are jpeg, noise"):
        perturbation_kinds(["fog"])
    assert all(3 <= len(levels) <= 5 for levels in LEVELS.values())
    labels = [one.label for one in standard_perturbations(perturbation_kinds([]))]
    assert len(set(labels)) == len(labels) == 38
    assert labels[:2] == ["JPEG quality 90", "JPEG quality 70"]


def test_no_images():
    none = np.zeros((0, 8, 8), np.uint8)
    for perturbation in standard_perturbations(perturbation_kinds(())):
        assert perturb(none, perturbation, images=[]).shape == (0, 8, 8)
