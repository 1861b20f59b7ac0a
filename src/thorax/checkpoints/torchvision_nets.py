"""Checkpoints of torchvision's networks, and of CheXNet re-implementations built on them."""

import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from thorax.checkpoints.foreign_net import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ForeignCheckpoint,
    ForeignOptions,
    count_blocks,
    input_channels,
    rename_tensors,
    resolve_settings,
    split_classifier,
    substitute,
)
from thorax.checkpoints.weights_file import WeightsFile, without_prefixes
from thorax.errors import RecipeError
from thorax.findings import NIH14
from thorax.models.tensors import Images
from thorax.recipe.schema import Network, Preparation

__all__ = [
    "build_torchvision",
    "chexnet",
    "densenet_name",
    "input_normalizer",
    "modernize_names",
    "timm_names_of_vit",
    "torchvision",
    "torchvision_checkpoint",
]

_WRAPPERS = ("module.", "_orig_mod.", "model.", "densenet121.", "densenet169.", "densenet201.")

_BY_BLOCKS: dict[tuple[int, ...], str] = {
    (6, 12, 24, 16): "densenet121",
    (6, 12, 32, 32): "densenet169",
    (6, 12, 48, 32): "densenet201",
    (6, 12, 36, 24): "densenet161",
}

_TEN_CROPS = "the source resized to 256 pixels and averaged ten crops of 224; here the whole image is used"


def chexnet(file: WeightsFile, options: ForeignOptions) -> ForeignCheckpoint:
    """Describe a DenseNet of a CheXNet re-implementation.

    arnoweng/CheXNet and zoogzog/chexnet save {"state_dict": ...} with names such as
    module.densenet121.features.denseblock1.denselayer1.norm.1.weight; jrzech/reproduce-chexnet pickles the
    whole network. All three have ImageNet's normalization, a sigmoid after the classifier, and 14 outputs in
    CheXNet's order (model.py, ChexnetTrainer.py and cxr_dataset.py of these repositories).
    """
    tensors = modernize_names(without_prefixes(file.tensors, _WRAPPERS))
    rest, weight, bias = split_classifier(tensors, ("classifier.0", "classifier"), path=file.path)
    name = densenet_name(rest)
    model, preparation = resolve_settings(
        {"backbone": name, "channels": 3, "mean": IMAGENET_MEAN, "std": IMAGENET_STD},
        options,
        # jrzech resizes to 224; the others resize to 256 and crop.
        size=None if file.whole_net else 256,
    )
    checkpoint = torchvision_checkpoint(
        name,
        (model, preparation),
        (rest, weight, bias),
        classifier="classifier",
        labels=tuple(finding.name for finding in NIH14) if len(bias) == len(NIH14) else None,
        text=f"a {name} of a CheXNet re-implementation",
    )
    return checkpoint if file.whole_net else replace(checkpoint, notes=(_TEN_CROPS,))


def densenet_name(tensors: Mapping[str, Tensor]) -> str:
    """Return which of torchvision's DenseNets has these tensors, judged by its number of layers."""
    blocks = tuple(count_blocks(tensors, f"features.denseblock{block}") for block in (1, 2, 3, 4))
    # For any other network, the list of mismatched tensors is more informative than a count of layers.
    return _BY_BLOCKS.get(blocks, "densenet121")


_RGB = 3

