import math

import numpy as np
import pytest
import torch

from thorax.models.test_time_views import shrink_factor, to_input, warp


def pixels_of(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def identity(count):
    return torch.eye(2, 3).repeat(count, 1, 1)


def slow_sample(image, x, y):
    """Bilinear between pixel centres, the edge pixels reaching to the edge; x and y from 0 to the side."""
    side = len(image)
    x, y = min(max(x - 0.5, 0), side - 1), min(max(y - 0.5, 0), side - 1)
    left, top = min(int(x), side - 2), min(int(y), side - 2)
    across, down = x - left, y - top
    above = image[top][left] * (1 - across) + image[top][left + 1] * across
    below = image[top + 1][left] * (1 - across) + image[top + 1][left + 1] * across
    return above * (1 - down) + below * down


def slow_average(image, factor):
    """Mean over areas; a last area that reaches over the edge is the mean of what there is."""
    starts = range(0, len(image), factor)
    return np.array([[image[r : r + factor, c : c + factor].mean() for c in starts] for r in starts])


def slow_warp(pixels, theta, size):
    image = pixels.numpy().astype(np.float64) / 255
    factor = shrink_factor(len(image), size)
    averaged = slow_average(image, factor)
    out = np.zeros((size, size))
    for row in range(size):
        for column in range(size):
            u, v = (2 * column + 1) / size - 1, (2 * row + 1) / size - 1
            x, y = (float(each) for each in theta.double() @ torch.tensor([u, v, 1.0], dtype=torch.float64))
            if max(abs(x), abs(y)) <= 1:
                scale = len(image) / factor / 2
                out[row, column] = slow_sample(averaged, (x + 1) * scale, (y + 1) * scale)
    return out


@pytest.mark.parametrize(
    ("side", "size", "factor"),
    [(256, 256, 1), (256, 224, 1), (192, 128, 1), (193, 128, 2), (256, 128, 2), (256, 96, 3), (64, 128, 1)],
)
def test_areas_are_averaged_where_it_shrinks_by_more_than_one_and_a_half(side, size, factor):
    assert shrink_factor(side, size) == factor


def test_the_same_size_is_the_same_pixels():
    pixels = pixels_of(2, 40, 40)
    assert torch.equal(to_input(pixels, 40), pixels.unsqueeze(1) / 255)


def test_half_the_size_is_the_mean_of_four_by_hand():
    pixels = torch.tensor([[[0, 10, 0, 0], [20, 30, 0, 255], [1, 1, 2, 2], [1, 1, 2, 2]]], dtype=torch.uint8)
    expected = torch.tensor([[[[15.0, 63.75], [1.0, 2.0]]]]) / 255
    torch.testing.assert_close(to_input(pixels, 2), expected)


@pytest.mark.parametrize("size", [40, 37, 30, 26, 20, 17, 13, 50])
def test_the_fixed_step_equals_a_slow_twin_and_the_identity_map(size):
    pixels = pixels_of(2, 40, 40)
    fixed = to_input(pixels, size)
    assert fixed.shape == (2, 1, size, size)
    expected = np.stack([slow_warp(image, torch.eye(2, 3), size) for image in pixels])
    np.testing.assert_allclose(fixed[:, 0].numpy(), expected, atol=5e-6)
    np.testing.assert_allclose(warp(pixels, identity(2), size).numpy(), fixed.numpy(), atol=5e-6)


@pytest.mark.parametrize("size", [24, 15, 9])
def test_a_drawn_map_equals_a_slow_twin(size):
    pixels = pixels_of(3, 24, 24)
    angle = math.radians(17)
    turned = [[math.cos(angle), -math.sin(angle), 0.1], [math.sin(angle), math.cos(angle), -0.2]]
    theta = torch.tensor([turned, [[1.3, 0, 0], [0, 1.3, 0]], [[0.7, 0, 0.05], [0, 0.7, 0]]])
    found = warp(pixels, theta, size)
    expected = np.stack([slow_warp(*pair, size) for pair in zip(pixels, theta, strict=True)])
    # A pixel whose center lies within rounding of the edge may be in or out.
    different = np.abs(found[:, 0].numpy() - expected) > 1e-5
    assert different.sum() <= 1


def test_outside_is_black_and_a_constant_stays_constant():
    white = torch.full((1, 20, 20), 255, dtype=torch.uint8)
    shifted = warp(white, torch.tensor([[[1.0, 0, 1.0], [0, 1.0, 0]]]), 20)
    assert torch.equal(shifted[0, 0, :, :10], torch.ones(20, 10))
    assert torch.equal(shifted[0, 0, :, 10:], torch.zeros(20, 10))
    assert torch.equal(to_input(white, 7), torch.ones(1, 1, 7, 7))


def test_a_batch_equals_one_by_one():
    pixels = pixels_of(4, 30, 30)
    theta = identity(4) + 0.1 * torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0))
    alone = [warp(pixels[i : i + 1], theta[i : i + 1], 14) for i in range(4)]
    torch.testing.assert_close(warp(pixels, theta, 14), torch.cat(alone), atol=1e-6, rtol=0)
    assert torch.equal(to_input(pixels, 14), torch.cat([to_input(each[None], 14) for each in pixels]))
