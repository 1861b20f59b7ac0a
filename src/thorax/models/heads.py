"""Heads: pool a backbone's features, after convolutions or at once, and classify them with linear layers.

A backbone's features come in three layouts: maps (batch, channel, h, w), maps with the channel last
(batch, h, w, channel), and tokens (batch, token, channel), some of which have no location (a class token).
Pooling other than the backbone's own needs a map: `feature_map` converts each layout.
"""

import math
from itertools import pairwise
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from thorax.errors import RecipeError
from thorax.recipe.schema import Network

__all__ = [
    "at_each_location",
    "attention_logits",
    "build_convolutions",
    "build_head",
    "feature_map",
    "log_sum_exp",
    "refuse_unpoolable",
]

FeatureMap = Float[Tensor, "batch channel h w"]

_POOLED = 2
"""Side of the squares whose mean the head of convolutions takes."""

_TOLERANCE = 1e-4
"""Largest relative rounding error of an average of equal numbers."""


def build_head(size: int, hidden: tuple[int, ...], num_findings: int, *, dropout: float) -> nn.Module:
    """Return one linear layer, or several with ReLU and dropout between them; no dropout before the first.

    Args:
        size: Length of the input vectors.
        hidden: Sizes of the hidden layers.
        num_findings: Number of logits.
        dropout: Fraction of each hidden layer that is dropped in training.
    """
    if not hidden:
        return nn.Linear(size, num_findings)
    layers: list[nn.Module] = []
    for before, after in pairwise((size, *hidden)):
        layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(hidden[-1], num_findings))


