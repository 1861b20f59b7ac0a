"""torchvision's nets, and CheXNet re-implementations that are built on them."""

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
    channels_of,
    classifier_of,
    depth_of,
    renamed,
    settings,
    substituted,
)
from thorax.checkpoints.weights_file import WeightsFile, without_prefixes
from thorax.errors import RecipeError
from thorax.findings import NIH14
from thorax.models.tensors import Images
from thorax.recipe.schema import Model, Preparation

__all__ = [
    "build_torchvision",
    "chexnet",
    "densenet_name",
    "repeated_input",
    "timm_names_of_vit",
    "torchvision",
    "torchvision_checkpoint",
    "with_new_names",
]

_WRAPPERS = ("module.", "_orig_mod.", "model.", "densenet121.", "densenet169.", "densenet201.")

_BY_BLOCKS: dict[tuple[int, ...], str] = {
    (6, 12, 24, 16): "densenet121",
    (6, 12, 32, 32): "densenet169",
    (6, 12, 48, 32): "densenet201",
    (6, 12, 36, 24): "densenet161",
}

_TEN_CROPS = "its users prepared 256 pixels and averaged ten crops of 224; here the whole image is one view"


def chexnet(file: WeightsFile, options: ForeignOptions) -> ForeignCheckpoint:
    """Describe a DenseNet of a CheXNet re-implementation.

    arnoweng/CheXNet and zoogzog/chexnet save {"state_dict": ...} with the names
    module.densenet121.features.denseblock1.denselayer1.norm.1.weight; jrzech/reproduce-chexnet pickles the
    whole net. All three have ImageNet's normalisation, a sigmoid behind the classifier, and 14 outputs in
    CheXNet's order (model.py, ChexnetTrainer.py and cxr_dataset.py of these repositories).
    """
    tensors = with_new_names(without_prefixes(file.tensors, _WRAPPERS))
    rest, weight, bias = classifier_of(tensors, ("classifier.0", "classifier"), path=file.path)
    name = densenet_name(rest)
    model, preparation = settings(
        {"backbone": name, "channels": 3, "mean": IMAGENET_MEAN, "std": IMAGENET_STD},
        options,
        # jrzech resizes to 224; the others to 256, from which they crop.
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
    """Return which of torchvision's DenseNets has these tensors, by the number of its layers."""
    blocks = tuple(depth_of(tensors, f"features.denseblock{block}") for block in (1, 2, 3, 4))
    # Whatever else it is: the list of what does not fit will say more than a count of layers.
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

# torchvision before 0.2.1 said norm.1 where it says norm1 now.
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
    # mlp.linear_1 and mlp.linear_2 before torchvision 0.14.
    (r"\.mlp\.(?:0|linear_1)\.", ".mlp.fc1."),
    (r"\.mlp\.(?:3|linear_2)\.", ".mlp.fc2."),
)


def torchvision(file: WeightsFile, options: ForeignOptions) -> ForeignCheckpoint:
    """Describe a DenseNet, ResNet or vision transformer of torchvision.

    Raises:
        RecipeError: No backbone is named, or one whose counterpart in timm is not known.
        BundleError: The file holds no classifier.
    """
    known = _CONVOLUTIONAL | _TRANSFORMERS
    name = options.backbone or ""
    if name not in known:
        raise RecipeError(
            f"backbone {name!r} is none of torchvision's that can be imported; give one of {', '.join(known)}"
        )
    tensors = with_new_names(without_prefixes(file.tensors, ("module.", "_orig_mod.", "model.")))
    own_name = "heads.head" if name in _TRANSFORMERS else "classifier" if name.startswith("d") else "fc"
    rest, weight, bias = classifier_of(tensors, (f"{own_name}.0", own_name), path=file.path)
    first = rest.get("features.conv0.weight", rest.get("conv1.weight"))
    model, preparation = settings(
        {"backbone": known[name], "channels": channels_of(first), "mean": IMAGENET_MEAN, "std": IMAGENET_STD},
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
    described: tuple[Model, Preparation],
    tensors: tuple[Mapping[str, Tensor], Tensor, Tensor],
    *,
    classifier: str,
    labels: tuple[str, ...] | None,
    text: str,
) -> ForeignCheckpoint:
    """Describe a checkpoint of one of torchvision's nets that was fed normalized RGB images.

    Args:
        name: torchvision's name of the net.
        described: The net in our words, and how its users made its input.
        tensors: What `classifier_of` returned, under torchvision's names.
        classifier: Name of the net's last layer.
        labels: As for `ForeignCheckpoint`.
        text: As for `ForeignCheckpoint`.
    """
    model, preparation = described
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
        normalize=repeated_input(model),
    )


def build_torchvision(name: str, model: Model, *, outputs: int) -> nn.Module:
    """Build a net of torchvision, untrained.

    Args:
        name: torchvision's name of it.
        model: Its input: channels (other than three for DenseNets and ResNets only), and size.
        outputs: Outputs of its classifier.
    """
    # The shim behind `thorax.models` has made it importable.
    models = importlib.import_module("torchvision.models")
    sized = {"image_size": model.input_size} if name in _TRANSFORMERS else {}
    net: nn.Module = models.get_model(name, weights=None, num_classes=outputs, **sized)
    if model.channels != _RGB:
        parent, stem = (net.features, "conv0") if name.startswith("densenet") else (net, "conv1")
        assert isinstance(parent, nn.Module)
        parent.add_module(stem, nn.Conv2d(model.channels, 64, kernel_size=7, stride=2, padding=3, bias=False))
    return net


def repeated_input(model: Model) -> Callable[[Images], Tensor]:
    """Return what makes a net's input of grey images: repeated for each channel, then normalised."""
    mean, std = (torch.tensor(values).reshape(1, -1, 1, 1) for values in (model.mean, model.std))
    return lambda images: (images.repeat(1, model.channels, 1, 1) - mean) / std


def with_new_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the layers of an old DenseNet: denselayer1.norm.1 is denselayer1.norm1 now."""
    return renamed(tensors, lambda name: _OLD_LAYER.sub(r"\1\2", name))


def timm_names_of_vit(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of a vision transformer, without its classifier, to timm's names."""
    return renamed(tensors, lambda name: substituted(name, _VIT_NAMES))
