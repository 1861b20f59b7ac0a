import math

import numpy as np
import pytest
import torch

from thorax.models.resample import to_input, warp
from thorax.recipe.schema import Augment
from thorax.training.augment import (
    AugmentParams,
    apply_augment,
    draw_augment,
    draw_mixup,
    mix_images,
    mix_targets,
)

EVERYTHING = Augment(
    flip=0.5,
    rotate=15,
    translate=0.1,
    zoom=(0.8, 1.25),
    brightness=0.2,
    contrast=0.3,
    gamma=(0.7, 1.4),
    erase=0.5,
)


def pixels_of(count, side=24):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, side, side), dtype=np.uint8))


def draw(spec, count=64, *, seed=0, epoch=0, first=0):
    return draw_augment(spec, seed=seed, epoch=epoch, positions=np.arange(first, first + count))


def nothing(count=1, **changed):
    params = {
        "theta": torch.eye(2, 3).repeat(count, 1, 1),
        "flip": torch.zeros(count, dtype=torch.bool),
        "contrast": torch.ones(count),
        "brightness": torch.zeros(count),
        "gamma": torch.ones(count),
        "erased": torch.zeros(count, 4),
    }
    return AugmentParams(**params | changed)


def row_of(params, row):
    return AugmentParams(**{name: value[row : row + 1] for name, value in vars(params).items()})


def slow_apply(pixels, params, size):
    """One image, one pixel at a time, in the order that the fields are described in."""
    image = warp(pixels, params.theta, size)[0, 0].double().numpy()
    if params.flip[0]:
        image = image[:, ::-1]
    mean = image.mean()
    change = [float(params.contrast[0]), float(params.brightness[0]), float(params.gamma[0])]
    image = np.array(
        [[min(max(mean + change[0] * (v - mean) + change[1], 0), 1) ** change[2] for v in r] for r in image]
    )
    mean = image.mean()
    top, left, bottom, right = (float(side) for side in params.erased[0])
    for row in range(size):
        for column in range(size):
            y, x = (row + 0.5) / size, (column + 0.5) / size
            if top <= y < bottom and left <= x < right:
                image[row, column] = mean
    return image


@pytest.mark.parametrize("size", [24, 16, 12])
def test_applying_equals_a_slow_twin_one_by_one(size):
    pixels, params = pixels_of(16), draw(EVERYTHING, 16)
    found = apply_augment(pixels, params, size)
    for row in range(16):
        alone = row_of(params, row)
        expected = slow_apply(pixels[row : row + 1], alone, size)
        np.testing.assert_allclose(found[row, 0].numpy(), expected, atol=2e-5)
        one = apply_augment(pixels[row : row + 1], alone, size)
        torch.testing.assert_close(found[row : row + 1], one, atol=1e-6, rtol=0)


def test_draws_are_a_function_of_seed_epoch_and_position():
    whole, again, tail = draw(EVERYTHING, 64), draw(EVERYTHING, 64), draw(EVERYTHING, 16, first=48)
    other_seed, other_epoch = draw(EVERYTHING, 64, seed=1), draw(EVERYTHING, 64, epoch=1)
    for name, value in vars(whole).items():
        assert torch.equal(value, vars(again)[name])
        assert torch.equal(value[48:], vars(tail)[name])
        assert not torch.equal(value, vars(other_seed)[name])
        assert not torch.equal(value, vars(other_epoch)[name])


def test_draws_fill_their_ranges():
    params = draw(EVERYTHING, 4000)
    scale = params.theta[:, :, :2].det().rsqrt()
    angle = torch.atan2(params.theta[:, 1, 0], params.theta[:, 0, 0]).rad2deg()
    for values, low, high in (
        (angle, -15, 15),
        (params.theta[:, 0, 2], -0.2, 0.2),
        (params.theta[:, 1, 2], -0.2, 0.2),
        (scale, 0.8, 1.25),
        (params.brightness, -0.2, 0.2),
        (params.contrast, 0.7, 1.3),
        (params.gamma, 0.7, 1.4),
    ):
        assert low - 1e-5 <= values.min() < low + 0.02 * (high - low)
        assert high + 1e-5 >= values.max() > high - 0.02 * (high - low)
    # Even in the logarithm: as many images grow as shrink.
    assert 0.47 < float((scale > 1).float().mean()) < 0.53
    assert 0.47 < float(params.flip.float().mean()) < 0.53
    erased = params.erased[params.erased.any(dim=1)]
    assert 0.47 < len(erased) / 4000 < 0.53
    sides = erased[:, 2:] - erased[:, :2]
    area = sides.prod(dim=1)
    assert 0.02 - 1e-6 <= float(area.min()) < float(area.max()) <= 0.2 + 1e-6
    assert erased.min() >= 0
    assert erased.max() <= 1 + 1e-6


