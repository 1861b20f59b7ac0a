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
    """Return how much of each place reaches the features that are read; not about any finding.

    Abnar and Zuidema 2020: in each layer, half the mean attention of its heads and half the token itself.

    Args:
        classifier: A vision transformer; it is left as it was.
        images: At its input size.

    Returns:
        One map per image, as of one finding.

    Raises:
        RecipeError: The net is no vision transformer.
    """
    with torch.no_grad(), evaluation_mode(classifier):
        features, layers = _recorded(classifier, images)
        relevance = _identity(layers[0])
        for weights in layers:
            attention = weights.mean(dim=1) + _identity(weights)
            relevance = attention / attention.sum(dim=-1, keepdim=True) @ relevance
        return enlarge_maps(_read(classifier, features, relevance).unsqueeze(1), images.shape[-1])


def gradient_rollout(classifier: Classifier, images: Images, columns: Sequence[int]) -> MapsTensor:
    """Return how much of each place reaches a logit, each attention weighted by its gradient.

    Chefer, Gur and Wolf 2021, for one modality: in each layer the mean over heads of the positive part of
    attention times its gradient is added to what came through. What a token keeps to itself is left out.

    Args:
        classifier: A vision transformer; it is left as it was, without gradients.
        images: At its input size.
        columns: Which outputs.

    Raises:
        RecipeError: The net is no vision transformer.
    """
    with torch.enable_grad(), evaluation_mode(classifier):
        features, layers = _recorded(classifier, images.detach().requires_grad_())
        logits = classifier.classify(features)
        maps = []
        for column in columns:
            found = torch.autograd.grad(logits[:, column].sum(), layers, retain_graph=True, allow_unused=True)
            with torch.no_grad():
                relevance = _gradient_relevance(layers, found)
                maps.append(_read(classifier, features, relevance))
    return enlarge_maps(torch.stack(maps, dim=1), images.shape[-1])


class _Recorder(TorchFunctionMode):
    """Computes fused attention in two steps, and keeps the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Let every other function pass as it is."""
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
        RecipeError: Not every layer lets every token look at every token of its image.
    """
    recorder = _Recorder()
    with recorder:
        features = classifier.features(images)
    tokens = features.shape[1]
    square = (len(images), tokens, tokens)
    shapes = {(weights.shape[0], *weights.shape[2:]) for weights in recorder.weights}
    if features.ndim != 3 or shapes != {square}:  # noqa: PLR2004  (batch, token, channel)
        raise RecipeError(
            f"{type(classifier.backbone).__name__} has no attention of all places to all places that could "
            "be followed; take the method grad-cam or hirescam, or a vision transformer"
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
        # (identity + passed) @ (identity + relevance), less the identity.
        relevance = relevance + passed + passed @ relevance
    return relevance


def _read(
    classifier: Classifier, features: Float[Tensor, "batch token channel"], relevance: Relevance
) -> Float[Tensor, "batch h w"]:
    """Return the mean relevance of each place for the tokens that the logits are read from."""
    leaf = features.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(classifier.classify(leaf).sum(), leaf)
    read = (gradient != 0).any(dim=2).to(relevance.dtype)
    share = read / read.sum(dim=1, keepdim=True).clamp(min=1)
    of_tokens = torch.einsum("bt,bts->bs", share, relevance)
    # As features whose channels are all alike, so that the layout is the backbone's own.
    return feature_map(classifier.backbone, of_tokens[:, :, None].expand_as(features))[:, 0]


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
    """Return how strongly the logit reacts to each pixel, whichever way (Smilkov et al. 2017).

    The absolute value of the mean gradient over noisy copies of the image. All images of a call get the same
    noise, so that a batch gives what its images give one by one.

    Args:
        classifier: The net; it is left as it was, without gradients.
        images: At its input size.
        columns: Which outputs.
        samples: Noisy copies; each costs a pass forward and one back per column.
        noise: Standard deviation of the noise as a part of the image's range of gray values.
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


_BATCH: Final = 32
"""Masks of an image that go through the net together."""

Masks = Float[Tensor, "mask height width"]
"""How much of each pixel is seen, from 0 to 1."""


