"""Measure where in the image the locations of a net's last feature map look.

A map with a stride of 32 is usually drawn as squares of 32 pixels, as if each location looked at the center
of its square. But a convolution of three pixels with a stride of two is centered on every second pixel,
starting with the first: after five of them location i looks around pixel 32 i, 15.5 pixels above and to the
left of the center of its square. Pooling over two pixels looks between them, asymmetric padding shifts
everything, and if the side of the image is not a multiple of the stride, the squares do not match the net at
all. How these effects add up along a net's branches depends on its weights, so they are measured with the
gradient of a location's features with respect to the image (the effective receptive field of Luo et al.,
NeurIPS 2016).
"""

import math
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from thorax.bundle import FeatureGrid
from thorax.models.classifier import Classifier, evaluation_mode
from thorax.models.heads import feature_map
from thorax.models.tensors import Images

__all__ = ["measure_feature_grid"]

_IMAGES: Final = 8
"""Noise images; with 8 of them and 4 sums of channels the two axes differ by about a pixel at stride 8."""

_SUMS: Final = 4
"""Normally weighted sums of channels per image whose gradients are computed."""


def measure_feature_grid(classifier: Classifier, size: int) -> FeatureGrid | None:
    """Return where in the image the locations of a net's last feature map look.

    Args:
        classifier: The net, in any mode, which is restored. The computation runs on its device.
        size: Rows and columns of its input.

    Returns:
        None if equal squares are to be assumed: for transformers, whose patches do not overlap (and whose
        attention would spread the gradient over the image); if timm does not give the stride; for a map with
        a single location; and if all gradients are zero.
    """
    if any("Attention" in type(module).__name__ for module in classifier.backbone.modules()):
        return None
    stages = getattr(classifier.backbone, "feature_info", None)
    if not stages:
        return None
    with evaluation_mode(classifier):
        energy, location = _energy_of_central_location(classifier, size)
    # A uniform background comes from gates that look at the whole image (squeeze and excitation).
    energy = (energy - energy.median()).clamp(min=0)
    if location == 0 or not float(energy.sum()) > 0:
        return None
    step = stages[-1]["reduction"]
    pixel_centers = torch.arange(size, device=energy.device, dtype=energy.dtype) + 0.5
    centers = [float((energy.sum(dim=axis) * pixel_centers).sum() / energy.sum()) for axis in (0, 1)]
    return FeatureGrid(start=round(sum(centers) / 2 - step * location, 1), step=step)


def _energy_of_central_location(classifier: Classifier, size: int) -> tuple[Float[Tensor, "size size"], int]:
    """Return the squared gradients of the central location, and its index along both axes."""
    generator = torch.Generator().manual_seed(0)
    energy = torch.zeros(size, size, dtype=torch.float64, device=classifier.mean.device)
    for noise in _noise(size, generator):  # one by one, because a backward pass needs much memory
        image = noise[None].to(energy.device).requires_grad_()
        with torch.enable_grad():
            features = feature_map(classifier.backbone, classifier.features(image))
            location = features.shape[-1] // 2
            vector = features[0, :, location, location].float()
            sums = torch.randn(_SUMS, len(vector), generator=generator).to(energy.device) @ vector
            for sum_of_channels in sums.unbind():
                (gradient,) = torch.autograd.grad(sum_of_channels, image, retain_graph=True)
                energy += gradient[0, 0].double().square()
    return energy, location


def _noise(size: int, generator: torch.Generator) -> Images:
    """Return images in [0, 1], half coarse and half pixel noise, so that filters of both kinds respond."""
    coarse = torch.rand(_IMAGES, 1, math.ceil(size / 16) + 1, math.ceil(size / 16) + 1, generator=generator)
    fine = torch.rand(_IMAGES, 1, size, size, generator=generator)
    enlarged = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")
    return (enlarged + fine) / 2
