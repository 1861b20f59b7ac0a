"""What a kind of foreign checkpoint says about a file, and how its tensors are matched with a net's."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from thorax.errors import BundleError, RecipeError
from thorax.findings import Findings
from thorax.models.tensors import Images
from thorax.recipe.literals import Fit
from thorax.recipe.schema import Model, Preparation

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "ForeignCheckpoint",
    "ForeignOptions",
    "channels_of",
    "classifier_of",
    "depth_of",
    "matched",
    "renamed",
    "settings",
    "substituted",
]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_LISTED = 10
_INPUT_SIZE = 224


@dataclass(frozen=True, kw_only=True)
class ForeignOptions:
    """What only the user can know of a checkpoint; None (or nothing) is what its kind is known to use.

    Attributes:
        findings: What the outputs mean, in their order.
        backbone: What the source calls the net: timm's name (with its tag, whose normalisation is then
            taken), torchvision's name, or the name of TorchXRayVision's weights.
        arguments: Further arguments of timm's constructor, for nets that were built with some.
        input_size: Side of the net's input in pixels.
        mean: Mean of each input channel that the net was trained with, for pixels in [0, 1].
        std: Their standard deviations.
        fit: What the source did to radiographs that are not square.
    """

    findings: Findings | None = None
    backbone: str | None = None
    arguments: Mapping[str, bool | int | float | str | tuple[int, ...]] = field(default_factory=dict)
    input_size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    fit: Fit | None = None


@dataclass(frozen=True, kw_only=True)
class ForeignCheckpoint:
    """A foreign checkpoint, described.

    Attributes:
        model: The net in our words.
        preparation: How its users made its input.
        tensors: All but the classifier, under timm's names.
        weight: Of the classifier, (output, vector).
        bias: Of the classifier, (output).
        labels: The name of each output; empty where it was not trained. None: only the user can know.
        thresholds: The source's own operating point of each output, or nothing.
        text: Where the weights come from, in words.
        notes: What somebody who compares figures must know.
        architecture: The source's own architecture, in words.
        build: Makes it, untrained, and the tensors that it is to be loaded with.
        normalise: From grey images in [0, 1] to what the source's architecture was fed.
    """

    model: Model
    preparation: Preparation
    tensors: Mapping[str, Tensor]
    weight: Tensor
    bias: Tensor
    labels: tuple[str, ...] | None
    thresholds: tuple[float | None, ...] = ()
    text: str
    notes: tuple[str, ...] = ()
    architecture: str
    build: Callable[[], tuple[nn.Module, Mapping[str, Tensor]]]
    normalize: Callable[[Images], Tensor]


def settings(
    known: Mapping[str, Any], options: ForeignOptions, *, size: int | None = None, fit: Fit = "crop"
) -> tuple[Model, Preparation]:
    """Let the user's options overrule what a kind is known to use.

    Args:
        known: The fields of the net's section that the kind knows.
        options: The user's.
        size: Side of the prepared square that the kind's users made; None is the net's input.
        fit: What they did to radiographs that are not square.

    Raises:
        RecipeError: They do not fit together.
    """
    given = {name: getattr(options, name) for name in ("input_size", "mean", "std")}
    chosen = {**known, **{name: value for name, value in given.items() if value is not None}}
    chosen["arguments"] = {**known.get("arguments", {}), **options.arguments}
    # What the source prepared and then cropped belongs to its own input size.
    cropped = size is not None and options.input_size in {None, known.get("input_size", _INPUT_SIZE)}
    try:
        model = Model.model_validate({"input_size": _INPUT_SIZE, **chosen})
        side = size if cropped else model.input_size
        return model, Preparation.model_validate({"size": side, "fit": options.fit or fit})
    except ValidationError as error:
        reason = "; ".join(each["msg"] for each in error.errors())
        raise RecipeError(
            f"the settings of backbone {known['backbone']} do not fit together ({reason}); "
            "give the input size, mean and standard deviation that the net was trained with"
        ) from error


def classifier_of(
    tensors: Mapping[str, Tensor], names: tuple[str, ...], *, path: Path
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Take the classifier off: one linear layer, under one of the names that sources give it.

    Returns:
        The other tensors, and the classifier's weight and bias.

    Raises:
        BundleError: There is no classifier.
    """
    for name in names:
        weight, bias = tensors.get(f"{name}.weight"), tensors.get(f"{name}.bias")
        if weight is not None and bias is not None and weight.ndim > 1 and weight.shape[:1] == bias.shape:
            rest = {
                key: tensor
                for key, tensor in tensors.items()
                if key not in {f"{name}.weight", f"{name}.bias"}
            }
            return rest, weight.flatten(1), bias
    raise BundleError(
        f"{path} holds no classifier ({' or '.join(f'{name}.weight' for name in names)}), so it cannot say "
        "anything about a finding; it may be a pretrained backbone: save it as safetensors and train a "
        "recipe with model.weights=file:PATH"
    )


