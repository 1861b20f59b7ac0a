"""Where in the image the places of a net's last map look: not always at the middle of equal squares.

Each place of a map with a stride of 32 is drawn 32 pixels wide, and its middle is taken for what it sees. A
convolution of three pixels with a stride of two looks around every second pixel, from the first on: after
five of them place i looks around pixel 32 i, 15.5 pixels up and left of the middle of its square. Pooling
over two pixels looks between them, padding that is larger at one end moves everything, and where the image's
side is no multiple of the stride the squares are no squares of the net at all. How these add up along a net's
branches depends on its weights, so that it is measured: by the gradient of a place's features with respect
to the image (the effective receptive field of Luo et al., NeurIPS 2016).
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
"""Images of noise; with 8 and 4 sums of channels the two axes differ by a pixel or so of a stride of 8."""

_SUMS: Final = 4
"""Sums of channels for each image, with weights from a normal distribution, whose gradients are taken."""


def measure_feature_grid(classifier: Classifier, size: int) -> FeatureGrid | None:
    """Return where the places of a net's last map look.

    Args:
        classifier: The net, in any mode; it is left as it was. Computed where it is.
        size: Rows and columns of its input.

    Returns:
        None where the places are taken for equal squares: in transformers, whose patches do not overlap (and
        whose attention would spread the gradient over the image); where timm does not say the stride; in a
        map of one place; and where a net is dead.
    """
    if any("Attention" in type(module).__name__ for module in classifier.backbone.modules()):
        return None
    stages = getattr(classifier.backbone, "feature_info", None)
    if not stages:
        return None
    with evaluation_mode(classifier):
        energy, place = _energy_of_the_middle(classifier, size)
    # What is everywhere comes from gates that look at the whole image (squeeze and excitation).
    energy = (energy - energy.median()).clamp(min=0)
    if place == 0 or not float(energy.sum()) > 0:
        return None
    step = stages[-1]["reduction"]
    middle = torch.arange(size, device=energy.device, dtype=energy.dtype) + 0.5
    centers = [float((energy.sum(dim=axis) * middle).sum() / energy.sum()) for axis in (0, 1)]
    return FeatureGrid(start=round(sum(centers) / 2 - step * place, 1), step=step)


def _energy_of_the_middle(classifier: Classifier, size: int) -> tuple[Float[Tensor, "size size"], int]:
    """Return squared gradients of the middle place, and its number along an axis."""
    draw = torch.Generator().manual_seed(0)
    energy = torch.zeros(size, size, dtype=torch.float64, device=classifier.mean.device)
    for noise in _noise(size, draw):  # one by one: what a pass keeps for its gradient is large
        image = noise[None].to(energy.device).requires_grad_()
        with torch.enable_grad():
            features = feature_map(classifier.backbone, classifier.features(image))
            place = features.shape[-1] // 2
            there = features[0, :, place, place].float()
            sums = torch.randn(_SUMS, len(there), generator=draw).to(energy.device) @ there
            for sum_of_channels in sums.unbind():
                (gradient,) = torch.autograd.grad(sum_of_channels, image, retain_graph=True)
                energy += gradient[0, 0].double().square()
    return energy, place


def _noise(size: int, draw: torch.Generator) -> Images:
    """Return images in [0, 1]: half coarse, half of single pixels, so that filters of both kinds answer."""
    coarse = torch.rand(_IMAGES, 1, math.ceil(size / 16) + 1, math.ceil(size / 16) + 1, generator=draw)
    fine = torch.rand(_IMAGES, 1, size, size, generator=draw)
    enlarged = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")
    return (enlarged + fine) / 2
