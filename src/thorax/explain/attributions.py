"""Attributions without a feature map: attention rollout, integrated gradients, occlusion, RISE."""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from thorax.errors import RecipeError
from thorax.explain.cam import MapsTensor, enlarge_maps
from thorax.models import Classifier, evaluation_mode, feature_map
from thorax.models.tensors import Images
from thorax.randomness import uniform

__all__ = [
    "attention_rollout",
    "gradient_rollout",
    "integrated_gradients",
    "occlusion",
    "rise",
    "smooth_grad",
]

Weights = Float[Tensor, "batch head token token"]
Relevance = Float[Tensor, "batch token token"]


def attention_rollout(classifier: Classifier, images: Images) -> MapsTensor:
    """Return how much each location contributes to the features that are read; independent of the finding.

    Abnar and Zuidema 2020: in each layer, half the mean attention of its heads and half the token itself.

    Args:
        classifier: A vision transformer; it is left unchanged.
        images: Images at its input size.

    Returns:
        One map per image, shaped as for one finding.

    Raises:
        RecipeError: The network is not a vision transformer.
    """
    with torch.no_grad(), evaluation_mode(classifier):
        features, layers = _recorded(classifier, images)
        relevance = _identity(layers[0])
        for weights in layers:
            attention = weights.mean(dim=1) + _identity(weights)
            relevance = attention / attention.sum(dim=-1, keepdim=True) @ relevance
        return enlarge_maps(_read(classifier, features, relevance).unsqueeze(1), images.shape[-1])


def gradient_rollout(classifier: Classifier, images: Images, columns: Sequence[int]) -> MapsTensor:
    """Return how much each location contributes to a logit, with attention weighted by its gradient.

    Chefer, Gur and Wolf 2021, for one modality: each layer adds the mean over heads of the positive part of
    attention times gradient, multiplied by the relevance so far. Each token's own identity is left out.

    Args:
        classifier: A vision transformer; it is left unchanged, without gradients.
        images: Images at its input size.
        columns: Indices of the outputs.

    Raises:
        RecipeError: The network is not a vision transformer.
    """
    with torch.enable_grad(), evaluation_mode(classifier):
        features, layers = _recorded(classifier, images.detach().requires_grad_())
        logits = classifier.classify(features)
        maps = []
        for column in columns:
            gradients = torch.autograd.grad(
                logits[:, column].sum(), layers, retain_graph=True, allow_unused=True
            )
            with torch.no_grad():
                relevance = _gradient_relevance(layers, gradients)
                maps.append(_read(classifier, features, relevance))
    return enlarge_maps(torch.stack(maps, dim=1), images.shape[-1])


class _Recorder(TorchFunctionMode):
    """Computes fused attention in two steps and records the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Record attention; pass every other function through."""
        if func is functional.scaled_dot_product_attention:
            return self._attend(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        scale: float | None = None,
        **_: Any,
    ) -> Tensor:
        factor = query.shape[-1] ** -0.5 if scale is None else scale
        scores = (query * factor) @ key.transpose(-2, -1)
        if attn_mask is not None:
            scores = (
                scores.masked_fill(~attn_mask, -torch.inf)
                if attn_mask.dtype == torch.bool
                else scores + attn_mask
            )
        weights = scores.softmax(dim=-1)
        self.weights.append(weights)
        return weights @ value


def _recorded(
    classifier: Classifier, images: Images
) -> tuple[Float[Tensor, "batch token channel"], list[Weights]]:
    """Return the features of images and the attention weights of each layer.

    Raises:
        RecipeError: A layer does not attend from every token to every token of its image.
    """
    recorder = _Recorder()
    with recorder:
        features = classifier.features(images)
    tokens = features.shape[1]
    square = (len(images), tokens, tokens)
    shapes = {(weights.shape[0], *weights.shape[2:]) for weights in recorder.weights}
    if features.ndim != 3 or shapes != {square}:  # noqa: PLR2004  (batch, token, channel)
        raise RecipeError(
            f"{type(classifier.backbone).__name__} does not attend from all locations to all locations, "
            "which this method requires; use the method grad-cam or hirescam, or a vision transformer"
        )
    return features, recorder.weights


def _identity(weights: Weights) -> Relevance:
    return torch.eye(weights.shape[-1], device=weights.device, dtype=weights.dtype).expand(
        len(weights), -1, -1
    )


