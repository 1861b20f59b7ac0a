"""Class activation maps: the channels of the last feature map, weighted for a finding.

All methods except `eigen_cam` explain a given finding. They share one pass through the backbone, and differ
in how they turn the gradients of the logit into weights. Maps are returned at the network's input size.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from thorax.bundle import FeatureGrid
from thorax.errors import RecipeError
from thorax.explain.geometry import interpolation_weights
from thorax.models import Classifier, evaluation_mode, feature_map
from thorax.models.backbones import timm
from thorax.models.tensors import Images, Logits

__all__ = [
    "CamMethod",
    "FeatureMap",
    "LastFeatureMap",
    "MapsTensor",
    "eigen_cam",
    "enlarge_maps",
    "exact_cam",
    "gradient_cam",
    "gradients",
    "last_feature_map",
]

FeatureMap = Float[Tensor, "batch channel h w"]

MapsTensor = Float[Tensor, "batch finding height width"]
"""How much each location supports each finding."""


@dataclass(frozen=True, slots=True)
class LastFeatureMap:
    """The last feature map of a batch of images.

    Attributes:
        features: The features in the backbone's own layout, without gradients.
        logits: The rest of the network: maps such features to logits.
        as_map: Maps such features, or gradients with respect to them, to (batch, channel, h, w).
    """

    features: Tensor
    logits: Callable[[Tensor], Logits]
    as_map: Callable[[Tensor], FeatureMap]


def last_feature_map(classifier: Classifier, images: Images) -> LastFeatureMap:
    """Run images through a network up to its last feature map.

    This is the output of the backbone, except for a vision transformer whose logits are read from its class
    token: there the other tokens of the last layer have no effect on the logits. The input of the last
    block's attention is used instead, after the block's first normalization (before it, the gradient at a
    location is orthogonal to the features there).

    Args:
        classifier: The network, in evaluation mode.
        images: Images at its input size.

    Raises:
        RecipeError: The backbone's features are not a map, or the input of its class token is not known.
    """

    def as_map(features: Tensor) -> FeatureMap:
        return feature_map(classifier.backbone, features)

    with torch.no_grad():
        if getattr(classifier.backbone, "global_pool", None) == "token":
            features, logits = _before_last_attention(classifier, images)
        else:
            features, logits = classifier.features(images), classifier.classify
    return LastFeatureMap(features.detach(), logits, as_map)


def gradients(last: LastFeatureMap, columns: Sequence[int]) -> Iterator[FeatureMap]:
    """Yield the gradient of each of these columns' logits with respect to the last feature map.

    This takes one pass through the end of the network, and one backward pass per column. No gradient is left
    in the parameters.
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
    """Interpolate maps linearly between the centers of the locations' receptive fields.

    An integer factor preserves the mean of a map if the receptive fields are centered on equal squares.
    """
    rows, columns = (
        torch.from_numpy(interpolation_weights(length, size, places)).to(maps.device)
        for length in maps.shape[2:]
    )
    return rows @ maps.float() @ columns.T


def _before_last_attention(
    classifier: Classifier, images: Images
) -> tuple[Tensor, Callable[[Tensor], Logits]]:
    """Return the input of the last block's attention, and the rest of the network from there."""
    backbone = classifier.backbone
    block = backbone.blocks[-1] if isinstance(backbone, timm.models.VisionTransformer) else None
    if not isinstance(block, timm.models.vision_transformer.Block):
        raise RecipeError(
            f"the logits of this {type(backbone).__name__} are read from its class token, and this method "
            "does not support its last block; use the method occlusion or rise"
        )
    stream = _stream(classifier, images, blocks=len(backbone.blocks) - 1)

    def rest(normalized: Tensor) -> Logits:
        attended = stream + block.ls1(block.attn(normalized))
        return classifier.classify(backbone.norm(attended + block.ls2(block.mlp(block.norm2(attended)))))

    normalized_stream: Tensor = block.norm1(stream)
    return normalized_stream, rest


def _stream(classifier: Classifier, images: Images, *, blocks: int) -> Float[Tensor, "batch token channel"]:
    """Return the tokens after this many blocks of a vision transformer."""
    backbone = classifier.backbone
    tokens: Tensor = backbone.patch_embed((images - classifier.mean) / classifier.std)
    tokens = backbone.norm_pre(backbone.patch_drop(backbone._pos_embed(tokens)))  # noqa: SLF001  (timm's own)
    for block in backbone.blocks[:blocks]:
        tokens = block(tokens)
    return tokens