def channels_of(first: Tensor | None) -> int:
    """Return the input channels of a first layer's weight (out, in, ...): one, or three as most have."""
    return 1 if first is not None and first.shape[1:2] == (1,) else 3


def depth_of(tensors: Mapping[str, Tensor], blocks: str) -> int:
    """Count the blocks of a net whose names are "{blocks}.N...."."""
    start = f"{blocks}."
    return len({name.removeprefix(start).partition(".")[0] for name in tensors if name.startswith(start)})


def renamed(tensors: Mapping[str, Tensor], rename: Callable[[str], str]) -> dict[str, Tensor]:
    """Rename tensors; where a new name is taken the old one stays, to be refused as unknown."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        new = rename(name)
        taken = new in found or (new != name and new in tensors)
        found[name if taken else new] = tensor
    return found


def substituted(name: str, patterns: tuple[tuple[str, str], ...]) -> str:
    """Replace each pattern (a regular expression) in turn."""
    for pattern, replacement in patterns:
        name = re.sub(pattern, replacement, name)
    return name


def matched(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], *, path: Path) -> dict[str, Tensor]:
    """Return a checkpoint's tensors for a net, each name and shape matched, in the net's number formats.

    The one thing that is filled in is the counter of batches that batch norms have had since torch 0.4.1:
    where a file has none of them they become 0, and no figure depends on them.

    Args:
        wanted: State dict of the net.
        found: The checkpoint's tensors under the net's names.
        path: What messages call the checkpoint.

    Raises:
        BundleError: A tensor is missing, unknown, of another shape, of whole numbers, or not finite.
    """
    counters = {name for name in wanted if name.endswith(".num_batches_tracked")}
    if not counters & found.keys():
        found = {**found, **{name: torch.zeros_like(wanted[name]) for name in counters}}
    both = sorted(wanted.keys() & found.keys())
    problems = {
        "missing": sorted(wanted.keys() - found.keys()),
        "unknown": sorted(found.keys() - wanted.keys()),
        "of another shape": [
            f"{name} {tuple(found[name].shape)} for {tuple(wanted[name].shape)}"
            for name in both
            if found[name].shape != wanted[name].shape
        ],
        "of whole numbers": [
            name for name in both if wanted[name].is_floating_point() and not found[name].is_floating_point()
        ],
    }
    _refuse(problems, path)
    same = {name: found[name].to(wanted[name].dtype).contiguous() for name in wanted}
    _refuse(
        {"not finite": [name for name, tensor in same.items() if not bool(tensor.isfinite().all())]}, path
    )
    return same


def _refuse(problems: Mapping[str, list[str]], path: Path) -> None:
    listed = [
        f"{len(names)} {what}: {', '.join(names[:_LISTED])}{', ...' if len(names) > _LISTED else ''}"
        for what, names in problems.items()
        if names
    ]
    if listed:
        raise BundleError(
            f"the tensors of {path} are not those of the net that it is said to be ({'; '.join(listed)}); "
            "nothing was loaded: give another kind or backbone, or the whole file"
        )
