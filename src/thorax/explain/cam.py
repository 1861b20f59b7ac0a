"""Class activation maps: what the channels of the last map say, weighted for a finding.

All but `eigen_cam` are about a named finding. They share one pass through the backbone; what differs is how
the gradients of the logit become weights. Maps are returned at the net's input size.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from thorax.bundle import FeatureGrid
from thorax.errors import RecipeError
from thorax.explain.geometry import place_weights
from thorax.models import Classifier, evaluation_mode, feature_map
from thorax.models.backbones import timm
from thorax.models.tensors import Images, Logits

__all__ = [
    "CamMethod",
    "FeatureMap",
    "LastMap",
    "MapsTensor",
    "eigen_cam",
    "enlarge_maps",
    "exact_cam",
    "gradient_cam",
    "gradients",
    "last_map",
]

FeatureMap = Float[Tensor, "batch channel h w"]

MapsTensor = Float[Tensor, "batch finding height width"]
"""How much each place speaks for each finding."""


@dataclass(frozen=True, slots=True)
class LastMap:
    """The last map of places of some images.

    Attributes:
        features: In the backbone's own layout, without a gradient.
        logits: The rest of the net: from such features to logits.
        as_map: From such features, or from gradients with respect to them, to (batch, channel, h, w).
    """

    features: Tensor
    logits: Callable[[Tensor], Logits]
    as_map: Callable[[Tensor], FeatureMap]


def last_map(classifier: Classifier, images: Images) -> LastMap:
    """Run images through a net up to its last map of places.

    That is what the backbone gives, but for a vision transformer that is read from its class token: there
    the last layer's places change no logit. Its map is what the last block's attention is given, after the
    block's first normalization (before it, a place's gradient is orthogonal to the place's own features).

    Args:
        classifier: At rest.
        images: At the net's input size.

    Raises:
        RecipeError: The backbone's features are no map, or nothing says where its class token looks.
    """

    def as_map(features: Tensor) -> FeatureMap:
        return feature_map(classifier.backbone, features)

    with torch.no_grad():
        if getattr(classifier.backbone, "global_pool", None) == "token":
            features, logits = _before_last_attention(classifier, images)
        else:
            features, logits = classifier.features(images), classifier.classify
    return LastMap(features.detach(), logits, as_map)


def gradients(last: LastMap, columns: Sequence[int]) -> Iterator[FeatureMap]:
    """Yield the gradient of each of these columns' logits with respect to the last map.

    One pass through the end of the net and back per column; no gradient is left in its parameters.
    """
    leaf = last.features.detach().requires_grad_()
    with torch.enable_grad():
        sums = last.logits(leaf).sum(dim=0).unbind()
    for column in columns:
        (gradient,) = torch.autograd.grad(sums[column], leaf, retain_graph=True)
        yield last.as_map(gradient)


def enlarge_maps(
    maps: MapsTensor, size: int, places: FeatureGrid | None = None
) -> Float32[Tensor, "batch finding size size"]:
    """Interpolate maps linearly between the middles of what places look at.

    A whole factor keeps a map's mean where the places are equal squares.
    """
    rows, columns = (
        torch.from_numpy(place_weights(length, size, places)).to(maps.device) for length in maps.shape[2:]
    )
    return rows @ maps.float() @ columns.T


def _before_last_attention(
    classifier: Classifier, images: Images
) -> tuple[Tensor, Callable[[Tensor], Logits]]:
    """Return what the last block's attention is given, and the rest of the net from there."""
    backbone = classifier.backbone
    block = backbone.blocks[-1] if isinstance(backbone, timm.models.VisionTransformer) else None
    if not isinstance(block, timm.models.vision_transformer.Block):
        raise RecipeError(
            f"the logits of this {type(backbone).__name__} are read from its class token, and how its last "
            "block makes that from the places is not known here; take the method occlusion or rise"
        )
    stream = _stream(classifier, images, blocks=len(backbone.blocks) - 1)

    def rest(normalized: Tensor) -> Logits:
        attended = stream + block.ls1(block.attn(normalized))
        return classifier.classify(backbone.norm(attended + block.ls2(block.mlp(block.norm2(attended)))))

    given: Tensor = block.norm1(stream)
    return given, rest


def _stream(classifier: Classifier, images: Images, *, blocks: int) -> Float[Tensor, "batch token channel"]:
    """Return the tokens after that many blocks of a vision transformer."""
    backbone = classifier.backbone
    tokens: Tensor = backbone.patch_embed((images - classifier.mean) / classifier.std)
    tokens = backbone.norm_pre(backbone.patch_drop(backbone._pos_embed(tokens)))  # noqa: SLF001  (timm's own)
    for block in backbone.blocks[:blocks]:
        tokens = block(tokens)
    return tokens


CamMethod = Literal["grad-cam", "grad-cam++", "hirescam", "layer-cam"]

OneMap = Float[Tensor, "batch h w"]


