"""Gradients at the pixels: integrated gradients and SmoothGrad. They ask nothing of the net but gradients."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from thorax.explain.cam import MapsTensor
from thorax.models import Classifier, evaluation_mode
from thorax.models.tensors import Images
from thorax.randomness import uniform

__all__ = ["integrated_gradients", "smooth_grad"]


def integrated_gradients(
    classifier: Classifier, images: Images, columns: Sequence[int], *, steps: int = 32, baseline: float = 0.0
) -> MapsTensor:
    """Return each pixel's part of the difference between the logit of the image and that of a flat image.

    Sundararajan, Taly and Yan 2017, with the gradients at the middles of `steps` equal parts of the straight
    line: the sum over pixels is the difference, up to the error of that sum.

    Args:
        classifier: The net; it is left as it was, without gradients.
        images: At its input size.
        columns: Which outputs.
        steps: Passes forward; for each of them one pass back per column.
        baseline: Grey value of the flat image, from 0 (black) to 1.
    """
    difference = images - baseline
    total = images.new_zeros(len(images), len(columns), *images.shape[2:])
    with evaluation_mode(classifier):
        for step in range(steps):
            between = baseline + (step + 0.5) / steps * difference
            total += _pixel_gradients(classifier, between, columns)
    return total / steps * difference


def smooth_grad(
    classifier: Classifier,
    images: Images,
    columns: Sequence[int],
    *,
    samples: int = 16,
    noise: float = 0.15,
    seed: int = 0,
) -> MapsTensor:
    """Return how strongly the logit reacts to each pixel, whichever way (Smilkov et al. 2017).

    The absolute value of the mean gradient over noisy copies of the image. All images of a call get the same
    noise, so that a batch gives what its images give one by one.

    Args:
        classifier: The net; it is left as it was, without gradients.
        images: At its input size.
        columns: Which outputs.
        samples: Noisy copies; each costs a pass forward and one back per column.
        noise: Standard deviation of the noise as a part of the image's range of grey values.
        seed: Of the noise.
    """
    spread = noise * (images.amax(dim=(1, 2, 3), keepdim=True) - images.amin(dim=(1, 2, 3), keepdim=True))
    total = images.new_zeros(len(images), len(columns), *images.shape[2:])
    with evaluation_mode(classifier):
        for sample in range(samples):
            noisy = images + spread * _noise(images, seed=seed, sample=sample)
            total += _pixel_gradients(classifier, noisy, columns)
    return (total / samples).abs()


def _pixel_gradients(classifier: Classifier, images: Images, columns: Sequence[int]) -> MapsTensor:
    leaf = images.detach().requires_grad_()
    with torch.enable_grad():
        sums = classifier(leaf).sum(dim=0).unbind()
    found = [torch.autograd.grad(sums[column], leaf, retain_graph=True)[0].squeeze(1) for column in columns]
    return torch.stack(found, dim=1)


def _noise(like: Images, *, seed: int, sample: int) -> Float32[Tensor, "1 1 height width"]:
    """Return standard normal noise, a pure function of the seed, the sample and the image's size."""
    height, width = like.shape[2:]
    number = np.array([sample], dtype=np.int64)
    draws = uniform(seed, "smooth-grad", epoch=0, positions=number, count=2 * height * width)
    radius, angle = draws.reshape(2, 1, 1, height, width)
    # Box and Muller; 1 - u lies in (0, 1], whose logarithm exists.
    normal = np.sqrt(-2 * np.log(1 - radius)) * np.cos(2 * math.pi * angle)
    return torch.from_numpy(normal.astype(np.float32)).to(like.device)
