import numpy as np
import pytest
import torch

from tests.helpers.toy_nets import build, images, powers
from thorax.explain.attributions import occlusion, rise


def slow_occlusion(classifier, image, column, side, stride):
    """Slow and obvious: hide one window after the other, and note by how much the logit falls."""
    size = image.shape[-1]
    starts = sorted({*range(0, size - side, stride), size - side})
    total, times = np.zeros((size, size)), np.zeros((size, size))
    with torch.no_grad():
        whole = float(classifier(image)[0, column])
        for top in starts:
            for left in starts:
                hidden = image.clone()
                hidden[:, :, top : top + side, left : left + side] = image.mean()
                fall = whole - float(classifier(hidden)[0, column])
                total[top : top + side, left : left + side] += fall
                times[top : top + side, left : left + side] += 1
    return total / times


def test_occlusion_by_hand():
    # The logit is the mean of 4 x: hiding one of four pixels takes what it has above the mean, 2.5.
    pixels = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    maps = occlusion(powers([[4.0, 0.0], [-4.0, 0.0]]), pixels, [0, 1], window=0.5)
    torch.testing.assert_close(maps[0, 0], torch.tensor([[-1.5, -0.5], [0.5, 1.5]]))
    torch.testing.assert_close(maps[0, 1], -maps[0, 0])


@pytest.mark.parametrize(("size", "window", "side", "stride"), [(32, 0.25, 8, 4), (33, 0.2, 7, 3)])
def test_occlusion_equals_its_slow_twin(size, window, side, stride):
    classifier, shown = build("densenet121").eval(), images(2, size=size)
    maps = occlusion(classifier, shown, [1], window=window)
    for image, found in zip(shown, maps, strict=True):
        expected = slow_occlusion(classifier, image[None], 1, side, stride)
        np.testing.assert_allclose(found[0], expected, atol=1e-5)


def test_a_window_as_large_as_the_image_hides_all_of_it():
    shown = images(1, size=16)
    classifier = powers([[0.0, 1.0]])
    maps = occlusion(classifier, shown, [0], window=1.0)
    variance = float(shown.var(correction=0))
    torch.testing.assert_close(maps, torch.full_like(maps, variance))


def test_rise_finds_the_weights_of_a_linear_net():
    """Of a logit that is linear in the pixels, the map is each cell's weight times what stands there."""
    shown = torch.full((1, 1, 28, 28), 0.2)
    shown[:, :, 4:12, 16:24] = 1.0
    maps = rise(powers([[3.0, 0.0]]), shown, [0], masks=2000)[0, 0]
    row, column = divmod(int(maps.argmax()), 28)
    assert 4 <= row < 12
    assert 16 <= column < 24
    assert float(maps[20:, :8].abs().max()) < 0.3 * float(maps.max())


def test_rise_hides_half_of_the_image_smoothly():
    """A net that returns the mean tells how much of a white square on black each mask shows."""
    shown = torch.zeros(1, 1, 32, 32)
    shown[:, :, 8:24, 8:24] = 1.0
    with torch.no_grad():
        whole = rise(powers([[1.0, 0.0]]), shown, [0], masks=500)
    assert bool(torch.isfinite(whole).all())
    mirrored = rise(powers([[-1.0, 0.0]]), shown, [0], masks=500)
    torch.testing.assert_close(whole, -mirrored, atol=1e-6, rtol=1e-4)


def test_more_masks_are_the_first_ones_and_further_ones():
    """Masks are drawn by number: the map settles as they grow in number."""
    classifier, shown = build("densenet121").eval(), images(1, size=32)
    few, more, most = (rise(classifier, shown, [0], masks=masks) for masks in (100, 800, 1600))
    assert float((more - most).norm()) < float((few - most).norm())
