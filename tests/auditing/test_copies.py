"""The search, the registration and the descriptions, each against something slower and plainer."""

import math
from itertools import product

import numpy as np
import pytest
from PIL import Image

from thorax.auditing.copies import find_candidates, fit_whitening
from thorax.auditing.descriptions import NUM_FEATURES, Space, describe, fit_space, mirrored
from thorax.auditing.fingerprints import Fingerprints, area_mean, thumbnails
from thorax.auditing.local_contrast import contrast_within, local_contrast
from thorax.auditing.registration import describe_motion, motions, move, register
from thorax.datasets.phantom import write_phantoms


@pytest.fixture(scope="module")
def chests(tmp_path_factory):
    """Thumbnails of 24 phantoms."""
    folder = tmp_path_factory.mktemp("chests")
    write_phantoms(folder, patients=24, size=128)
    files = sorted((folder / "images").glob("*_000.png"))
    return thumbnails(np.stack([np.asarray(Image.open(file)) for file in files]))


@pytest.fixture(scope="module")
def prints():
    """Descriptions of 90 images drawn at random: thirty groups that resemble one another."""
    random = np.random.default_rng(5)
    base = np.repeat(random.normal(size=(30, 2, NUM_FEATURES)), 3, axis=0)
    base += 0.5 * random.normal(size=base.shape)
    base[7] *= -1
    base[10:12, 0] = mirrored(base[10:12, 0].astype(np.float16))
    return Fingerprints(
        np.arange(90, dtype=np.uint64), (base / 16).astype(np.float16), np.zeros(90, np.bool_)
    )


ROWS = np.delete(np.arange(90), [4, 50])
PATIENTS = np.arange(90) // 2


@pytest.fixture(scope="module")
def space():
    """Any linear map will do."""
    return Space(np.random.default_rng(0).normal(size=(NUM_FEATURES, 40)).astype(np.float32))


@pytest.fixture(scope="module")
def slow_twin(prints, space):
    """The best product of each pair, of all ways to compare it, one pair after the other."""
    best = {}
    for mirror, zoom in product((False, True), (0, 1)):
        for moving, fixed in product(ROWS.tolist(), repeat=2):
            if PATIENTS[moving] == PATIENTS[fixed] or (not zoom and moving > fixed):
                continue
            one = prints.descriptions[[moving], zoom]
            one = space.vectors(mirrored(one) if mirror else one)[0]
            alike = float(one @ space.vectors(prints.descriptions[[fixed], 0])[0])
            pair = (min(moving, fixed), max(moving, fixed))
            if abs(alike) >= max(0.65, best.get(pair, (0,))[0]):
                best[pair] = abs(alike), mirror, alike < 0, bool(zoom)
    return best


@pytest.mark.parametrize(("rows_at_once", "columns"), [(512, 1024), (7, 14), (16, 16)])
def test_the_search_equals_its_slow_twin(prints, space, slow_twin, monkeypatch, rows_at_once, columns):
    monkeypatch.setattr("thorax.auditing.copies._ROWS", rows_at_once)
    monkeypatch.setattr("thorax.auditing.copies._COLUMNS", columns)
    candidates = find_candidates(prints, ROWS, PATIENTS, space)
    sides = np.sort(np.stack([candidates.moving, candidates.fixed], axis=1), axis=1).tolist()
    assert {tuple(pair) for pair in sides} == set(slow_twin)
    assert len(candidates) == len(slow_twin) > 40
    ways = zip(candidates.mirrored, candidates.inverted, candidates.zoomed, strict=True)
    for pair, alike, way in zip(sides, candidates.alike.tolist(), ways, strict=True):
        expected, *how = slow_twin[tuple(pair)]
        assert alike == pytest.approx(expected, abs=1e-5)
        assert list(map(bool, way)) == how
    assert {(mirror, invert) for _, mirror, invert, _ in slow_twin.values()} >= {(0, 0), (0, 1), (1, 0)}
    # The most alike ones, however few are asked for and however often the list is cut on the way.
    monkeypatch.setattr("thorax.auditing.copies._SPARE", 3)
    few = find_candidates(prints, ROWS, PATIENTS, space, most=9)
    np.testing.assert_allclose(few.alike, candidates.alike[:9], atol=1e-6)


def test_pairs_of_a_patient_and_of_equal_pixels_are_left_out(prints):
    space = Space(np.eye(NUM_FEATURES, 64, dtype=np.float32))
    rows = np.arange(90)
    assert len(find_candidates(prints, rows, np.zeros(90, np.int64), space)) == 0
    equal = Fingerprints(np.zeros(90, np.uint64), prints.descriptions, prints.blank)
    assert len(find_candidates(equal, rows, rows, space)) == 0


def test_the_mirror_image_has_the_mirrored_description(chests):
    described, of_mirror = describe(chests), describe(chests[:, :, ::-1])
    for view in (0, 1):
        np.testing.assert_allclose(mirrored(described[:, view]), of_mirror[:, view], atol=2e-3)
    np.testing.assert_allclose(describe(255 - chests), -described, atol=2e-3)


def test_vectors_of_moved_copies_are_closer_than_those_of_other_chests(chests):
    space = fit_space(chests)
    vectors = space.vectors(describe(chests)[:, 0])
    angle = np.deg2rad(4)
    motion = np.tile(np.array([math.cos(angle), math.sin(angle), 0.03, -0.03], np.float32), (len(chests), 1))
    turned = space.vectors(describe(move(chests, motion)[0])[:, 0])
    own = np.einsum("nd,nd->n", vectors, turned)
    others = np.abs(vectors @ vectors.T - np.eye(len(chests)))
    assert own.min() > 0.75
    assert np.median(others.max(axis=1)) < own.min()


