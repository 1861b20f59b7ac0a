"""Checkpoints of timm's networks: timm's own, Medical MAE's vision transformers, and EVA-X."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from thorax.checkpoints.foreign_head import ForeignHead, split_classifier, split_head
from thorax.checkpoints.foreign_net import (
    ForeignCheckpoint,
    ForeignOptions,
    count_blocks,
    input_channels,
    rename_tensors,
    resolve_settings,
    substitute,
)
from thorax.checkpoints.torchvision_nets import input_normalizer
from thorax.checkpoints.weights_file import WeightsFile
from thorax.errors import BundleError, RecipeError
from thorax.findings import NIH14
from thorax.models.backbones import timm
from thorax.recipe.schema import Head, Network

__all__ = ["eva_x", "mae", "timm_names_of_eva", "timm_net"]

_SIZES = {192: "tiny", 384: "small", 768: "base", 1024: "large"}
_PATCH = 16
_SHRUNK = {224: 256}
"""The size that both projects resize to before cropping the center, by input size of the network."""
_CENTER_CROP = "the source resized to 256 pixels and cropped the central 224; here the whole image is used"
_PROJECTS = {"vit": "a vision transformer of Medical MAE", "eva02": "an EVA-X vision transformer"}

# Tensors used only in pretraining (models_mae.py of lambert-x/medical_mae; EVA's masked image modelling).
_PRETRAINING = re.compile(r"(mask_token|decoder_\w+|lm_head)(\.|$)")

# Tables of sines and cosines of EVA's rotary positions, once for the network and once for each block.
_ROPE = re.compile(r"(blocks\.\d+\.attn\.)?rope\.freqs_(cos|sin)$")

_EVA_NAMES = (
    (r"\.mlp\.ffn_ln\.", ".mlp.norm."),
    (r"\.mlp\.w12\.", ".mlp.fc1."),
    (r"\.mlp\.w1\.", ".mlp.fc1_g."),
    (r"\.mlp\.w2\.", ".mlp.fc1_x."),
    (r"\.mlp\.w3\.", ".mlp.fc2."),
)
# If queries, keys and values are separate layers, timm keeps the biases in these layers.
_EVA_BIASES = ((r"\.attn\.([qv])_bias$", r".attn.\1_proj.bias"),)


def timm_net(file: WeightsFile, options: ForeignOptions) -> ForeignCheckpoint:
    """Describe a checkpoint of a network trained with timm, including its classifier.

    Normalization and input size default to those that timm states for the name and its tag.

    Raises:
        RecipeError: No backbone is named, timm does not have it, or its normalization is not known.
        BundleError: The file holds no classifier.
    """
    if options.backbone is None:
        raise RecipeError(
            "a checkpoint does not name its network; give the name used in training as `backbone`"
        )
    full_name = options.backbone
    name, _, _ = full_name.partition(".")
    if not timm.is_model(name):
        raise RecipeError(f"backbone {full_name!r} is not a model of timm; give the name used in training")
    try:
        config = timm.get_pretrained_cfg(full_name)
    except RuntimeError as error:
        raise RecipeError(f"backbone {full_name!r}: {error}; give the name without its tag") from error
    if not isinstance(config.classifier, str):
        raise RecipeError(
            f"backbone {full_name!r} does not have a single classifier, so it cannot be imported; give "
            "another backbone"
        )
    inner = file.unwrapped()
    rest, head = split_head(inner, (config.classifier,))
    model, preparation = resolve_settings(
        {
            "backbone": name,
            "channels": input_channels(rest.get(f"{config.first_conv}.weight")),
            "input_size": config.input_size[-1],
            "mean": config.mean,
            "std": config.std,
            "head": Head(hidden=head.hidden),
        },
        options,
    )
    return ForeignCheckpoint(
        model=model,
        preparation=preparation,
        tensors=rest,
        head=head,
        labels=None,
        text=f"timm's {full_name}",
        notes=head.notes,
        architecture=f"timm's {name}",
        build=lambda: _build_whole(model, config.classifier, (rest, head)),
        normalize=input_normalizer(model),
    )


def mae(file: WeightsFile, options: ForeignOptions) -> ForeignCheckpoint:
    """Describe a fine-tuned vision transformer of Medical MAE (lambert-x/medical_mae).

    The file is {"model": ...} of timm's ViT with patches of 16 pixels, which reads the mean over the patches
    through fc_norm, or the class token. Its findings of NIH ChestX-ray14 are in CheXNet's order.

    Raises:
        BundleError: The file holds no classifier, or another network.
    """
    tensors = _without_pretraining(file)
    rest, head = split_classifier(replace(file, tensors=tensors), ("head",))
    shape = _shape(rest, file)
    return _describe_transformer(
        (rest, head),
        shape,
        options,
        known={
            "backbone": f"vit_{shape.size}_patch16_224",
            "mean": (0.5056,),
            "std": (0.252,),
            "arguments": {"depth": shape.depth, **_pooling(rest)},
        },
    )


def eva_x(file: WeightsFile, options: ForeignOptions) -> ForeignCheckpoint:
    """Describe a fine-tuned EVA-X vision transformer (hustvl/EVA-X).

    It is EVA-02 with patches of 16 pixels. The tables of its rotary positions are not weights, but they show
    which grid the positions were made for: 14 in eva_x.py; in models_eva.py 14 and, later, 16 for the base.

    Raises:
        BundleError: The file holds no classifier, or another network.
    """
    tensors = _without_pretraining(file)
    tables = {name: tensors.pop(name) for name in list(tensors) if _ROPE.match(name)}
    rest, head = split_classifier(replace(file, tensors=timm_names_of_eva(tensors)), ("head",))
    shape = _shape(rest, file)
    reference = _rotary_grid(tables, shape, file)
    return _describe_transformer(
        (rest, head),
        shape,
        options,
        known={
            "backbone": f"eva02_{shape.size}_patch14_224",
            "mean": (0.49185243,),
            "std": (0.28509309,),
            "arguments": {
                "patch_size": 16,
                "ref_feat_shape": (reference, reference),
                "depth": shape.depth,
                **_pooling(rest),
            },
        },
    )


def timm_names_of_eva(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of an EVA-02 network, without its rotary tables, to timm's names."""
    split = any(".attn.q_proj." in name for name in tensors)
    names = (*_EVA_NAMES, *_EVA_BIASES) if split else _EVA_NAMES
    return rename_tensors(tensors, lambda name: substitute(name, names))


