import pytest
import torch

from thorax.models.test_time_views import View, apply_view, to_input, views
from thorax.recipe.schema import TestTime


def pixels(side=32, count=2):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, side, side), dtype=torch.uint8, generator=generator)


def test_a_plain_pipeline_has_one_view_which_is_the_fixed_step():
    assert views(TestTime()) == [View()]
    images = pixels()
    assert torch.equal(apply_view(images, View(), 24), to_input(images, 24))


def test_the_mirror_image_moves_pixels_only():
    plain, mirrored = views(TestTime(flip=True))
    assert (plain.mirrored, mirrored.mirrored) == (False, True)
    images = pixels()
    assert torch.equal(apply_view(images, mirrored, 32), to_input(images, 32).flip(-1))


def test_ten_crops_are_the_windows_of_the_image():
    images = pixels()
    found = views(TestTime(flip=True, five_crops=True, crop_part=0.75))
    assert len(found) == 10
    whole = to_input(images, 32)
    corners = [(0, 0), (0, 8), (8, 0), (8, 8), (4, 4)]
    for (top, left), plain, mirrored in zip(corners, found[::2], found[1::2], strict=True):
        window = whole[:, :, top : top + 24, left : left + 24]
        torch.testing.assert_close(apply_view(images, plain, 24), window, atol=2e-6, rtol=0)
        torch.testing.assert_close(apply_view(images, mirrored, 24), window.flip(-1), atol=2e-6, rtol=0)


def test_a_scale_shows_the_middle():
    images = pixels()
    (view,) = views(TestTime(scales=(2.0,)))
    window = to_input(images, 32)[:, :, 8:24, 8:24]
    torch.testing.assert_close(apply_view(images, view, 16), window, atol=2e-6, rtol=0)


def test_a_scale_below_one_has_a_black_margin():
    (view,) = views(TestTime(scales=(0.5,)))
    found = apply_view(torch.full((1, 32, 32), 255, dtype=torch.uint8), view, 32)[0, 0]
    expected = torch.zeros(32, 32)
    expected[8:24, 8:24] = 1
    assert torch.equal(found, expected)


def test_scales_crops_and_mirror_images_multiply():
    found = views(TestTime(flip=True, five_crops=True, scales=(1.0, 1.25)))
    assert len(found) == len(set(found)) == 20
    assert {view.side for view in found} == {0.875, 0.7}
    centers = [(view.x, view.y) for view in found[10:]]
    assert centers[0] == pytest.approx((-0.1, -0.1))
    assert all(abs(view.x) + view.side <= 1 and abs(view.y) + view.side <= 1 for view in found)
