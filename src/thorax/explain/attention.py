"""Attention of vision transformers, followed from the last layer to the image.

The weights are not kept by fused attention. While a net runs under `_Recorder`, calls of torch's fused
attention in this thread are computed in two steps instead, and their weights kept; the net is not touched.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from thorax.errors import RecipeError
from thorax.explain.cam import MapsTensor, enlarge_maps
from thorax.models import Classifier, evaluation_mode, feature_map
from thorax.models.tensors import Images

__all__ = ["attention_rollout", "gradient_rollout"]

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
