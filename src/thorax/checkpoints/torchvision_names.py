"""Names of tensors in torchvision's networks, which network they belong to, and timm's names for them."""

import importlib
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor

from thorax.checkpoints.foreign_net import count_blocks, rename_tensors, substitute

__all__ = [
    "TIMM_NAMES",
    "densenet_name",
    "guess_network",
    "head_names",
    "modernize_names",
    "timm_names",
    "torchvision_models",
]

_DENSENETS = ("densenet121", "densenet161", "densenet169", "densenet201")
_RESNETS = (
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "wide_resnet50_2",
)  # fmt: skip
_EFFICIENTNETS = tuple(f"efficientnet_b{size}" for size in range(5))
_TRANSFORMERS = {
    "vit_b_16": "vit_base_patch16_224",
    "vit_b_32": "vit_base_patch32_224",
    "vit_l_16": "vit_large_patch16_224",
    "vit_l_32": "vit_large_patch32_224",
}

TIMM_NAMES = {name: name for name in (*_DENSENETS, *_RESNETS, *_EFFICIENTNETS)} | _TRANSFORMERS
"""timm's name of each network of torchvision that can be imported."""

_FAMILIES = {
    "features.conv0.weight": _DENSENETS,
    "conv1.weight": _RESNETS,
    "features.0.0.weight": _EFFICIENTNETS,
    "conv_proj.weight": tuple(_TRANSFORMERS),
}
"""The networks of each family, by the weight of their first convolution."""

_POSITIONS = "encoder.pos_embedding"

_BY_BLOCKS: dict[tuple[int, ...], str] = {
    (6, 12, 24, 16): "densenet121",
    (6, 12, 32, 32): "densenet169",
    (6, 12, 48, 32): "densenet201",
    (6, 12, 36, 24): "densenet161",
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

_STAGE = re.compile(r"^features\.([1-7])\.")
_EFFICIENTNET_NAMES = (
    (r"^features\.0\.0\.", "conv_stem."),
    (r"^features\.0\.1\.", "bn1."),
    (r"^features\.8\.0\.", "conv_head."),
    (r"^features\.8\.1\.", "bn2."),
    # The blocks of the first stage do not widen their input: they lack the first convolution of the others.
    (r"^(blocks\.0\.\d+)\.block\.0\.0\.", r"\1.conv_dw."),
    (r"^(blocks\.0\.\d+)\.block\.0\.1\.", r"\1.bn1."),
    (r"^(blocks\.0\.\d+)\.block\.1\.fc", r"\1.block.2.fc"),
    (r"^(blocks\.0\.\d+)\.block\.2\.0\.", r"\1.conv_pw."),
    (r"^(blocks\.0\.\d+)\.block\.2\.1\.", r"\1.bn2."),
    (r"\.block\.0\.0\.", ".conv_pw."),
    (r"\.block\.0\.1\.", ".bn1."),
    (r"\.block\.1\.0\.", ".conv_dw."),
    (r"\.block\.1\.1\.", ".bn2."),
    (r"\.block\.2\.fc1\.", ".se.conv_reduce."),
    (r"\.block\.2\.fc2\.", ".se.conv_expand."),
    (r"\.block\.3\.0\.", ".conv_pwl."),
    (r"\.block\.3\.1\.", ".bn3."),
)


def head_names(name: str) -> tuple[str, ...]:
    """Return the possible names of the head of one of torchvision's networks."""
    if name in _TRANSFORMERS:
        return ("heads.head", "heads")
    return ("fc",) if name in _RESNETS else ("classifier",)


def modernize_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the layers of an old DenseNet: denselayer1.norm.1 becomes denselayer1.norm1."""
    return rename_tensors(tensors, lambda name: _OLD_LAYER.sub(r"\1\2", name))


def timm_names(name: str, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Rename the tensors of one of torchvision's networks, without its head, to timm's names."""
    if name in _TRANSFORMERS:
        return rename_tensors(tensors, lambda key: substitute(key, _VIT_NAMES))
    if name in _EFFICIENTNETS:
        return rename_tensors(tensors, _timm_name_in_efficientnet)
    return tensors


def _timm_name_in_efficientnet(name: str) -> str:
    staged = _STAGE.sub(lambda match: f"blocks.{int(match[1]) - 1}.", name)
    return substitute(staged, _EFFICIENTNET_NAMES)


def densenet_name(tensors: Mapping[str, Tensor]) -> str:
    """Return which of torchvision's DenseNets has these tensors, judged by its number of layers."""
    blocks = tuple(count_blocks(tensors, f"features.denseblock{block}") for block in (1, 2, 3, 4))
    # For any other network, the list of mismatched tensors is more informative than a count of layers.
    return _BY_BLOCKS.get(blocks, "densenet121")


def guess_network(tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return torchvision's networks with exactly these tensors, judged by names and shapes.

    The head, the input's channels and the number of a transformer's positions may be others. If no network
    fits, the result is the family with this first layer, or empty if that is unknown too.
    """
    family = next((names for stem, names in _FAMILIES.items() if stem in tensors), ())
    fitting = tuple(name for name in family if _shapes(name, tensors) == _shapes(name, _untrained(name)))
    return fitting or family


@cache
def _untrained(name: str) -> Mapping[str, Tensor]:
    with torch.device("meta"):
        weights: Mapping[str, Tensor] = torchvision_models().get_model(name, weights=None).state_dict()
    return weights


def _shapes(name: str, tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    heads = tuple(f"{head}." for head in head_names(name))
    return {
        key: _comparable(key, tuple(tensor.shape))
        for key, tensor in tensors.items()
        if not key.startswith(heads) and not key.endswith(".num_batches_tracked")
    }


def _comparable(key: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    if key in _FAMILIES:
        return shape[:1] + shape[2:]
    return shape[2:] if key == _POSITIONS else shape


def torchvision_models() -> Any:
    """Return the module torchvision.models."""
    # Importable now: `thorax.models.backbones` supplies the operators that some torchvision builds lack.
    return importlib.import_module("torchvision.models")
