"""The classifier: normalization, backbone, pooling, dropout and linear layers, from images to logits."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from thorax.bundle import FeatureGrid
from thorax.errors import RecipeError
from thorax.models.backbones import build_backbone, grow_when_compiled, timm
from thorax.models.heads import (
    at_each_location,
    attention_logits,
    build_convolutions,
    build_head,
    feature_map,
    log_sum_exp,
    refuse_unpoolable,
)
from thorax.models.tensors import Images, Logits
from thorax.recipe.schema import Freeze, Network

__all__ = [
    "Classifier",
    "build_classifier",
    "evaluation_mode",
    "is_running_statistic",
    "layer_distances",
    "names_in_stages",
    "stage_names",
    "trained_stages",
]


def stage_names(backbone: nn.Module) -> tuple[str, ...]:
    """Return the names of the stages, from the image to the head.

    They are stem, stage1, stage2 and so on, and norm if the last of timm's groups holds only normalization.

    Raises:
        RecipeError: timm does not group the layers of this net.
    """
    groups = _groups(backbone, coarse=True)
    names = ["stem", *(f"stage{index}" for index in range(1, max(groups.values()) + 1))]
    if _ends_in_norm(backbone, groups):
        names[-1] = "norm"
    return tuple(names)


def trained_stages(backbone: nn.Module, freeze: Freeze, *, epoch: int) -> frozenset[str] | None:
    """Return the stages that learn in an epoch; None if nothing is frozen.

    Args:
        backbone: A timm model.
        freeze: The recipe's section.
        epoch: Number of finished epochs, from 0.

    Raises:
        RecipeError: The net does not have these stages, or fewer stages are frozen than there are epochs to
            unfreeze one.
    """
    if freeze.trained is None:
        return None
    names = stage_names(backbone)
    unknown = [name for name in freeze.trained if name not in names]
    if unknown:
        raise RecipeError(
            f"freeze.trained names {', '.join(unknown)}, which this backbone does not have; its stages, from "
            f"the image to the head, are {', '.join(names)}"
        )
    frozen = [name for name in names if name not in freeze.trained]
    if len(freeze.unfreeze_epochs) > len(frozen):
        raise RecipeError(
            f"freeze.unfreeze_epochs has {len(freeze.unfreeze_epochs)} epochs for {len(frozen)} frozen "
            f"stages ({', '.join(frozen) or 'none'}); leave out the last ones"
        )
    unfrozen = sum(end <= epoch for end in freeze.unfreeze_epochs)
    return frozenset(names) - frozenset(frozen[: len(frozen) - unfrozen])


def names_in_stages(backbone: nn.Module, stages: Collection[str]) -> frozenset[str]:
    """Return the names of the parameters and batch-norm running statistics in these stages.

    Raises:
        RecipeError: timm does not group the layers of this net.
    """
    names = stage_names(backbone)
    return frozenset(name for name, index in _groups(backbone, coarse=True).items() if names[index] in stages)


def layer_distances(backbone: nn.Module) -> dict[str, int]:
    """Return the distance of each parameter from the head in layers, by its name in the backbone.

    A separate normalization before the head belongs to the head and has distance 0, as in timm and in BEiT
    (Bao et al. 2022). All other distances are 1 or more.

    Raises:
        RecipeError: timm does not group the layers of this net.
    """
    groups = _groups(backbone, coarse=False)
    head = max(groups.values()) + (0 if _ends_in_norm(backbone, groups) else 1)
    return {name: head - groups[name] for name, _ in backbone.named_parameters()}


def is_running_statistic(name: str) -> bool:
    """Return whether a buffer of this name is a running mean or variance of a norm."""
    return name.rpartition(".")[2].startswith("running_")


def _groups(backbone: nn.Module, *, coarse: bool) -> dict[str, int]:
    """Return timm's group of each parameter and running statistic."""
    matcher = getattr(backbone, "group_matcher", None)
    if matcher is None:
        raise RecipeError(
            f"timm {timm.__version__} does not know the stages of a {type(backbone).__name__}; leave out "
            "freeze.trained and optim.layer_decay, or choose another backbone"
        )
    statistics = (buffer for buffer in backbone.named_buffers() if is_running_statistic(buffer[0]))
    named = chain(backbone.named_parameters(), statistics)
    groups: dict[str, int] = timm.models._manipulate.group_with_matcher(  # noqa: SLF001  (not among its names)
        named, matcher(coarse=coarse), reverse=True
    )
    return groups


def _ends_in_norm(backbone: nn.Module, groups: Mapping[str, int]) -> bool:
    last = max(groups.values())
    owners = [
        type(backbone.get_submodule(name.rpartition(".")[0])).__name__.lower()
        for name, index in groups.items()
        if index == last
    ]
    return last > 0 and all("norm" in owner for owner in owners)


@contextmanager
def evaluation_mode(net: nn.Module) -> Iterator[None]:
    """Put a net into evaluation mode, and restore the mode of every module afterwards."""
    # Not eval() and train(): visiting every module of a DenseNet-121 twice takes 2 % of its forward pass.
    learning = [module for module in net.modules() if module.training]
    for module in learning:
        module.training = False
    try:
        yield
    finally:
        for module in learning:
            module.training = True