CamMethod = Literal["grad-cam", "grad-cam++", "hirescam", "layer-cam"]

OneMap = Float[Tensor, "batch h w"]


def exact_cam(classifier: Classifier, images: Images, columns: Sequence[int]) -> MapsTensor:
    """Return the class activation maps of a network whose logit is the mean of a linear map.

    The mean of a map over its locations, plus the head's bias, is the logit (Zhou et al. 2016).

    Args:
        classifier: The network; it is left unchanged.
        images: Images at its input size.
        columns: Indices of the outputs.

    Raises:
        RecipeError: The logits are not the mean of a linear map.
    """
    if not classifier.exact_cam or not isinstance(classifier.head, nn.Linear):
        raise RecipeError(
            f"the logits of this {type(classifier.backbone).__name__} are not the mean of a linear "
            "map, so it has no exact CAM; use the method grad-cam or hirescam"
        )
    with torch.no_grad(), evaluation_mode(classifier):
        features = feature_map(classifier.backbone, classifier.features(images))
        weight = classifier.head.weight[list(columns)]
        maps = torch.einsum("kc,bchw->bkhw", weight, features)
        return enlarge_maps(maps, images.shape[-1], classifier.feature_grid)


def gradient_cam(
    classifier: Classifier, images: Images, columns: Sequence[int], *, method: CamMethod
) -> MapsTensor:
    """Return maps in which the gradients of a logit weight the channels of the last feature map.

    grad-cam: weights each channel by its mean gradient; negative sums become 0 (Selvaraju et al. 2017).
    grad-cam++: by its positive gradients, weighted as in Chattopadhay et al. 2018; negative sums become 0.
    hirescam: weights each location by its own gradient. With an exact CAM, this is that CAM divided by the
    number of locations: the sum over locations plus the head's bias is the logit (Draelos and Carin 2020).
    Negative values are kept.
    layer-cam: weights each location by its own positive gradient; negative sums become 0 (Jiang et al. 2021).

    Args:
        classifier: The network; it is left unchanged, without gradients.
        images: Images at its input size.
        columns: Indices of the outputs.
        method: How gradients become weights.

    Raises:
        RecipeError: The backbone's features are not a map, or the input of its class token is not known.
    """
    weighted = _WEIGHTED[method]
    with evaluation_mode(classifier):
        last = last_feature_map(classifier, images)
        features = last.as_map(last.features)
        maps = [weighted(features, gradient) for gradient in gradients(last, columns)]
    return enlarge_maps(torch.stack(maps, dim=1), images.shape[-1], classifier.feature_grid)


def eigen_cam(classifier: Classifier, images: Images) -> MapsTensor:
    """Project the last feature map on its first principal direction; independent of the finding.

    The features are not centered, as in Muhammad and Yeasin 2020. The sign is chosen so that the mean is
    positive; negative values become 0.

    Args:
        classifier: The network; it is left unchanged.
        images: Images at its input size.

    Returns:
        One map per image, shaped as for one finding.

    Raises:
        RecipeError: The backbone's features are not a map.
    """
    with torch.no_grad(), evaluation_mode(classifier):
        last = last_feature_map(classifier, images)
        features = last.as_map(last.features).float()
        vectors = features.flatten(2).transpose(1, 2).double()
        # In float64, since a direction among nearly equal ones would otherwise depend on the batch.
        _, _, directions = torch.linalg.svd(vectors, full_matrices=False)
        strength = (vectors @ directions[:, 0, :, None]).squeeze(-1)
        strength = strength * torch.where(strength.sum(dim=1, keepdim=True) < 0, -1.0, 1.0)
        maps = strength.clamp(min=0).float().reshape(len(images), 1, *features.shape[2:])
        return enlarge_maps(maps, images.shape[-1], classifier.feature_grid)


def _grad_cam(features: FeatureMap, gradient: FeatureMap) -> OneMap:
    weight = gradient.mean(dim=(2, 3), keepdim=True)
    return (weight * features).sum(dim=1).clamp(min=0)


def _grad_cam_plus_plus(features: FeatureMap, gradient: FeatureMap) -> OneMap:
    # For the score exp(logit), whose higher derivatives are powers of the gradient: the paper's
    # g^2 / (2 g^2 + sum(A) g^3), times g. The paper assumes that features are never negative; a negative sum
    # counts as 0 here, since the divisor could vanish.
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