def test_local_contrast_ignores_brightness_and_follows_inversion(chests):
    contrast = local_contrast(chests, 2.0)
    np.testing.assert_allclose(local_contrast(chests + 20, 2.0), contrast, atol=1e-3)
    np.testing.assert_allclose(local_contrast(255 - chests, 2.0), -contrast, atol=1e-3)
    # A slow twin at one pixel: mean and variance with the same weights, from the definition.
    place = np.arange(64)
    weights = np.exp(-0.5 * ((place - 20) / 2.0) ** 2)[:, None] * np.exp(-0.5 * ((place - 31) / 2.0) ** 2)
    weights /= weights.sum()
    means = np.array([[blurred(chests[0], row, column) for column in range(64)] for row in range(64)])
    variance = (weights * (chests[0] - means) ** 2).sum()
    expected = (chests[0][20, 31] - means[20, 31]) / math.sqrt(variance + 9)
    assert contrast[0, 20, 31] == pytest.approx(expected, rel=1e-3)


def blurred(image, row, column, sigma=2.0):
    place = np.arange(64)
    weights = np.exp(-0.5 * ((place - row) / sigma) ** 2)[:, None] * np.exp(
        -0.5 * ((place - column) / sigma) ** 2
    )
    return (weights * image).sum() / weights.sum()


def test_contrast_within_a_mask_ignores_what_is_outside(chests):
    inside = np.zeros(chests.shape, np.bool_)
    inside[:, 8:56, 5:60] = True
    filled = np.where(inside, chests, 200).astype(np.float32)
    contrast = contrast_within(chests, inside, 2.5)
    np.testing.assert_allclose(contrast_within(filled, inside, 2.5), contrast, atol=1e-3)
    assert (contrast[~inside] == 0).all()


def test_moving_equals_its_slow_twin(chests):
    motion = np.array([[0.97, 0.08, 0.05, -0.1], [1.1, -0.05, 0.0, 0.2]], np.float32)
    seen, inside = move(chests[:2], motion)
    for number, (a, b, x, y) in enumerate(motion.tolist()):
        for row, column in ((5, 9), (31, 32), (60, 2), (63, 63)):
            u, v = (column + 0.5) / 32 - 1, (row + 0.5) / 32 - 1
            to_column, to_row = (a * u - b * v + x + 1) * 32 - 0.5, (b * u + a * v + y + 1) * 32 - 0.5
            expected = 0 <= to_column <= 63 and 0 <= to_row <= 63
            assert inside[number, row, column] == expected
            value = bilinear(chests[number], to_row, to_column) if expected else 0
            assert seen[number, row, column] == pytest.approx(value, abs=0.02)


def bilinear(image, row, column):
    top, left = int(row), int(column)
    down, right = row - top, column - left
    square = image[top : top + 2, left : left + 2]
    return float(np.array([1 - down, down]) @ square @ np.array([1 - right, right]))


@pytest.mark.parametrize("degrees", [-6, 0, 3])
@pytest.mark.parametrize("scale", [0.93, 1.0, 1.08])
def test_a_known_motion_is_found(chests, degrees, scale):
    angle = np.deg2rad(degrees)
    known = [scale * math.cos(angle), scale * math.sin(angle), 0.04, -0.03]
    moved, _ = move(chests, np.tile(np.array(known, np.float32), (len(chests), 1)))
    # `moved` shows at (u, v) what the chest shows at `known` of it.
    found = register(moved, chests, motions(np.ones(len(chests), np.float32)))
    assert np.median(np.abs(found - known).max(axis=1)) < 0.01
    assert (np.abs(found - known).max(axis=1) < 0.03).mean() >= 0.9


def test_a_motion_is_described_in_words():
    angle = math.radians(-5)
    turned = np.array([0.9 * math.cos(angle), 0.9 * math.sin(angle), 0.04, 0], np.float32)
    assert describe_motion(turned) == [
        "turned by 5.0 degrees",
        "scaled by 1.11",
        "shifted by 2.0 % of the side",
    ]
    assert describe_motion(np.array([1, 0, 0, 0], np.float32)) == []


def test_whitening_removes_what_images_share(chests):
    """Two images that share a frame and nothing else correlate; whitened with others that have it, hardly."""
    random = np.random.default_rng(1)
    grain = area_mean(random.integers(0, 256, (60, 32, 32), np.uint8), 64)
    framed = 128 + 0.2 * (grain - 128)
    framed[:, 10:12] = framed[:, :, 50:52] = 230
    contrast = contrast_within(framed, np.ones(framed.shape, np.bool_), 2.5).reshape(60, -1)
    plain = contrast / np.linalg.norm(contrast, axis=1, keepdims=True)
    whitened = fit_whitening(framed[:40])(plain)
    np.testing.assert_allclose(np.linalg.norm(whitened, axis=1), 1, rtol=1e-4)
    before, after = (
        (vectors[40:] @ vectors[40:].T)[~np.eye(20, dtype=bool)] for vectors in (plain, whitened)
    )
    assert before.min() > 0.1
    assert np.abs(after).mean() < 0.4 * before.mean()