def occlusion(
    classifier: Classifier, images: Images, columns: Sequence[int], *, window: float = 0.125
) -> MapsTensor:
    """Return by how much the logit falls when a window is hidden (Zeiler and Fergus 2014).

    Windows overlap by half; a pixel gets the mean over those that hide it. Such a map cannot show details
    smaller than half a window.

    Args:
        classifier: The net; it is left as it was.
        images: At its input size.
        columns: Which outputs.
        window: Side of the window as a part of the image's, at most 1. With the usual one there are 225
            windows, and a pass forward for each.
    """
    chosen, side = list(columns), max(1, round(images.shape[-1] * window))
    height, width = images.shape[2:]
    corners = [(top, left) for top in _starts(height, side) for left in _starts(width, side)]
    total = images.new_zeros(len(images), len(chosen), height, width)
    times = images.new_zeros(height, width)
    with torch.no_grad(), evaluation_mode(classifier):
        whole = classifier(images)[:, chosen]
        for first in range(0, len(corners), _BATCH):
            masks = _windows(images, corners[first : first + _BATCH], side=side)
            fall = whole - _masked_logits(classifier, images, masks)[:, :, chosen]
            total += torch.einsum("mbk,mhw->bkhw", fall, 1 - masks)
            times += (1 - masks).sum(dim=0)
    return total / times


def rise(
    classifier: Classifier,
    images: Images,
    columns: Sequence[int],
    *,
    masks: int = 1000,
    cells: int = 7,
    seed: int = 0,
) -> MapsTensor:
    """Return how the logit and the visibility of a pixel go together over random masks.

    RISE of Petsiuk, Das and Saenko 2018 with half of the cells seen: the covariance of logit and mask over
    the mask's variance, so that a net which never changes its mind gives 0. The paper's weighted mean of
    masks is this plus a constant, at its number of masks.

    Args:
        classifier: The net; it is left as it was.
        images: At its input size.
        columns: Which outputs.
        masks: How many; each costs a pass forward. The paper takes 4,000 to 8,000.
        cells: Cells of a mask along each side, before it is enlarged smoothly and shifted.
        seed: Of the masks. All images of a call get the same ones.
    """
    chosen = list(columns)
    seen, seen_squared = (images.new_zeros(images.shape[2:]) for _ in range(2))
    changed = images.new_zeros(len(images), len(chosen))
    product = images.new_zeros(len(images), len(chosen), *images.shape[2:])
    with torch.no_grad(), evaluation_mode(classifier):
        whole = classifier(images)[:, chosen]
        for first in range(0, masks, _BATCH):
            numbers = np.arange(first, min(first + _BATCH, masks), dtype=np.int64)
            drawn = _random_masks(images, numbers, cells=cells, seed=seed)
            # From the whole image's logit, so that sums stay small and exact.
            change = _masked_logits(classifier, images, drawn)[:, :, chosen] - whole
            changed += change.sum(dim=0)
            product += torch.einsum("mbk,mhw->bkhw", change, drawn)
            seen += drawn.sum(dim=0)
            seen_squared += (drawn**2).sum(dim=0)
    covariance = product / masks - (changed / masks)[:, :, None, None] * (seen / masks)
    variance = seen_squared / masks - (seen / masks) ** 2
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
    """Return where windows begin along one axis: half a window apart, the last one at the end."""
    last = length - side
    return [*range(0, last, max(1, side // 2)), last]


def _windows(images: Images, corners: Sequence[tuple[int, int]], *, side: int) -> Masks:
    """Return masks that hide a square each, given their top left corners."""
    masks = images.new_ones(len(corners), *images.shape[2:])
    for mask, (top, left) in zip(masks, corners, strict=True):
        mask[top : top + side, left : left + side] = 0
    return masks


def _random_masks(images: Images, numbers: Int64[np.ndarray, " mask"], *, cells: int, seed: int) -> Masks:
    """Return smooth random masks: cells that are seen or not, enlarged linearly, cut at a random shift."""
    height, width = images.shape[2:]
    # One cell more than the image holds: the shift is within a cell.
    side = cells + 1
    draws = uniform(seed, "rise", epoch=0, positions=numbers, count=side**2 + 2)
    seen = np.round(draws[:, 2:]).astype(np.float32).reshape(-1, 1, side, side)
    down, across = -(-height // cells), -(-width // cells)
    grown = functional.interpolate(
        torch.from_numpy(seen).to(images.device), size=(down * side, across * side), mode="bilinear"
    )
    shifts = (draws[:, :2] * (down, across)).astype(int).tolist()
    cut = [mask[0, y : y + height, x : x + width] for mask, (y, x) in zip(grown, shifts, strict=True)]
    return torch.stack(cut)
