"""Checkpoints of torchvision's networks, and of CheXNet re-implementations built on them."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from thorax.checkpoints.foreign_head import ForeignHead, split_head
from thorax.checkpoints.foreign_net import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ForeignCheckpoint,
    ForeignOptions,
    input_channels,
    resolve_settings,
)
from thorax.checkpoints.torchvision_names import (
    TIMM_NAMES,
    densenet_name,
    guess_network,
    head_names,
    modernize_names,
    timm_names,
    torchvision_models,
)
from thorax.checkpoints.weights_file import WeightsFile
from thorax.errors import BundleError, RecipeError
from thorax.findings import NIH14
from thorax.models.tensors import Images
from thorax.recipe.schema import Head, Network, Preparation

__all__ = [
    "build_torchvision",
    "chexnet",
    "input_normalizer",
    "modernized",
    "torchvision",
    "torchvision_checkpoint",
]

_TEN_CROPS = "the source resized to 256 pixels and averaged ten crops of 224; here the whole image is used"

_INPUT_SIZES = {
    "efficientnet_b1": 240,
    "efficientnet_b2": 288,
    "efficientnet_b3": 300,
    "efficientnet_b4": 380,
}
"""Sizes that torchvision's own weights were trained with, where they are not 224."""

_STEMS = ("features.conv0", "conv1", "features.0.0", "conv_proj")
"""Names of the first convolution."""


def chexnet(file: WeightsFile, options: ForeignOptions) -> ForeignCheckpoint:
    """Describe a DenseNet of a CheXNet re-implementation.

    arnoweng/CheXNet and zoogzog/chexnet save {"state_dict": ...} with names such as
    module.densenet121.features.denseblock1.denselayer1.norm.1.weight; jrzech/reproduce-chexnet pickles the
    whole network. All three have ImageNet's normalization, a sigmoid after the classifier, and 14 outputs in
    CheXNet's order (model.py, ChexnetTrainer.py and cxr_dataset.py of these repositories).
    """
    rest, head = split_head(modernized(file), ("classifier",))
    name = densenet_name(rest)
    model, preparation = resolve_settings(
        {
            "backbone": name,
            "channels": 3,
            "mean": IMAGENET_MEAN,
            "std": IMAGENET_STD,
            "head": Head(hidden=head.hidden),
        },
        options,
        # jrzech resizes to 224; the others resize to 256 and crop.
        size=None if file.whole_net else 256,
    )
    checkpoint = torchvision_checkpoint(
        name,
        (model, preparation),
        (rest, head),
        labels=tuple(finding.name for finding in NIH14) if head.num_outputs == len(NIH14) else None,
        text=f"a {name} of a CheXNet re-implementation",
    )
    return checkpoint if file.whole_net else replace(checkpoint, notes=(_TEN_CROPS, *checkpoint.notes))


def modernized(file: WeightsFile) -> WeightsFile:
    """Remove what wraps a network from the names of its tensors, and rename the layers of an old DenseNet."""
    inner = file.unwrapped()
    return replace(inner, tensors=modernize_names(inner.tensors))


def torchvision(file: WeightsFile, options: ForeignOptions) -> ForeignCheckpoint:
    """Describe a DenseNet, ResNet, EfficientNet or vision transformer of torchvision.

    Without a name in the options, the network is the one whose tensors have these names and shapes.

    Raises:
        RecipeError: The network cannot be imported, or no single one fits the file.
        BundleError: The file holds no classifier.
    """
    inner = modernized(file)
    name = options.backbone or _only_network(inner)
    if name not in TIMM_NAMES:
        raise RecipeError(
            f"backbone {name!r} of torchvision cannot be imported; give one of {', '.join(TIMM_NAMES)}"
        )
    rest, head = split_head(inner, head_names(name))
    first = next((rest[f"{stem}.weight"] for stem in _STEMS if f"{stem}.weight" in rest), None)
    settings = resolve_settings(
        {
            "backbone": TIMM_NAMES[name],
            "channels": input_channels(first),
            "mean": IMAGENET_MEAN,
            "std": IMAGENET_STD,
            "input_size": _INPUT_SIZES.get(name, 224),
            "head": Head(hidden=head.hidden),
        },
        options,
    )
    return torchvision_checkpoint(name, settings, (rest, head), labels=None, text=f"torchvision's {name}")


def _only_network(file: WeightsFile) -> str:
    fitting = guess_network(file.tensors)
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise BundleError(
            f"{file.path} begins like torchvision's {', '.join(fitting)}, but its tensors are not exactly "
            "those of one of them; give the nearest as `backbone` to see what differs, or give another `kind`"
        )
    names = list(file.tensors)
    raise BundleError(
        f"{file.path} is not one of torchvision's networks that can be imported ({', '.join(TIMM_NAMES)}): "
        f"its tensors are named {', '.join(names[:3])}, ...; give another `kind`, such as timm with its "
        "`backbone`"
    )


def torchvision_checkpoint(
    name: str,
    settings: tuple[Network, Preparation],
    tensors: tuple[Mapping[str, Tensor], ForeignHead],
    *,
    labels: tuple[str, ...] | None,
    text: str,
) -> ForeignCheckpoint:
    """Describe a checkpoint of a torchvision network whose input was normalized RGB images.

    Args:
        name: torchvision's name of the network.
        settings: The network and the preparation of its input.
        tensors: The result of `split_head`, under torchvision's names.
        labels: See `ForeignCheckpoint`.
        text: See `ForeignCheckpoint`.
    """
    model, preparation = settings
    rest, head = tensors
    own_head = {f"{head_names(name)[0]}.{key}": tensor for key, tensor in head.tensors().items()}
    return ForeignCheckpoint(
        model=model,
        preparation=preparation,
        tensors=timm_names(name, rest),
        head=head,
        labels=labels,
        text=text,
        notes=head.notes,
        architecture=f"torchvision's {name}",
        build=lambda: (build_torchvision(name, model, head), {**rest, **own_head}),
        normalize=input_normalizer(model),
    )


def build_torchvision(name: str, model: Network, head: ForeignHead) -> nn.Module:
    """Build an untrained network of torchvision with this head.

    Args:
        name: torchvision's name of the network.
        model: Gives the channels and size of the input.
        head: Replaces the network's own head.
    """
    sized = {"image_size": model.input_size} if name.startswith("vit") else {}
    net: nn.Module = torchvision_models().get_model(name, weights=None, **sized)
    net.set_submodule(head_names(name)[0], head.build())
    stem = next(stem for stem in _STEMS if f"{stem}.weight" in net.state_dict())
    first = net.get_submodule(stem)
    assert isinstance(first, nn.Conv2d)
    if first.in_channels != model.channels:
        net.set_submodule(stem, _with_channels(first, model.channels))
    return net


def _with_channels(layer: nn.Conv2d, channels: int) -> nn.Conv2d:
    return nn.Conv2d(
        channels,
        layer.out_channels,
        layer.kernel_size,  # type: ignore[arg-type]
        stride=layer.stride,  # type: ignore[arg-type]
        padding=layer.padding,  # type: ignore[arg-type]
        bias=layer.bias is not None,
    )


def input_normalizer(model: Network) -> Callable[[Images], Tensor]:
    """Return a function that repeats gray images for each channel and normalizes them."""
    mean, std = (torch.tensor(values).reshape(1, -1, 1, 1) for values in (model.mean, model.std))
    return lambda images: (images.repeat(1, model.channels, 1, 1) - mean) / std
