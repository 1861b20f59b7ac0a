"""What the input gate sees of an image: exact symmetries, grays by rank, no borders."""

import numpy as np
import pytest

from thorax.inference.gate_features import SIDE, features, inverted, mirrored, thumbnail, turned


@pytest.fixture(scope="module")
def thumbnails():
    return np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE)).astype(np.uint8)


@pytest.mark.parametrize("quarters", range(4))
def test_the_features_turn_with_the_image(thumbnails, quarters):
    seen = features(np.rot90(thumbnails, quarters, axes=(1, 2)))
    np.testing.assert_allclose(seen, turned(features(thumbnails), quarters), atol=1e-5)


def test_they_are_mirrored_and_inverted_with_it(thumbnails):
    values = features(thumbnails)
    np.testing.assert_allclose(features(thumbnails[:, :, ::-1]), mirrored(values), atol=1e-5)
    np.testing.assert_allclose(features(255 - thumbnails), inverted(values), atol=1e-5)
    assert np.abs(values - mirrored(values)).max() > 0.1


def test_brightness_contrast_and_gamma_do_not_matter(thumbnails):
    darker = (thumbnails // 2).astype(np.uint8) * 2  # so that all changes below keep apart what is apart
    bent = (255 * (darker / 255) ** 0.8 + 0.5).astype(np.uint8)
    np.testing.assert_array_equal(features(darker), features(bent))
    np.testing.assert_array_equal(features(darker), features(darker // 2 + 60))


def slow_edges(image):
    """Edges in 8 directions of 8 x 8 cells, pixel by pixel."""
    order = np.sort(image.ravel())
    low, high = np.searchsorted(order, image), np.searchsorted(order, image, side="right")
    ranks = (low + high) / 2 / image.size - 0.5
    sums = np.zeros((8, 8, 8))
    for row in range(SIDE):
        for column in range(SIDE):
            right = ranks[row, min(column + 1, SIDE - 1)] - ranks[row, max(column - 1, 0)]
            down = ranks[min(row + 1, SIDE - 1), column] - ranks[max(row - 1, 0), column]
            for number in range(8):
                along = right * np.cos(np.pi * number / 4) + down * np.sin(np.pi * number / 4)
                sums[number, row // 8, column // 8] += max(along, 0) / 64
    return np.sqrt(sums / (sums.mean() + 1e-3)) - 1


def test_the_edges_are_those_of_a_slow_twin(thumbnails):
    np.testing.assert_allclose(
        features(thumbnails[:1])[0, :512], slow_edges(thumbnails[0]).ravel(), atol=1e-4
    )


@pytest.mark.parametrize("size", [SIDE, 1000, 2500])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_thumbnail_is_the_same_at_any_size_and_depth(size, kind):
    down, right = np.mgrid[:size, :size] / size
    grays = 0.5 + 0.4 * np.sin(5 * down + 1) * np.cos(4 * right)
    image = (grays * np.iinfo(kind).max).astype(kind)
    rows, columns = (np.mgrid[:SIDE, :SIDE] + 0.5) / SIDE
    expected = 255 * (0.5 + 0.4 * np.sin(5 * rows + 1) * np.cos(4 * columns))
    assert np.abs(thumbnail(image, "pad") - expected).max() < 6


def test_borders_of_one_gray_are_cut_away():
    picture = np.random.default_rng(1).integers(0, 256, (2 * SIDE, 2 * SIDE)).astype(np.uint8)
    framed = np.full((3 * SIDE, 4 * SIDE), 7, np.uint8)
    framed[20 : 20 + 2 * SIDE, 50 : 50 + 2 * SIDE] = picture
    np.testing.assert_array_equal(thumbnail(framed, "pad"), thumbnail(picture, "pad"))


def test_a_crop_is_seen_as_the_model_sees_it():
    picture = np.random.default_rng(1).integers(0, 256, (2 * SIDE, 2 * SIDE)).astype(np.uint8)
    wide = np.random.default_rng(2).integers(0, 256, (2 * SIDE, 4 * SIDE)).astype(np.uint8)
    wide[:, SIDE : 3 * SIDE] = picture
    np.testing.assert_array_equal(thumbnail(wide, "crop"), thumbnail(picture, "crop"))


def test_one_gray_has_features_without_warnings():
    assert np.isfinite(features(np.zeros((1, SIDE, SIDE), np.uint8))).all()