@pytest.mark.parametrize("size", [24, 16, 12])
def test_drawing_nothing_is_the_fixed_step_to_the_bit(size):
    pixels = pixels_of(5)
    assert torch.equal(apply_augment(pixels, draw(Augment(), 5), size), to_input(pixels, size))


def test_an_image_without_a_move_is_not_moved_by_its_neighbours():
    pixels, params = pixels_of(2), nothing(2)
    params.theta[1, 0, 2] = 0.3
    found = apply_augment(pixels, params, 16)
    assert torch.equal(found[:1], to_input(pixels[:1], 16))
    torch.testing.assert_close(found[1:], warp(pixels[1:], params.theta[1:], 16))


def test_two_flips_are_none():
    pixels = pixels_of(3)
    flipped = apply_augment(pixels, nothing(3, flip=torch.tensor([True, False, True])), 24)
    images = to_input(pixels, 24)
    assert torch.equal(flipped[0], images[0].flip(-1))
    assert torch.equal(flipped[1], images[1])


def test_grey_values_by_hand():
    pixels = torch.tensor([[[0, 51], [102, 255]]], dtype=torch.uint8)  # 0, 0.2, 0.4, 1; mean 0.4
    params = nothing(contrast=torch.tensor([0.5]), brightness=torch.tensor([0.1]), gamma=torch.tensor([2.0]))
    expected = torch.tensor([[[[0.3**2, 0.4**2], [0.5**2, 0.8**2]]]])
    torch.testing.assert_close(apply_augment(pixels, params, 2), expected)


def test_an_erased_rectangle_is_the_mean_by_hand():
    pixels = torch.tensor([[[0, 51], [102, 255]]], dtype=torch.uint8)
    params = nothing(erased=torch.tensor([[0.0, 0.5, 0.5, 1.0]]))
    torch.testing.assert_close(apply_augment(pixels, params, 2), torch.tensor([[[[0.0, 0.4], [0.4, 1.0]]]]))


def test_a_shift_and_a_zoom_go_the_way_they_say():
    pixels = torch.zeros(1, 20, 20, dtype=torch.uint8)
    pixels[0, 8:12, 8:12] = 255
    spec = Augment(zoom=(2.0, 2.0))
    zoomed = apply_augment(pixels, draw(spec, 1), 20)
    assert math.isclose(float(zoomed.sum()), 64, abs_tol=1)  # twice as large, four times the area


@pytest.mark.parametrize("alpha", [0.01, 0.2, 0.5, 1.0])
def test_mixup_shares_follow_the_beta_distribution(alpha):
    share = draw_mixup(alpha, seed=0, epoch=0, positions=np.arange(20000)).double().numpy()
    assert share.min() >= 0
    assert share.max() <= 1
    assert share.mean() == pytest.approx(0.5, abs=0.01)
    # The variance of Beta(a, a) is 1 / (4 (2 a + 1)).
    assert share.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)


def test_mixing_by_hand():
    images = torch.arange(3.0).reshape(3, 1, 1, 1)
    share = torch.tensor([0.75, 0.5, 1.0])
    assert mix_images(images, share).flatten().tolist() == [0.5, 0.5, 2.0]
    targets = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    known = torch.tensor([[True, True], [True, False], [True, True]])
    mixed, both = mix_targets(targets, known, share)
    assert mixed.tolist() == [[1.0, 0.25], [0.5, 0.0], [1.0, 1.0]]
    assert both.tolist() == [[True, True], [True, False], [True, False]]