class Classifier(nn.Module):
    """Images in [0, 1] to logits, one per finding, without a sigmoid.

    Attributes:
        backbone: A timm model without its classifier.
        head: The linear layer, (finding, vector), or several with ReLU and dropout between them; or, for
            `pool = "convolutions"`, everything from the feature map to the logits.
        exact_cam: Whether the logits are the mean over locations of a linear function of the backbone's
            feature map (batch, channel, h, w), so that a class activation map is exact.
        feature_grid: Where in the image the locations of that map look, as `measure_feature_grid` measures
            it; None means at the centers of equal squares.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: Network, num_findings: int) -> None:
        super().__init__()
        shape = (1, model.channels, 1, 1)
        self.register_buffer("mean", torch.tensor(model.mean).reshape(1, -1, 1, 1).expand(shape).clone())
        self.register_buffer("std", torch.tensor(model.std).reshape(1, -1, 1, 1).expand(shape).clone())
        # Modules of the backbone that stay in evaluation mode.
        self._frozen_norms: list[nn.Module] = []
        # timm's models share methods (forward_features, forward_head), but no type.
        self.backbone: Any = build_backbone(model)
        grow_when_compiled(self.backbone)
        self.feature_grid: FeatureGrid | None = None
        self._head = model.head
        size, plain_mean = _probe(self.backbone, model)
        self.exact_cam = plain_mean and not model.head.hidden
        # In a vector single entries are dropped; in a map whole channels, as in the vector pooled from it.
        dropout_type = nn.Dropout2d if model.head.pool == "attention" else nn.Dropout
        self.dropout = dropout_type(model.head.dropout)
        build = build_convolutions if model.head.pool == "convolutions" else build_head
        self.head = build(size, model.head.hidden, num_findings, dropout=model.head.dropout)

    def forward(self, images: Images) -> Logits:
        """Return the logits of gray images in [0, 1] at the net's input size."""
        return self.classify(self.features(images))

    def features(self, images: Images) -> Float[Tensor, "batch ..."]:
        """Return the backbone's features in its own layout; `heads.feature_map` turns them into a map."""
        normalized = (images - self.mean) / self.std
        features: Tensor = self.backbone.forward_features(normalized)
        return features

    def classify(self, features: Float[Tensor, "batch ..."]) -> Logits:
        """Return the logits for the result of `features`."""
        match self._head.pool:
            case "backbone":
                vectors = self.backbone.forward_head(features)
            case "lse":
                vectors = log_sum_exp(at_each_location(self.backbone, features), self._head.lse_r)
            case "attention":
                local_features = self.dropout(at_each_location(self.backbone, features))
                return attention_logits(self.head(local_features.permute(0, 2, 3, 1)))
            case "convolutions":
                from_map: Logits = self.head(at_each_location(self.backbone, features))
                return from_map
        logits: Tensor = self.head(self.dropout(vectors))
        return logits

    def learn_only(self, stages: Collection[str]) -> None:
        """Let these stages of the backbone learn, and the head; freeze the others.

        Frozen parameters get no gradient, and frozen batch norms keep their statistics, even after `train()`.

        Raises:
            RecipeError: timm does not group the layers of this backbone.
        """
        learning = names_in_stages(self.backbone, stages)
        for name, parameter in self.backbone.named_parameters():
            parameter.requires_grad_(name in learning)
        owners = {
            name.rpartition(".")[0]
            for name, _ in self.backbone.named_buffers()
            if is_running_statistic(name) and name not in learning
        }
        self._frozen_norms = [self.backbone.get_submodule(name) for name in sorted(owners)]
        self.train(self.training)

    def train(self, mode: bool = True) -> "Classifier":  # noqa: FBT001, FBT002  (torch's signature)
        """Set training or evaluation mode; norms that `learn_only` froze keep their statistics in both."""
        super().train(mode)
        for module in self._frozen_norms:
            module.eval()
        return self


def build_classifier(model: Network, num_findings: int) -> Classifier:
    """Build the net of a recipe on the CPU, in training mode.

    Random weights come from torch's generator, so the caller's `torch.manual_seed` determines them.

    Args:
        model: The recipe's section.
        num_findings: Number of outputs.

    Raises:
        RecipeError: timm has no such backbone, or an argument, the input size, the weights or the head do not
            fit it.
    """
    return Classifier(model, num_findings)


def _probe(backbone: Any, model: Network) -> tuple[int, bool]:
    """Run one image through the backbone, so that errors appear now rather than during a run.

    Returns:
        The length of the vectors that the head receives, and whether they are the plain mean over locations.
    """
    # A ramp, so that no other pooling coincides with the plain mean.
    side = model.input_size
    ramp = torch.linspace(0, 1, side * side).reshape(1, 1, side, side).repeat(1, model.channels, 1, 1)
    backbone.eval()
    try:
        with torch.no_grad():
            features = backbone.forward_features(ramp)
            if not isinstance(features, Tensor):
                raise RecipeError(
                    f"backbone {model.backbone} returns several tensors, but one is needed; "
                    "choose another backbone"
                )
            if model.head.pool != "backbone":
                refuse_unpoolable(backbone, features, model)
                return at_each_location(backbone, features).shape[1], False
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
            "per image; choose another backbone, or leave out the pooling settings of model.arguments"
        )
    return pooled.shape[1], _is_plain_mean(backbone, features, pooled)


def _is_plain_mean(backbone: nn.Module, features: Tensor, pooled: Tensor) -> bool:
    try:
        mean = feature_map(backbone, features).mean(dim=(2, 3))
    except RecipeError:
        return False
    return mean.shape == pooled.shape and torch.allclose(pooled, mean, rtol=1e-5, atol=1e-6)