def exact_cam(classifier: Classifier, images: Images, columns: Sequence[int]) -> MapsTensor:
    """Return the class activation maps of a net whose logit is the mean of a linear map (Zhou et al. 2016).

    The mean of a map over its places, plus the head's bias, is the logit.

    Args:
        classifier: The net; it is left as it was.
        images: At its input size.
        columns: Which outputs.

    Raises:
        RecipeError: The logits are not the mean of a linear map.
    """
    if not classifier.exact_cam or not isinstance(classifier.head, nn.Linear):
        raise RecipeError(
            f"the logits of this {type(classifier.backbone).__name__} are not the mean of a linear map of "
            "places, so that it has no exact CAM; take the method grad-cam or hirescam"
        )
    with torch.no_grad(), evaluation_mode(classifier):
        features = feature_map(classifier.backbone, classifier.features(images))
        weight = classifier.head.weight[list(columns)]
        maps = torch.einsum("kc,bchw->bkhw", weight, features)
        return enlarge_maps(maps, images.shape[-1], classifier.places)


def gradient_cam(
    classifier: Classifier, images: Images, columns: Sequence[int], *, method: CamMethod
) -> MapsTensor:
    """Return maps in which the gradients of a logit weigh the channels of the last map.

    grad-cam: each channel by its mean gradient, negative sums cut off (Selvaraju et al. 2017).
    grad-cam++: by its positive gradients, each with the weight of Chattopadhay et al. 2018, cut off.
    hirescam: each place by its own gradient; for an exact CAM's net, that CAM over the number of places: the
    sum over places plus the head's bias is the logit (Draelos and Carin 2020). Not cut off.
    layer-cam: each place by its own positive gradient, cut off (Jiang et al. 2021).

    Args:
        classifier: The net; it is left as it was, without gradients.
        images: At its input size.
        columns: Which outputs.
        method: How gradients become weights.

    Raises:
        RecipeError: The backbone's features are no map, or nothing says where its class token looks.
    """
    weighted = _WEIGHTED[method]
    with evaluation_mode(classifier):
        last = last_map(classifier, images)
        features = last.as_map(last.features)
        maps = [weighted(features, gradient) for gradient in gradients(last, columns)]
    return enlarge_maps(torch.stack(maps, dim=1), images.shape[-1], classifier.places)


def eigen_cam(classifier: Classifier, images: Images) -> MapsTensor:
    """Return where the last map is strong along its first principal direction; not about any finding.

    The features are not centered, as in Muhammad and Yeasin 2020; the sign is that of a positive mean, and
    what is negative is cut off.

    Args:
        classifier: The net; it is left as it was.
        images: At its input size.

    Returns:
        One map per image, as of one finding.

    Raises:
        RecipeError: The backbone's features are no map.
    """
    with torch.no_grad(), evaluation_mode(classifier):
        last = last_map(classifier, images)
        features = last.as_map(last.features).float()
        places = features.flatten(2).transpose(1, 2)
        # In float64: the direction of nearly equal strengths would depend on the batch otherwise.
        _, _, directions = torch.linalg.svd(places.double(), full_matrices=False)
        strength = (places.double() @ directions[:, 0, :, None]).squeeze(-1)
        strength = strength * torch.where(strength.sum(dim=1, keepdim=True) < 0, -1.0, 1.0)
        maps = strength.clamp(min=0).float().reshape(len(images), 1, *features.shape[2:])
        return enlarge_maps(maps, images.shape[-1], classifier.places)


def _grad_cam(features: FeatureMap, gradient: FeatureMap) -> OneMap:
    weight = gradient.mean(dim=(2, 3), keepdim=True)
    return (weight * features).sum(dim=1).clamp(min=0)


def _grad_cam_plus_plus(features: FeatureMap, gradient: FeatureMap) -> OneMap:
    # For the score exp(logit), whose higher derivatives are powers of the gradient: the paper's
    # g^2 / (2 g^2 + sum(A) g^3), times g. It takes features for never negative; where a sum is, it counts as
    # 0, or the divisor could vanish.
    positive = gradient.clamp(min=0)
    total = features.sum(dim=(2, 3), keepdim=True).clamp(min=0)
    weight = (positive / (2 + total * positive)).sum(dim=(2, 3), keepdim=True)
    return (weight * features).sum(dim=1).clamp(min=0)


def _hires_cam(features: FeatureMap, gradient: FeatureMap) -> OneMap:
    return (gradient * features).sum(dim=1)


def _layer_cam(features: FeatureMap, gradient: FeatureMap) -> OneMap:
    return (gradient.clamp(min=0) * features).sum(dim=1).clamp(min=0)


_WEIGHTED: Final[dict[CamMethod, Callable[[FeatureMap, FeatureMap], OneMap]]] = {
    "grad-cam": _grad_cam,
    "grad-cam++": _grad_cam_plus_plus,
    "hirescam": _hires_cam,
    "layer-cam": _layer_cam,
}
