"""The description of a foreign checkpoint, and the matching of its tensors to a network."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from thorax.checkpoints.foreign_head import ForeignHead
from thorax.errors import BundleError, RecipeError
from thorax.findings import Finding
from thorax.models.tensors import Images
from thorax.recipe.literals import Fit
from thorax.recipe.schema import Network, Preparation

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "ForeignCheckpoint",
    "ForeignOptions",
    "count_blocks",
    "input_channels",
    "match_tensors",
    "rename_tensors",
    "resolve_settings",
    "substitute",
]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_LISTED = 10
_INPUT_SIZE = 224


@dataclass(frozen=True, kw_only=True)
class ForeignOptions:
    """What only the user can know about a checkpoint; None or empty means the default of its kind.

    Attributes:
        findings: The meaning of each output, in order; None where an output is left out.
        backbone: The source's name for the network: timm's (a tag also selects its normalization),
            torchvision's, or that of TorchXRayVision's weights.
        arguments: Extra arguments for timm's constructor, where the network was built with any.
        input_size: Side of the network's input in pixels.
        mean: Mean of each input channel used in training, for pixels in [0, 1].
        std: Standard deviation of each input channel, likewise.
        fit: How the source handled radiographs that are not square.
    """

    findings: tuple[Finding | None, ...] | None = None
    backbone: str | None = None
    arguments: Mapping[str, bool | int | float | str | tuple[int, ...]] = field(default_factory=dict)
    input_size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    fit: Fit | None = None


@dataclass(frozen=True, kw_only=True)
class ForeignCheckpoint:
    """The description of a foreign checkpoint.

    Attributes:
        model: The network as a Thorax recipe section.
        preparation: How the source prepared its input.
        tensors: Everything except the head, under timm's names.
        head: The linear layers after the backbone.
        labels: The name of each output; empty where it was not trained. None: only the user can know.
        thresholds: The source's own operating point for each output, or empty.
        text: The origin of the weights, for people.
        notes: Caveats for comparing results with the source's.
        architecture: The source's own architecture, for people.
        build: Returns that architecture, untrained, and the tensors to load into it.
        normalize: Maps gray images in [0, 1] to the input of the source's architecture.
    """

    model: Network
    preparation: Preparation
    tensors: Mapping[str, Tensor]
    head: ForeignHead
    labels: tuple[str, ...] | None
    thresholds: tuple[float | None, ...] = ()
    text: str
    notes: tuple[str, ...] = ()
    architecture: str
    build: Callable[[], tuple[nn.Module, Mapping[str, Tensor]]]
    normalize: Callable[[Images], Tensor]


def resolve_settings(
    known: Mapping[str, Any], options: ForeignOptions, *, size: int | None = None, fit: Fit = "crop"
) -> tuple[Network, Preparation]:
    """Combine the defaults of a kind with the user's options, which take precedence.

    Args:
        known: The fields of `Network` that the kind determines.
        options: The user's options.
        size: Side of the square that the source prepared; None: the network's input size.
        fit: How the source handled radiographs that are not square.

    Raises:
        RecipeError: The settings are inconsistent.
    """
    given = {name: getattr(options, name) for name in ("input_size", "mean", "std")}
    chosen = {**known, **{name: value for name, value in given.items() if value is not None}}
    chosen["arguments"] = {**known.get("arguments", {}), **options.arguments}
    # The source's larger prepared square only applies at its own input size.
    cropped = size is not None and options.input_size in {None, known.get("input_size", _INPUT_SIZE)}
    try:
        model = Network.model_validate({"input_size": _INPUT_SIZE, **chosen})
        side = size if cropped else model.input_size
        return model, Preparation.model_validate({"size": side, "fit": options.fit or fit})
    except ValidationError as error:
        reason = "; ".join(problem["msg"] for problem in error.errors())
        raise RecipeError(
            f"the settings of backbone {known['backbone']} are inconsistent ({reason}); "
            "give the `input_size`, `mean` and `std` that the network was trained with"
        ) from error


def input_channels(first: Tensor | None) -> int:
    """Return the input channels of a first layer's weight (out, in, ...): one, otherwise three."""
    return 1 if first is not None and first.shape[1:2] == (1,) else 3


def count_blocks(tensors: Mapping[str, Tensor], blocks: str) -> int:
    """Count the blocks of a network whose tensors are named "{blocks}.N...."."""
    start = f"{blocks}."
    return len({name.removeprefix(start).partition(".")[0] for name in tensors if name.startswith(start)})


def rename_tensors(tensors: Mapping[str, Tensor], rename: Callable[[str], str]) -> dict[str, Tensor]:
    """Rename tensors; if a new name is taken, the old one stays and is later refused as unknown."""
    result: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        new = rename(name)
        taken = new in result or (new != name and new in tensors)
        result[name if taken else new] = tensor
    return result


def substitute(name: str, patterns: tuple[tuple[str, str], ...]) -> str:
    """Replace each pattern (a regular expression) in turn."""
    for pattern, replacement in patterns:
        name = re.sub(pattern, replacement, name)
    return name


def match_tensors(
    expected: Mapping[str, Tensor], given: Mapping[str, Tensor], *, path: Path
) -> dict[str, Tensor]:
    """Return a checkpoint's tensors for a network, matched by name and shape, in the network's dtypes.

    Only the batch counters that batch norms have had since torch 0.4.1 are filled in: if a file has none,
    they become 0. No output depends on them.

    Args:
        expected: State dict of the network.
        given: The checkpoint's tensors under the network's names.
        path: The checkpoint, for messages.

    Raises:
        BundleError: A tensor is missing, unknown, of another shape, of integers, or not finite.
    """
    counters = {name for name in expected if name.endswith(".num_batches_tracked")}
    if not counters & given.keys():
        given = {**given, **{name: torch.zeros_like(expected[name]) for name in counters}}
    common = sorted(expected.keys() & given.keys())
    problems = {
        "missing": sorted(expected.keys() - given.keys()),
        "unknown": sorted(given.keys() - expected.keys()),
        "of another shape": [
            f"{name} {tuple(given[name].shape)} for {tuple(expected[name].shape)}"
            for name in common
            if given[name].shape != expected[name].shape
        ],
        "of integers": [
            name
            for name in common
            if expected[name].is_floating_point() and not given[name].is_floating_point()
        ],
    }
    _refuse_problems(problems, path)
    result = {name: given[name].to(expected[name].dtype).contiguous() for name in expected}
    not_finite = [name for name, tensor in result.items() if not bool(tensor.isfinite().all())]
    _refuse_problems({"not finite": not_finite}, path)
    return result


def _refuse_problems(problems: Mapping[str, list[str]], path: Path) -> None:
    listed = [
        f"{len(names)} {what}: {', '.join(names[:_LISTED])}{', ...' if len(names) > _LISTED else ''}"
        for what, names in problems.items()
        if names
    ]
    if listed:
        raise BundleError(
            f"the tensors of {path} do not match the network ({'; '.join(listed)}); nothing was loaded: give "
            "another `kind` or `backbone`, or the complete file"
        )
