"""The classifier: normalise, backbone, pool, dropout, one linear layer. It returns logits."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from thorax.errors import RecipeError
from thorax.models.backbones import build_backbone
from thorax.models.tensors import Images, Logits
from thorax.recipe.schema import Model

__all__ = ["Classifier", "build_classifier"]


class Classifier(nn.Module):
    """Images in [0, 1] to logits, one per finding. There is no sigmoid in it.

    Attributes:
        backbone: A timm model without its classifier.
        head: The linear layer, (finding, vector).
        exact_cam: Whether the logits are the mean over places of a linear function of the backbone's
            feature map (batch, channel, h, w), so that a class activation map is exact.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: Model, num_findings: int) -> None:
        super().__init__()
        shape = (1, model.channels, 1, 1)
        self.register_buffer("mean", torch.tensor(model.mean).reshape(1, -1, 1, 1).expand(shape).clone())
        self.register_buffer("std", torch.tensor(model.std).reshape(1, -1, 1, 1).expand(shape).clone())
        # timm's models share names, not a type: forward_features, forward_head.
        self.backbone: Any = build_backbone(model)
        features, pooled = _probe(self.backbone, model)
        self.exact_cam = _is_plain_mean(pooled, features)
        self.dropout = nn.Dropout(model.dropout)
        self.head = nn.Linear(pooled.shape[1], num_findings)

    def forward(self, images: Images) -> Logits:
        """Return the logits of grey images in [0, 1] at the net's input size."""
        return self.classify(self.features(images))

    def features(self, images: Images) -> Float[Tensor, "batch ..."]:
        """Return the backbone's features: (batch, channel, h, w), or (batch, token, channel)."""
        normalised = (images - self.mean) / self.std
        features: Tensor = self.backbone.forward_features(normalised)
        return features

    def classify(self, features: Float[Tensor, "batch ..."]) -> Logits:
        """Return the logits of what `features` returned."""
        logits: Tensor = self.head(self.dropout(self.backbone.forward_head(features)))
        return logits


def build_classifier(model: Model, num_findings: int) -> Classifier:
    """Build the net of a recipe on the CPU, in training mode.

    First weights are drawn from torch's generator, so the caller's `torch.manual_seed` decides them.

    Args:
        model: The recipe's section.
        num_findings: Number of outputs.

    Raises:
        RecipeError: timm has no such backbone, an argument, the input size or the weights do not fit it.
    """
    return Classifier(model, num_findings)


def _is_plain_mean(pooled: Tensor, features: Tensor) -> bool:
    match features.shape:
        case (_, _, _, _):
            return torch.equal(pooled, features.mean(dim=(2, 3)))
        case _:
            return False


def _probe(backbone: Any, model: Model) -> tuple[Tensor, Tensor]:
    """Run one image through the backbone, to learn its shapes and to fail here rather than in a run."""
    # A ramp, so that no pooling other than the plain mean looks like it by chance.
    side = model.input_size
    ramp = torch.linspace(0, 1, side * side).reshape(1, 1, side, side).repeat(1, model.channels, 1, 1)
    backbone.eval()
    try:
        with torch.no_grad():
            features = backbone.forward_features(ramp)
            pooled = backbone.forward_head(features)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise RecipeError(
            f"backbone {model.backbone} cannot take images of model.input_size = {side} with "
            f"{model.channels} channel(s): {' '.join(str(error).split())}; set another model.input_size"
        ) from error
    finally:
        backbone.train()
    if not pooled.shape[1:] or pooled.shape != (1, pooled.shape[1]):
        raise RecipeError(
            f"backbone {model.backbone} gives features of shape {tuple(pooled.shape[1:])}, not one vector "
            "per image; choose another backbone, or leave out what model.arguments say about pooling"
        )
    return features, pooled