@dataclass(frozen=True)
class _Shape:
    """Dimensions of a vision transformer: timm's word for its width, blocks, and patches along a side."""

    size: str
    depth: int
    grid: int


def _shape(tensors: Mapping[str, Tensor], file: WeightsFile) -> _Shape:
    position = tensors.get("pos_embed")
    match None if position is None else tuple(position.shape):
        case (1, positions, width) if width in _SIZES:
            # One position is the class token's.
            return _Shape(_SIZES[width], count_blocks(tensors, "blocks"), math.isqrt(positions - 1))
        case shape:
            raise BundleError(
                f"{file.path} is not a vision transformer of a known width (its pos_embed: {shape}); "
                "give another `kind`, for example timm with its backbone"
            )


def _pooling(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    return {"global_pool": "avg" if "fc_norm.weight" in tensors else "token"}


def _without_pretraining(file: WeightsFile) -> dict[str, Tensor]:
    tensors = file.unwrapped().tensors
    return {name: tensor for name, tensor in tensors.items() if not _PRETRAINING.match(name)}


def _describe_transformer(
    tensors: tuple[dict[str, Tensor], ForeignHead],
    shape: _Shape,
    options: ForeignOptions,
    *,
    known: Mapping[str, Any],
) -> ForeignCheckpoint:
    rest, head = tensors
    side = shape.grid * _PATCH
    model, preparation = resolve_settings(
        {**known, "channels": 3, "input_size": side}, options, size=_SHRUNK.get(side)
    )
    return ForeignCheckpoint(
        model=model,
        preparation=preparation,
        tensors=rest,
        head=head,
        labels=tuple(finding.name for finding in NIH14) if head.num_outputs == len(NIH14) else None,
        text=_PROJECTS[model.backbone.partition("_")[0]],
        notes=(_CENTER_CROP,) if preparation.size > model.input_size else (),
        architecture=f"timm's {model.backbone}",
        build=lambda: _build_whole(model, "head", (rest, head)),
        normalize=input_normalizer(model),
    )


def _build_whole(
    model: Network, classifier: str, tensors: tuple[Mapping[str, Tensor], ForeignHead]
) -> tuple[nn.Module, Mapping[str, Tensor]]:
    """Return timm's network with the checkpoint's head, and all its tensors."""
    rest, head = tensors
    sized = {"img_size": model.input_size} if timm.get_pretrained_cfg(model.backbone).fixed_input_size else {}
    arguments = {"in_chans": model.channels, **sized, **model.arguments}
    net = timm.create_model(model.backbone, num_classes=head.num_outputs, **arguments)
    assert isinstance(net, nn.Module)
    own = net.get_submodule(classifier)
    if head.hidden:
        net.set_submodule(classifier, head.build())
    # Some networks of timm have a convolution of one pixel as their classifier.
    pixel = (1, 1) if isinstance(own, nn.Conv2d) and not head.hidden else ()
    own_head = {
        f"{classifier}.{name}": tensor.reshape(*tensor.shape, *pixel) if name == "weight" else tensor
        for name, tensor in head.tensors().items()
    }
    return net, {**rest, **own_head}


def _rotary_grid(tables: Mapping[str, Tensor], shape: _Shape, file: WeightsFile) -> int:
    """Return the grid that the rotary positions were scaled to, as their tables show."""
    reference = shape.grid
    for name in tables:
        if name.endswith("cos"):
            continue
        sine, cosine = tables[name], tables.get(f"{name.removesuffix('sin')}cos")
        if cosine is None or cosine.shape != sine.shape or sine.shape[:-1] != (shape.grid**2,):
            raise _unknown_positions(file, name)
        # The first frequency is 1, so a step of one patch is reference / grid radians.
        step = math.atan2(float(sine[shape.grid, 0]), float(cosine[shape.grid, 0]))
        reference = round(step * shape.grid)
        angles = _rotary_angles(shape.grid, reference, sine.shape[1] // 2)
        if angles.shape != sine.shape or not (_close(angles.sin(), sine) and _close(angles.cos(), cosine)):
            raise _unknown_positions(file, name)
    return reference


def _close(expected: Tensor, stored: Tensor) -> bool:
    # bfloat16 keeps about three digits.
    return torch.allclose(expected, stored.float(), atol=5e-3, rtol=0)


def _rotary_angles(grid: int, reference: int, half: int) -> Tensor:
    """Return EVA-02's angles, (patch, 2 half): first for the row, then for the column."""
    frequencies = 10000.0 ** (-torch.arange(0, half, 2) / half)
    angles = (torch.arange(grid) / grid * reference)[:, None] * frequencies.repeat_interleave(2)
    rows, columns = angles[:, None].expand(-1, grid, -1), angles[None].expand(grid, -1, -1)
    return torch.cat([rows, columns], dim=-1).reshape(grid**2, -1)


def _unknown_positions(file: WeightsFile, name: str) -> BundleError:
    return BundleError(
        f"{file.path} has rotary positions ({name}) that are not those of EVA-02, so it is not eva-x; "
        "give another `kind`"
    )
