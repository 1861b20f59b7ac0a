import numpy as np
import pytest
import torch

from tests.helpers.toy_nets import build, images, powers
from thorax.explain.attributions import integrated_gradients, smooth_grad

PIXELS = torch.tensor([[[[0.1, 0.2], [0.3, 0.4]]]])


def test_integrated_gradients_by_hand():
    # The logit is mean(2x + 3x^2): the parts of the four pixels, from a black image and from 0.1.
    from_black = integrated_gradients(powers([[2.0, 3.0]]), PIXELS, [0])
    torch.testing.assert_close(from_black, (2 * PIXELS + 3 * PIXELS**2) / 4)
    from_gray = integrated_gradients(powers([[2.0, 3.0]]), PIXELS, [0], baseline=0.1)
    torch.testing.assert_close(from_gray, (2 * (PIXELS - 0.1) + 3 * (PIXELS**2 - 0.01)) / 4)


@pytest.mark.parametrize("backbone", ["densenet121", "test_vit"])
def test_integrated_gradients_are_complete(backbone):
    """They add up to the difference of the logits, the nearer the more steps."""
    classifier, shown = build(backbone).eval(), images()
    with torch.no_grad():
        difference = classifier(shown) - classifier(torch.zeros_like(shown))
    maps = integrated_gradients(classifier, shown, [0, 1, 2], steps=64)
    error = (maps.sum(dim=(2, 3)) - difference).abs().max()
    assert float(error) < 0.02 * float(difference.abs().max())


def test_smooth_grad_by_hand():
    # Of mean(w x) the gradient is w / 4 everywhere, whatever the noise; its sign is left out.
    maps = smooth_grad(powers([[2.0, 0.0], [-3.0, 0.0]]), PIXELS, [0, 1])
    torch.testing.assert_close(maps, torch.tensor([0.5, 0.75]).reshape(1, 2, 1, 1).expand(1, 2, 2, 2))


def test_the_noise_of_smooth_grad_is_of_the_right_size_and_averages_out():
    # Of mean(x^2) the gradient is (x + noise) / 2: over many samples x / 2, with what is left of the noise.
    shown = images(1, size=32) + 5.0
    maps = smooth_grad(powers([[0.0, 1.0]]), shown, [0], samples=64, noise=0.5)
    error = (maps[:, 0] * 32 * 32 / 2 - shown[:, 0]).flatten()
    spread = 0.5 * float(shown.max() - shown.min())
    assert float(error.std()) == pytest.approx(spread / 8, rel=0.1)
    assert abs(float(error.mean())) < 4 * spread / 8 / 32


def test_without_noise_smooth_grad_is_the_gradient():
    classifier, shown = build("densenet121").eval(), images().requires_grad_()
    classifier(shown)[:, 1].sum().backward()
    maps = smooth_grad(classifier, shown.detach(), [1], samples=2, noise=0.0)
    np.testing.assert_allclose(maps[:, 0], shown.grad.abs()[:, 0], rtol=1e-4, atol=1e-7)
