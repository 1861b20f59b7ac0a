import math

import numpy as np
import pytest
import torch

from thorax.models.test_time_views import shrink_factor, to_input, warp
from thorax.randomness import uniform
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
    shear=10,
    crop_area=(0.3, 1),
    crop_aspect=(3 / 4, 4 / 3),
    gain=0.2,
)


def pixels_of(count, side=24):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, side, side), dtype=np.uint8))


def draw(spec, count=64, *, seed=0, epoch=0, first=0):
    return draw_augment(spec, seed=seed, epoch=epoch, positions=np.arange(first, first + count))


def apply(pixels, params, size, spec=EVERYTHING):
    return apply_augment(pixels, params, spec=spec, input_size=size)


def nothing(count=1, **changed):
    params = {
        "theta": torch.eye(2, 3).repeat(count, 1, 1),
        "flip": torch.zeros(count, dtype=torch.bool),
        "gain": torch.ones(count),
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
    (a, b, _), (c, d, _) = params.theta[0].tolist()
    factor = shrink_factor(round(pixels.shape[-1] * abs(a * d - b * c) ** 0.5), size)
    image = warp(pixels, params.theta, size, factor=factor)[0, 0].double().numpy()
    if params.flip[0]:
        image = image[:, ::-1]
    gain = float(params.gain[0])
    image = np.array([[min(max(gain * v, 0), 1) for v in r] for r in image])
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
    found = apply(pixels, params, size)
    for row in range(16):
        alone = row_of(params, row)
        expected = slow_apply(pixels[row : row + 1], alone, size)
        np.testing.assert_allclose(found[row, 0].numpy(), expected, atol=2e-5)
        one = apply(pixels[row : row + 1], alone, size)
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
    plain = {"shear": 0.0, "crop_area": (1.0, 1.0), "crop_aspect": (1.0, 1.0)}
    params = draw(EVERYTHING.model_copy(update=plain), 4000)
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
        (params.gain, 0.8, 1.2),
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


def test_old_settings_draw_what_they_always_drew():
    """Numbers of the first release: a recipe's results do not change because others can draw more."""
    spec = Augment(
        flip=0.5,
        rotate=8,
        translate=0.05,
        zoom=(0.9, 1.1),
        brightness=0.1,
        contrast=0.15,
        gamma=(0.7, 1.4),
        erase=0.9,
    )
    params = draw_augment(spec, seed=3, epoch=1, positions=np.array([2, 5]))
    assert params.theta[0].tolist() == [
        [1.0764703750610352, 0.03991176187992096, -0.07403579354286194],
        [-0.03991176187992096, 1.0764703750610352, 0.03643921762704849],
    ]
    assert params.contrast.tolist() == [1.1349552869796753, 1.0094630718231201]
    assert params.brightness.tolist() == [-0.011334455572068691, 0.07408875972032547]
    assert params.gamma.tolist() == [0.858540952205658, 0.8393685817718506]
    assert params.erased[0].tolist() == [
        0.5008694529533386,
        0.36160939931869507,
        0.8837258219718933,
        0.6758236289024353,
    ]
    assert not params.flip.any()
    assert params.gain.tolist() == [1, 1]


def slow_source(x, y, spec, drawn):
    """Where in the image a point of the output lies, one step after the other; coordinates from -1 to 1."""
    turn, right, down, zoom, shear, area, aspect, left, top = drawn
    # Within the box, whose sides are parts of the moved image.
    area = spec.crop_area[0] + area * (spec.crop_area[1] - spec.crop_area[0])
    ratio = spec.crop_aspect[0] * (spec.crop_aspect[1] / spec.crop_aspect[0]) ** aspect
    width, height = min(math.sqrt(area * ratio), 1), min(math.sqrt(area / ratio), 1)
    left, top = left * (1 - width), top * (1 - height)
    x, y = left + (x + 1) / 2 * width, top + (y + 1) / 2 * height
    assert 0 <= left <= left + width <= 1
    assert 0 <= top <= top + height <= 1
    x, y = 2 * x - 1, 2 * y - 1
    # Turned and zoomed about the center.
    angle = math.radians((2 * turn - 1) * spec.rotate)
    scale = spec.zoom[0] * (spec.zoom[1] / spec.zoom[0]) ** zoom
    x, y = x / scale, y / scale
    x, y = math.cos(angle) * x - math.sin(angle) * y, math.sin(angle) * x + math.cos(angle) * y
    # Shifted by parts of the side, then sheared.
    x, y = x + 2 * (2 * right - 1) * spec.translate, y + 2 * (2 * down - 1) * spec.translate
    return x + math.tan(math.radians((2 * shear - 1) * spec.shear)) * y, y


def test_the_affine_map_equals_its_steps_one_after_the_other():
    drawn = uniform(0, "augment", epoch=0, positions=np.arange(32), count=19)
    theta = draw(EVERYTHING, 32).theta.double().numpy()
    columns = [1, 2, 3, 4, 13, 14, 15, 16, 17]
    for row in range(32):
        for x, y in ((-1, -1), (1, -1), (0.3, 0.9)):
            expected = slow_source(x, y, EVERYTHING, drawn[row, columns])
            np.testing.assert_allclose(theta[row] @ [x, y, 1], expected, atol=1e-6)


def test_crops_fill_their_ranges_and_stay_inside():
    spec = Augment(crop_area=(0.08, 1), crop_aspect=(3 / 4, 4 / 3))
    theta = draw(spec, 4000).theta
    width, height = theta[:, 0, 0], theta[:, 1, 1]
    assert not theta[:, 0, 1].any()
    assert not theta[:, 1, 0].any()
    for side, shift in ((width, theta[:, 0, 2]), (height, theta[:, 1, 2])):
        assert 0 < float(side.min()) < float(side.max()) <= 1
        assert float((shift.abs() + side).max()) <= 1 + 1e-6
    free = (width < 1) & (height < 1)
    area, aspect = (width * height)[free], (width / height)[free]
    assert 0.08 - 1e-6 <= float(area.min()) < 0.09
    assert 3 / 4 - 1e-5 <= float(aspect.min()) < 0.76
    assert 1.32 < float(aspect.max()) <= 4 / 3 + 1e-5
    # Few have a side that was shortened; the others' areas are spread evenly.
    assert float(free.float().mean()) > 0.8
    small = area[area < 0.5]
    assert float(small.mean()) == pytest.approx((0.08 + 0.5) / 2, abs=0.01)
    # Every place as often as its mirror image.
    assert float(theta[:, :, 2].mean()) == pytest.approx(0, abs=0.01)


def test_a_small_crop_of_a_large_image_is_not_blurred():
    pixels = pixels_of(2, 64)
    whole, corner = torch.eye(2, 3), torch.tensor([[0.25, 0, -0.75], [0, 0.25, -0.75]])
    drawn = nothing(2, theta=torch.stack([whole, corner]))
    found = apply(pixels, drawn, 16, Augment(crop_area=(1 / 16, 1)))
    torch.testing.assert_close(found[:1], to_input(pixels[:1], 16))
    torch.testing.assert_close(found[1], pixels[1:, :16, :16] / 255, atol=1e-5, rtol=0)


def test_a_crop_is_the_box_of_pixels_by_hand():
    pixels = pixels_of(1, side=20)
    # 16 of 20 pixels a side, from column 3 and row 0: the center lies at 11/20 and at 8/20.
    params = nothing(theta=torch.tensor([[[0.8, 0, 0.1], [0, 0.8, -0.2]]]))
    expected = pixels[:, None, 0:16, 3:19] / 255
    torch.testing.assert_close(apply(pixels, params, 16), expected, atol=1e-5, rtol=0)


def test_a_shear_leans_the_columns():
    pixels = torch.zeros(1, 41, 41, dtype=torch.uint8)
    pixels[0, :, 20] = 255
    theta = draw(Augment(shear=45), 200).theta
    row = int(torch.argmax(theta[:, 0, 1]))
    lean = float(theta[row, 0, 1])
    assert 0.9 < lean <= 1
    assert theta[row].flatten()[[0, 2, 3, 4, 5]].tolist() == [1, 0, 0, 1, 0]
    sheared = apply(pixels, nothing(theta=theta[row : row + 1]), 41)[0, 0]
    # y is -1/2 a quarter of the way down, and the line is where x + lean y = 0.
    assert abs(int(sheared[10].argmax()) - (20 + 10 * lean)) < 1
    assert int(sheared[20].argmax()) == 20
    assert abs(int(sheared[30].argmax()) - (20 - 10 * lean)) < 1


@pytest.mark.parametrize("size", [24, 16, 12])
def test_drawing_nothing_is_the_fixed_step_to_the_bit(size):
    pixels = pixels_of(5)
    assert torch.equal(apply(pixels, draw(Augment(), 5), size, Augment()), to_input(pixels, size))


def test_an_image_without_a_move_is_not_moved_by_its_neighbours():
    pixels, params = pixels_of(2), nothing(2)
    params.theta[1, 0, 2] = 0.3
    found = apply(pixels, params, 16)
    torch.testing.assert_close(found[:1], to_input(pixels[:1], 16), atol=1e-5, rtol=0)
    torch.testing.assert_close(found[1:], warp(pixels[1:], params.theta[1:], 16))


ALONE = [
    {"flip": 0.5},
    {"rotate": 15.0},
    {"translate": 0.1},
    {"shear": 10.0},
    {"zoom": (0.8, 1.25)},
    {"crop_area": (0.3, 1.0)},
    {"crop_aspect": (0.75, 4 / 3)},
    {"gain": 0.2},
    {"brightness": 0.2},
    {"contrast": 0.3},
    {"gamma": (0.7, 1.4)},
    {"erase": 1.0},
]


@pytest.mark.parametrize("settings", ALONE, ids=str)
def test_a_setting_alone_does_what_all_operations_would_do(settings):
    """What a section leaves out is left out of the operations too: it would have changed nothing."""
    pixels, spec = pixels_of(16), Augment(**settings)
    params = draw(spec, 16)
    found = apply(pixels, params, 16, spec)
    torch.testing.assert_close(found, apply(pixels, params, 16), atol=1e-5, rtol=0)
    assert not torch.allclose(found, to_input(pixels, 16), atol=1e-3)


@pytest.mark.parametrize(("side", "size"), [(64, 16), (64, 24), (24, 24), (50, 16)])
@pytest.mark.parametrize(
    "spec",
    [
        Augment(crop_area=(0.08, 1), crop_aspect=(3 / 4, 4 / 3)),
        Augment(crop_aspect=(0.5, 2.0)),
        Augment(zoom=(0.5, 2.0)),
        Augment(rotate=10, crop_area=(0.3, 0.9), zoom=(0.8, 1.25)),
    ],
    ids=str,
)
def test_each_image_is_averaged_over_areas_of_what_it_shows(spec, side, size):
    pixels, params = pixels_of(64, side), draw(spec, 64)
    found = apply(pixels, params, size, spec)
    shown = torch.linalg.det(params.theta[:, :, :2]).abs().sqrt().tolist()
    for row, part in enumerate(shown):
        factor = shrink_factor(round(side * part), size)
        expected = warp(pixels[row : row + 1], params.theta[row : row + 1], size, factor=factor)
        torch.testing.assert_close(found[row : row + 1], expected, atol=1e-6, rtol=0)


def test_two_flips_are_none():
    pixels = pixels_of(3)
    flipped = apply(pixels, nothing(3, flip=torch.tensor([True, False, True])), 24)
    images = to_input(pixels, 24)
    torch.testing.assert_close(flipped[0], images[0].flip(-1), atol=1e-5, rtol=0)
    torch.testing.assert_close(flipped[1], images[1], atol=1e-5, rtol=0)


def test_grey_values_by_hand():
    pixels = torch.tensor([[[0, 51], [102, 255]]], dtype=torch.uint8)  # 0, 0.2, 0.4, 1; mean 0.4
    params = nothing(contrast=torch.tensor([0.5]), brightness=torch.tensor([0.1]), gamma=torch.tensor([2.0]))
    expected = torch.tensor([[[[0.3**2, 0.4**2], [0.5**2, 0.8**2]]]])
    torch.testing.assert_close(apply(pixels, params, 2), expected)


def test_gain_is_clamped_before_contrast_by_hand():
    pixels = torch.tensor([[[0, 51], [102, 255]]], dtype=torch.uint8)  # 0, 0.2, 0.4, 1
    params = nothing(gain=torch.tensor([1.5]), contrast=torch.tensor([0.5]))
    # 0, 0.3, 0.6, 1 (not 1.5); their mean is 0.475.
    expected = torch.tensor([[[[0.2375, 0.3875], [0.5375, 0.7375]]]])
    torch.testing.assert_close(apply(pixels, params, 2), expected)


def test_an_erased_rectangle_is_the_mean_by_hand():
    pixels = torch.tensor([[[0, 51], [102, 255]]], dtype=torch.uint8)
    params = nothing(erased=torch.tensor([[0.0, 0.5, 0.5, 1.0]]))
    torch.testing.assert_close(apply(pixels, params, 2), torch.tensor([[[[0.0, 0.4], [0.4, 1.0]]]]))


def test_a_shift_and_a_zoom_go_the_way_they_say():
    pixels = torch.zeros(1, 20, 20, dtype=torch.uint8)
    pixels[0, 8:12, 8:12] = 255
    spec = Augment(zoom=(2.0, 2.0))
    zoomed = apply(pixels, draw(spec, 1), 20, spec)
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