def build_convolutions(
    size: int, channels: tuple[int, ...], num_findings: int, *, dropout: float
) -> nn.Module:
    """Return the head of CustomDenseNet121: from a feature map to logits, by convolutions before the mean.

    Before each convolution come a batch norm and ReLU. All convolutions are 3 x 3 and keep the size but for
    the last, which is 1 x 1; the mean of 2 x 2 locations, norm, ReLU, the mean of all locations and one
    linear layer follow.

    Args:
        size: Channels of the feature map.
        channels: Channels of each convolution.
        num_findings: Number of logits.
        dropout: Fraction of the vector that is dropped in training before the linear layer.
    """
    layers: list[nn.Module] = []
    for index, (before, after) in enumerate(pairwise((size, *channels)), start=1):
        side = 1 if index == len(channels) else 3
        layers += [nn.BatchNorm2d(before), nn.ReLU(), nn.Conv2d(before, after, side, padding=side // 2)]
    return nn.Sequential(
        *layers,
        nn.AvgPool2d(_POOLED),
        nn.BatchNorm2d(channels[-1]),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(channels[-1], num_findings),
    )


def feature_map(backbone: nn.Module, features: Float[Tensor, "batch ..."]) -> FeatureMap:
    """Return features as a map with the rows and columns of the image, without computation.

    Args:
        backbone: The timm model that the features come from.
        features: The result of its `forward_features` for a square image.

    Raises:
        RecipeError: The features are not a map.
    """
    match _layout(backbone, features):
        case "map":
            return features
        case "channel last":
            return features.permute(0, 3, 1, 2)
        case "tokens":
            local_tokens = features[:, _num_prefix_tokens(backbone) :]
            side = math.isqrt(local_tokens.shape[1])
            return local_tokens.transpose(1, 2).reshape(features.shape[0], -1, side, side)


def at_each_location(backbone: Any, features: Float[Tensor, "batch ..."]) -> FeatureMap:
    """Apply the backbone's own head to each location separately, and return the results as a map.

    If that head only pools, this is the map itself. Otherwise its normalization or last layer is applied
    (LayerNorm in ConvNeXt, a convolution in MobileNetV3), since pooling over one location does nothing.

    Args:
        backbone: The timm model that the features come from.
        features: The result of its `forward_features`.
    """
    maps = feature_map(backbone, features)
    batch, _, height, width = maps.shape
    vectors = maps.permute(0, 2, 3, 1).flatten(0, 2)
    outputs: Tensor = backbone.forward_head(_single(backbone, features, vectors))
    return outputs.reshape(batch, height, width, -1).permute(0, 3, 1, 2)


def refuse_unpoolable(backbone: Any, features: Float[Tensor, "1 ..."], model: Network) -> None:
    """Refuse a backbone whose own head is more than a pooling and a function of single locations.

    If all locations are equal, pooling must not matter: a head that combines locations, or weights them by
    position, returns another vector than for one location alone.

    Args:
        backbone: The timm model, in evaluation mode.
        features: The features of one image.
        model: The recipe's section.

    Raises:
        RecipeError: The features are not a map, or the head is of that kind; or the map is too small to pool.
    """
    if model.head.pool == "convolutions" and min(feature_map(backbone, features).shape[2:]) < _POOLED:
        raise RecipeError(
            f"model.head.pool = convolutions needs a feature map of {_POOLED} x {_POOLED} locations or more, "
            f"but model.input_size = {model.input_size} gives fewer; set a larger model.input_size"
        )
    vector = feature_map(backbone, features).mean(dim=(2, 3))
    one = _single(backbone, features, vector)
    alike = (one if one.ndim == features.ndim == 4 else one[:, :1]).expand_as(features)  # noqa: PLR2004  (axes)
    try:
        from_one, from_all = backbone.forward_head(one), backbone.forward_head(alike)
        fits = torch.allclose(
            from_one, from_all, rtol=_TOLERANCE, atol=_TOLERANCE * float(from_all.abs().max())
        )
    except RuntimeError:
        fits = False
    if not fits:
        raise RecipeError(
            f"model.head.pool = {model.head.pool!r} does not work with backbone {model.backbone}, whose own "
            "head does more than pool its features; set model.head.pool=backbone, or choose "
            "another backbone"
        )


def log_sum_exp(maps: FeatureMap, r: float) -> Float[Tensor, "batch channel"]:
    """Return (1/r) log mean exp(r x) over the locations of each channel (Pinheiro and Collobert, CVPR 2015).

    The computation is in float32 and does not overflow.
    """
    values = maps.float().flatten(2)
    return (torch.logsumexp(r * values, dim=2) - math.log(values.shape[2])) / r


def attention_logits(evidence: Float[Tensor, "batch h w finding"]) -> Float[Tensor, "batch finding"]:
    """Return the mean evidence of each finding, weighted by its probability at each location.

    With evidence l = w . f + b and weights sigmoid(l) / sum of sigmoid(l), this is w . (the weighted mean of
    f) + b: probabilistic class activation map pooling (Ye et al. 2020), without a pooled vector per finding.
    The computation is in float32; the weights are correct even if every sigmoid rounds to 0.
    """
    local_logits = evidence.float().flatten(1, 2)
    return (torch.softmax(functional.logsigmoid(local_logits), dim=1) * local_logits).sum(dim=1)


def _layout(
    backbone: nn.Module, features: Float[Tensor, "batch ..."]
) -> Literal["map", "channel last", "tokens"]:
    channels = getattr(backbone, "num_features", None)
    match features.shape:
        case (_, _, _, last) if str(getattr(backbone, "output_fmt", "")) == "NHWC" and last == channels:
            return "channel last"
        case (_, first, _, _) if first == channels:
            return "map"
        case (_, tokens, last) if last == channels:
            locations = tokens - _num_prefix_tokens(backbone)
            if locations == math.isqrt(max(locations, 0)) ** 2 > 0:
                return "tokens"
    raise RecipeError(
        f"the features of a {type(backbone).__name__}, of shape {tuple(features.shape[1:])}, are not a "
        "spatial map; set model.head.pool=backbone, or choose another backbone"
    )


def _num_prefix_tokens(backbone: nn.Module) -> int:
    return int(getattr(backbone, "num_prefix_tokens", 0))


def _single(
    backbone: nn.Module, features: Float[Tensor, "batch ..."], vectors: Float[Tensor, "n channel"]
) -> Float[Tensor, "n ..."]:
    """Return vectors as features with a single location each, in the layout of `features`."""
    match _layout(backbone, features):
        case "map":
            return vectors[:, :, None, None]
        case "channel last":
            return vectors[:, None, None, :]
        case "tokens":
            # Prefix tokens, such as a class token, get the same vector, whichever token the head uses.
            return vectors[:, None, :].expand(-1, _num_prefix_tokens(backbone) + 1, -1)