def _gradient_relevance(layers: Sequence[Weights], gradients: Sequence[Tensor | None]) -> Relevance:
    relevance = torch.zeros_like(_identity(layers[0]))
    for weights, gradient in zip(layers, gradients, strict=True):
        if gradient is None:
            continue
        passed = (weights * gradient).clamp(min=0).mean(dim=1)
        # (identity + passed) @ (identity + relevance), minus the identity.
        relevance = relevance + passed + passed @ relevance
    return relevance


def _read(
    classifier: Classifier, features: Float[Tensor, "batch token channel"], relevance: Relevance
) -> Float[Tensor, "batch h w"]:
    """Return the mean relevance of each location for the tokens that the logits are read from."""
    leaf = features.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(classifier.classify(leaf).sum(), leaf)
    read = (gradient != 0).any(dim=2).to(relevance.dtype)
    share = read / read.sum(dim=1, keepdim=True).clamp(min=1)
    of_tokens = torch.einsum("bt,bts->bs", share, relevance)
    # Shaped like features with identical channels, so that the backbone's own layout applies.
    return feature_map(classifier.backbone, of_tokens[:, :, None].expand_as(features))[:, 0]


def integrated_gradients(
    classifier: Classifier, images: Images, columns: Sequence[int], *, steps: int = 32, baseline: float = 0.0
) -> MapsTensor:
    """Return each pixel's contribution to the difference in logit between the image and a flat image.

    Sundararajan, Taly and Yan 2017, with gradients at the midpoints of `steps` equal segments of the straight
    line between the two: the sum over pixels is the difference, up to the error of this approximation.

    Args:
        classifier: The network; it is left unchanged, without gradients.
        images: Images at its input size.
        columns: Indices of the outputs.
        steps: Number of forward passes, each with one backward pass per column.
        baseline: Gray value of the flat image, from 0 (black) to 1.
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
    """Return how strongly the logit reacts to each pixel, in either direction (Smilkov et al. 2017).

    This is the absolute value of the mean gradient over noisy copies of the image. All images of a call get
    the same noise, so that results do not depend on the batch.

    Args:
        classifier: The network; it is left unchanged, without gradients.
        images: Images at its input size.
        columns: Indices of the outputs.
        samples: Number of noisy copies, each with a forward pass and one backward pass per column.
        noise: Standard deviation of the noise as a fraction of the image's range of gray values.
        seed: Seed of the noise.
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
    gradients = [torch.autograd.grad(sums[column], leaf, retain_graph=True)[0] for column in columns]
    return torch.cat(gradients, dim=1)


def _noise(like: Images, *, seed: int, sample: int) -> Float32[Tensor, "1 1 height width"]:
    """Return standard normal noise, a pure function of the seed, the sample and the image's size."""
    height, width = like.shape[2:]
    number = np.array([sample], dtype=np.int64)
    draws = uniform(seed, "smooth-grad", epoch=0, positions=number, count=2 * height * width)
    radius, angle = draws.reshape(2, 1, 1, height, width)
    # Box and Muller; 1 - u is in (0, 1], where the logarithm exists.
    normal = np.sqrt(-2 * np.log(1 - radius)) * np.cos(2 * math.pi * angle)
    return torch.from_numpy(normal.astype(np.float32)).to(like.device)


_BATCH: Final = 32
"""Masks of an image that pass through the network together."""

Masks = Float[Tensor, "mask height width"]
"""How visible each pixel is, from 0 to 1."""


def occlusion(
    classifier: Classifier, images: Images, columns: Sequence[int], *, window: float = 0.125
) -> MapsTensor:
    """Return by how much the logit drops when a window is hidden (Zeiler and Fergus 2014).

    Windows overlap by half; a pixel gets the mean over the windows that hide it. The map cannot show details
    smaller than half a window.

    Args:
        classifier: The network; it is left unchanged.
        images: Images at its input size.
        columns: Indices of the outputs.
        window: Side of the window as a fraction of the image's, at most 1. The default gives 225 windows,
            each with a forward pass.
    """
    chosen, side = list(columns), max(1, round(images.shape[-1] * window))
    height, width = images.shape[2:]
    corners = [(top, left) for top in _starts(height, side) for left in _starts(width, side)]
    total = images.new_zeros(len(images), len(chosen), height, width)
    counts = images.new_zeros(height, width)
    with torch.no_grad(), evaluation_mode(classifier):
        whole = classifier(images)[:, chosen]
        for first in range(0, len(corners), _BATCH):
            masks = _windows(images, corners[first : first + _BATCH], side=side)
            drop = whole - _masked_logits(classifier, images, masks)[:, :, chosen]
            total += torch.einsum("mbk,mhw->bkhw", drop, 1 - masks)
            counts += (1 - masks).sum(dim=0)
    return total / counts


