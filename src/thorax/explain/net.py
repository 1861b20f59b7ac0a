"""What explaining asks of a net: its last map of places, with all that follows.

A classifier is `features`, then `classify`. Everything that gradients at the last map need lies in the second
half, which is small: one pass through the backbone serves all findings, and no hook is ever set.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from thorax.bundle import Places
from thorax.errors import RecipeError
from thorax.explain.geometry import place_weights
from thorax.models import Classifier, feature_map
from thorax.models.tensors import Images, Logits
from thorax.models.torchvision_shim import timm

__all__ = ["FeatureMap", "LastMap", "MapsTensor", "enlarged", "gradients", "last_map"]

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
    block's first normalisation (before it, a place's gradient is orthogonal to the place's own features).

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


def enlarged(
    maps: MapsTensor, size: int, places: Places | None = None
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

    def rest(normalised: Tensor) -> Logits:
        attended = stream + block.ls1(block.attn(normalised))
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
