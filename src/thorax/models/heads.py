"""From a backbone's features to what the linear layers of the head take.

A backbone's features come in three layouts: maps (batch, channel, h, w), maps with the channel last
(batch, h, w, channel), and tokens (batch, token, channel), of which some stand for no place (a class token).
Poolings other than the backbone's own need a map: `feature_map` makes one of each.
"""

import math
from itertools import pairwise
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from thorax.errors import RecipeError
from thorax.recipe.schema import Model

__all__ = [
    "at_each_place",
    "attention_logits",
    "build_head",
    "feature_map",
    "log_sum_exp",
    "refuse_unpoolable",
]

FeatureMap = Float[Tensor, "batch channel h w"]

_TOLERANCE = 1e-4
"""What rounding may do to an average of equal numbers, relative to them."""


def build_head(size: int, hidden: tuple[int, ...], num_findings: int, *, dropout: float) -> nn.Module:
    """Return the linear layers: one, or hidden ones with ReLU and dropout between them.

    Dropout before the first is not in it.

    Args:
        size: Length of the vectors that go in.
        hidden: Sizes of the hidden layers.
        num_findings: Logits that come out.
        dropout: Part of each hidden layer that is dropped in training.
    """
    if not hidden:
        return nn.Linear(size, num_findings)
    layers: list[nn.Module] = []
    for before, after in pairwise((size, *hidden)):
        layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(hidden[-1], num_findings))


def feature_map(backbone: nn.Module, features: Float[Tensor, "batch ..."]) -> FeatureMap:
    """Return features as a map, row by row as the image; nothing is computed.

    Args:
        backbone: The timm model that they are of.
        features: What its `forward_features` returned for a square image.

    Raises:
        RecipeError: They are no map.
    """
    match _layout(backbone, features):
        case "map":
            return features
        case "channel last":
            return features.permute(0, 3, 1, 2)
        case "tokens":
            places = features[:, _num_prefix_tokens(backbone) :]
            side = math.isqrt(places.shape[1])
            return places.transpose(1, 2).reshape(features.shape[0], -1, side, side)


def at_each_place(backbone: Any, features: Float[Tensor, "batch ..."]) -> FeatureMap:
    """Return what the backbone's own head would make of each place alone, as a map.

    That is the map itself where it only pools, and with its normalization or last layer where it has one
    (LayerNorm in ConvNeXt, a convolution in MobileNetV3): pooled over one place, all that is left is those.

    Args:
        backbone: The timm model that the features are of.
        features: What its `forward_features` returned.
    """
    places = feature_map(backbone, features)
    batch, _, height, width = places.shape
    vectors = places.permute(0, 2, 3, 1).flatten(0, 2)
    made: Tensor = backbone.forward_head(_single(backbone, features, vectors))
    return made.reshape(batch, height, width, -1).permute(0, 3, 1, 2)


def refuse_unpoolable(backbone: Any, features: Float[Tensor, "1 ..."], model: Model) -> None:
    """Refuse a backbone whose own head does more than pool and what it does to a single place.

    Where all places are alike it must not matter how they are pooled: a head that joins places, or weighs
    them by where they are, gives another vector there than for one place alone.

    Args:
        backbone: The timm model, in evaluation mode.
        features: Of one image.
        model: The recipe's section.

    Raises:
        RecipeError: There is no map to pool, or the head is such a one.
    """
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
            f"model.head.pool = {model.head.pool!r} does not go with backbone {model.backbone}, whose own "
            "head does more with its features than pool them; set model.head.pool=backbone, or choose "
            "another backbone"
        )


def log_sum_exp(places: FeatureMap, r: float) -> Float[Tensor, "batch channel"]:
    """Return (1/r) log mean exp(r x) over the places of each channel (Pinheiro and Collobert, CVPR 2015).

    Computed in float32, and without overflow.
    """
    each = places.float().flatten(2)
    return (torch.logsumexp(r * each, dim=2) - math.log(each.shape[2])) / r


def attention_logits(evidence: Float[Tensor, "batch h w finding"]) -> Float[Tensor, "batch finding"]:
    """Return each finding's mean of its evidence, weighted by its probability at each place.

    With evidence l = w . f + b and weights sigmoid(l) / sum of sigmoid(l), this is w . (the weighted mean of
    f) + b: probabilistic class activation map pooling (Ye et al. 2020), without a pooled vector per finding.
    Computed in float32; the weights are right even where every sigmoid rounds to 0.
    """
    each = evidence.float().flatten(1, 2)
    return (torch.softmax(functional.logsigmoid(each), dim=1) * each).sum(dim=1)


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
            places = tokens - _num_prefix_tokens(backbone)
            if places == math.isqrt(max(places, 0)) ** 2 > 0:
                return "tokens"
    raise RecipeError(
        f"the features of a {type(backbone).__name__}, of shape {tuple(features.shape[1:])}, are no map of "
        "places; set model.head.pool=backbone, or choose another backbone"
    )


def _num_prefix_tokens(backbone: nn.Module) -> int:
    return int(getattr(backbone, "num_prefix_tokens", 0))


def _single(
    backbone: nn.Module, features: Float[Tensor, "batch ..."], vectors: Float[Tensor, "n channel"]
) -> Float[Tensor, "n ..."]:
    """Return vectors as features of one place each, in the layout of `features`."""
    match _layout(backbone, features):
        case "map":
            return vectors[:, :, None, None]
        case "channel last":
            return vectors[:, None, None, :]
        case "tokens":
            # A class token has no place: it is taken for the place itself, whichever the head looks at.
            return vectors[:, None, :].expand(-1, _num_prefix_tokens(backbone) + 1, -1)