def rise(
    classifier: Classifier,
    images: Images,
    columns: Sequence[int],
    *,
    masks: int = 1000,
    cells: int = 7,
    seed: int = 0,
) -> MapsTensor:
    """Return how the logit varies with the visibility of a pixel over random masks.

    RISE of Petsiuk, Das and Saenko 2018 with half of the cells visible: the covariance of logit and mask,
    divided by the mask's variance, so that a constant logit gives 0. At the paper's number of masks, its
    weighted mean of masks is this plus a constant.

    Args:
        classifier: The network; it is left unchanged.
        images: Images at its input size.
        columns: Indices of the outputs.
        masks: Number of masks, each with a forward pass. The paper uses 4,000 to 8,000.
        cells: Cells of a mask along each side, before it is enlarged smoothly and shifted.
        seed: Seed of the masks. All images of a call get the same masks.
    """
    chosen = list(columns)
    visible, visible_squared = (images.new_zeros(images.shape[2:]) for _ in range(2))
    changed = images.new_zeros(len(images), len(chosen))
    product = images.new_zeros(len(images), len(chosen), *images.shape[2:])
    with torch.no_grad(), evaluation_mode(classifier):
        whole = classifier(images)[:, chosen]
        for first in range(0, masks, _BATCH):
            numbers = np.arange(first, min(first + _BATCH, masks), dtype=np.int64)
            batch = _random_masks(images, numbers, cells=cells, seed=seed)
            # Relative to the whole image's logit, so that sums stay small and exact.
            change = _masked_logits(classifier, images, batch)[:, :, chosen] - whole
            changed += change.sum(dim=0)
            product += torch.einsum("mbk,mhw->bkhw", change, batch)
            visible += batch.sum(dim=0)
            visible_squared += (batch**2).sum(dim=0)
    covariance = product / masks - (changed / masks)[:, :, None, None] * (visible / masks)
    variance = visible_squared / masks - (visible / masks) ** 2
    return covariance / variance.mean()


def _masked_logits(classifier: Classifier, images: Images, masks: Masks) -> Float[Tensor, "mask batch all"]:
    """Return the logits of each image behind each mask."""
    mean = images.mean(dim=(2, 3), keepdim=True)
    return torch.stack(
        [
            classifier(gray + (image - gray) * masks[:, None])
            for image, gray in zip(images, mean, strict=True)
        ],
        dim=1,
    )


def _starts(length: int, side: int) -> list[int]:
    """Return the starts of windows along one axis: half a window apart, the last one at the end."""
    last = length - side
    return [*range(0, last, max(1, side // 2)), last]


def _windows(images: Images, corners: Sequence[tuple[int, int]], *, side: int) -> Masks:
    """Return masks that each hide one square, given the squares' top left corners."""
    masks = images.new_ones(len(corners), *images.shape[2:])
    for mask, (top, left) in zip(masks, corners, strict=True):
        mask[top : top + side, left : left + side] = 0
    return masks


def _random_masks(images: Images, numbers: Int64[np.ndarray, " mask"], *, cells: int, seed: int) -> Masks:
    """Return smooth random masks: visible or hidden cells, enlarged linearly, cropped at a random shift."""
    height, width = images.shape[2:]
    # One more cell than the image holds, since the shift is less than a cell.
    side = cells + 1
    draws = uniform(seed, "rise", epoch=0, positions=numbers, count=side**2 + 2)
    visible = np.round(draws[:, 2:]).astype(np.float32).reshape(-1, 1, side, side)
    down, across = -(-height // cells), -(-width // cells)
    enlarged = functional.interpolate(
        torch.from_numpy(visible).to(images.device), size=(down * side, across * side), mode="bilinear"
    )
    shifts = (draws[:, :2] * (down, across)).astype(int).tolist()
    crops = [mask[0, y : y + height, x : x + width] for mask, (y, x) in zip(enlarged, shifts, strict=True)]
    return torch.stack(crops)