_CONVOLUTIONAL = {
    **{name: name for name in ("densenet121", "densenet161", "densenet169", "densenet201")},
    **{name: name for name in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")},
    "resnext50_32x4d": "resnext50_32x4d",
    "wide_resnet50_2": "wide_resnet50_2",
}
_TRANSFORMERS = {
    "vit_b_16": "vit_base_patch16_224",
    "vit_b_32": "vit_base_patch32_224",
    "vit_l_16": "vit_large_patch16_224",
    "vit_l_32": "vit_large_patch32_224",
}

# torchvision before 0.2.1 wrote norm.1 for norm1.
_OLD_LAYER = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")

_VIT_NAMES = (
    (r"^class_token$", "cls_token"),
    (r"^conv_proj\.", "patch_embed.proj."),
    (r"^encoder\.pos_embedding$", "pos_embed"),
    (r"^encoder\.ln\.", "norm."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.self_attention\.in_proj_", ".attn.qkv."),
    (r"\.self_attention\.out_proj\.", ".attn.proj."),
    # Before torchvision 0.14: mlp.linear_1 and mlp.linear_2.
    (r"\.mlp\.(?:0|linear_1)\.", ".mlp.fc1."),
    (r"\.mlp\.(?:3|linear_2)\.", ".mlp.fc2."),
)


def torchvision(file: WeightsFile, options: ForeignOptions) -> ForeignCheckpoint:
    """Describe a DenseNet, ResNet or vision transformer of torchvision.

    Raises:
        RecipeError: No backbone is named, or its counterpart in timm is not known.
        BundleError: The file holds no classifier.
    """
    known = _CONVOLUTIONAL | _TRANSFORMERS
    name = options.backbone or ""
    if name not in known:
        raise RecipeError(
            f"backbone {name!r} of torchvision cannot be imported; give one of {', '.join(known)}"
        )
    tensors = modernize_names(without_prefixes(file.tensors, ("module.", "_orig_mod.", "model.")))
    own_name = "heads.head" if name in _TRANSFORMERS else "classifier" if name.startswith("d") else "fc"
    rest, weight, bias = split_classifier(tensors, (f"{own_name}.0", own_name), path=file.path)
    first = rest.get("features.conv0.weight", rest.get("conv1.weight"))
    model, preparation = resolve_settings(
        {
            "backbone": known[name],
            "channels": input_channels(first),
            "mean": IMAGENET_MEAN,
            "std": IMAGENET_STD,
        },
        options,
    )
    checkpoint = torchvision_checkpoint(
        name,
        (model, preparation),
        (rest, weight, bias),
        classifier=own_name,
        labels=None,
        text=f"torchvision's {name}",
    )
    return replace(checkpoint, tensors=timm_names_of_vit(rest)) if name in _TRANSFORMERS else checkpoint


def torchvision_checkpoint(
    name: str,
    settings: tuple[Network, Preparation],
    tensors: tuple[Mapping[str, Tensor], Tensor, Tensor],
    *,
    classifier: str,
    labels: tuple[str, ...] | None,
    text: str,
) -> ForeignCheckpoint:
    """Describe a checkpoint of a torchvision network whose input was normalized RGB images.

    Args:
        name: torchvision's name of the network.
        settings: The network and the preparation of its input.
        tensors: The result of `split_classifier`, under torchvision's names.
        classifier: Name of the network's last layer.
        labels: See `ForeignCheckpoint`.
        text: See `ForeignCheckpoint`.
    """
    model, preparation = settings
    rest, weight, bias = tensors
    own = {**rest, f"{classifier}.weight": weight, f"{classifier}.bias": bias}
    return ForeignCheckpoint(
        model=model,
        preparation=preparation,
        tensors=rest,
        weight=weight,
        bias=bias,
        labels=labels,
        text=text,
        architecture=f"torchvision's {name}",
        build=lambda: (build_torchvision(name, model, outputs=len(bias)), own),
        normalize=input_normalizer(model),
    )


def build_torchvision(name: str, model: Network, *, outputs: int) -> nn.Module:
    """Build an untrained network of torchvision.

    Args:
        name: torchvision's name of the network.
        model: Gives the channels (other than three for DenseNets and ResNets only) and size of the input.
        outputs: Number of outputs of the classifier.
    """
    # Importable now: `thorax.models.backbones` supplies the operators that some torchvision builds lack.
    models = importlib.import_module("torchvision.models")
    sized = {"image_size": model.input_size} if name in _TRANSFORMERS else {}
    net: nn.Module = models.get_model(name, weights=None, num_classes=outputs, **sized)
    if model.channels != _RGB:
        parent, stem = (net.features, "conv0") if name.startswith("densenet") else (net, "conv1")
        assert isinstance(parent, nn.Module)
        parent.add_module(stem, nn.Conv2d(model.channels, 64, kernel_size=7, stride=2, padding=3, bias=False))
    return net


def input_normalizer(model: Network) -> Callable[[Images], Tensor]:
    """Return a function that repeats gray images for each channel and normalizes them."""
    mean, std = (torch.tensor(values).reshape(1, -1, 1, 1) for values in (model.mean, model.std))
    return lambda images: (images.repeat(1, model.channels, 1, 1) - mean) / std


def modernize_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the layers of an old DenseNet: denselayer1.norm.1 becomes denselayer1.norm1."""
    return rename_tensors(tensors, lambda name: _OLD_LAYER.sub(r"\1\2", name))


def timm_names_of_vit(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of a vision transformer, without its classifier, to timm's names."""
    return rename_tensors(tensors, lambda name: substitute(name, _VIT_NAMES))
