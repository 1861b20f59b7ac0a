"""Backbones: any timm model, checked and loaded with weights."""

import difflib
import importlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MethodType
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from thorax.bundle import load_bundle
from thorax.errors import RecipeError
from thorax.recipe.schema import Network
from thorax.telemetry import import_unreported

__all__ = ["build_backbone", "grow_when_compiled", "timm"]

_MISSING = "operator torchvision::nms does not exist"
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

_declared: list[Any] = []
"""The declared schemas, which exist only as long as these objects."""


def _import_timm() -> Any:
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if _MISSING not in str(error):
            raise
        # torch does not annotate Library.
        declare: Any = torch.library.Library
        library = declare("torchvision", "DEF")
        for schema in _SCHEMAS:
            library.define(schema)
        _declared.append(library)
        # The next import would take the remains of the failed one for complete modules.
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
    return importlib.import_module("timm")


_hub = import_unreported("huggingface_hub")  # before timm, which imports it too
timm = _import_timm()


def grow_when_compiled(backbone: nn.Module) -> None:
    """Make the blocks of a DenseNet concatenate step by step when compiled; leave other backbones alone."""
    for block in backbone.modules():
        if isinstance(block, timm.models.densenet.DenseBlock):
            block.forward = MethodType(_grown, block)


def _grown(block: nn.ModuleDict, features: Tensor) -> Tensor:
    if not torch.compiler.is_compiling() or torch.compiler.is_exporting():
        joined: Tensor = type(block).forward(block, features)
        return joined
    for layer in block.values():
        features = torch.cat([features, layer(features)], dim=1)
    return features


_OURS = {"checkpoint_path", "cache_dir", "features_only", "in_chans", "num_classes", "scriptable"}
_UNKNOWN_ARGUMENT = re.compile(r"unexpected keyword argument '(\w+)'")
_PUBLISHED = "model.safetensors"
_OF_BACKBONE = "backbone."
"""Prefix of the backbone's weights in a bundle."""
_TIMEOUT_SECONDS = 10


def build_backbone(model: Network) -> nn.Module:
    """Build a timm model without its classifier, on the CPU, with the weights that the recipe names.

    Random weights come from torch's generator, so the caller's `torch.manual_seed` determines them.

    Args:
        model: Backbone, its arguments, weights, channels and input size.

    Returns:
        A module with timm's `forward_features` (images -> features) and `forward_head` (features ->
        vectors (batch, `head_hidden_size`)).

    Raises:
        RecipeError: timm has no such model, an argument does not fit it, or the weights cannot be
            loaded.
        BundleError: The bundle with the weights cannot be opened.
    """
    _check_name(model.backbone)
    _check_arguments(model)
    if model.weights == "none":
        backbone = _create(model, num_classes=0)
        assert isinstance(backbone, nn.Module)
        return backbone
    if model.weights.startswith("file:"):
        return _with_file(model, Path(model.weights.removeprefix("file:")))
    if model.weights.startswith("bundle:"):
        return _with_bundle(model, Path(model.weights.removeprefix("bundle:")))
    if model.weights == "timm" or model.weights.startswith("timm:"):
        return _with_published(model)
    raise RecipeError(
        f"model.weights = {model.weights!r} is not understood; give none, timm, timm:TAG, file:PATH "
        "(a safetensors file) or bundle:PATH (the folder of a bundle or run)"
    )


def _check_name(name: str) -> None:
    if timm.is_model(name) and "." not in name:
        return
    base, _, tag = name.partition(".")
    if tag and timm.is_model(base):
        raise RecipeError(
            f"model.backbone = {name!r} includes a tag of weights; set model.backbone={base} and "
            f"model.weights=timm:{tag}"
        )
    near = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else "timm.list_models() lists them"
    raise RecipeError(f"model.backbone = {name!r} is not a model of timm {timm.__version__}; {hint}")


def _check_arguments(model: Network) -> None:
    """Refuse arguments that would load weights behind `model.weights` or change what the head relies on."""
    for name in model.arguments:
        if name in _OURS or name.startswith("pretrained"):
            raise RecipeError(
                f"model.arguments.{name} = {model.arguments[name]!r} is set by other settings; leave "
                "it out (weights are named by model.weights, channels by model.channels)"
            )


def _arguments(model: Network) -> dict[str, Any]:
    arguments: dict[str, Any] = {"in_chans": model.channels, **model.arguments}
    if model.drop_path:
        arguments["drop_path_rate"] = model.drop_path
    # A vision transformer is built for one input size; a convolutional net takes any.
    if timm.get_pretrained_cfg(model.backbone).fixed_input_size and "img_size" not in arguments:
        arguments["img_size"] = model.input_size
    return arguments


def _create(model: Network, **further: Any) -> Any:
    """Call timm's constructor, and translate its errors into the terms of a recipe."""
    try:
        return timm.create_model(model.backbone, **_arguments(model), **further)
    except TypeError as error:
        unknown = _UNKNOWN_ARGUMENT.search(str(error))
        if unknown is None:
            raise _wrong_arguments(model, error) from error
        name = unknown[1]
        if name == "drop_path_rate":
            raise RecipeError(
                f"model.drop_path = {model.drop_path}: backbone {model.backbone} has no stochastic depth; "
                "set model.drop_path=0"
            ) from error
        raise RecipeError(
            f"model.arguments.{name} = {model.arguments.get(name)!r}: backbone {model.backbone} does not "
            f"take an argument {name!r}; leave it out"
        ) from error
    except (AssertionError, AttributeError, IndexError, KeyError, ValueError) as error:
        raise _wrong_arguments(model, error) from error
    except RuntimeError as error:
        if further.get("pretrained"):
            raise
        raise _wrong_arguments(model, error) from error


def _wrong_arguments(model: Network, error: Exception) -> RecipeError:
    return RecipeError(
        f"model.arguments = {dict(model.arguments)!r} do not fit backbone {model.backbone}: "
        f"{type(error).__name__}: {error}; correct them, or leave them out for the default net"
    )


def _with_published(model: Network) -> nn.Module:
    """Build with the weights that timm publishes."""
    name = f"{model.backbone}.{model.weights.partition(':')[2]}".removesuffix(".")
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        tags = [full_name.partition(".")[2] for full_name in timm.list_pretrained(f"{model.backbone}.*")]
        raise RecipeError(
            f"model.weights = {model.weights!r}: timm does not publish such weights of {model.backbone}; "
            f"its tags are {', '.join(tags) or 'none'}"
        ) from error
    if not config.hf_hub_id:
        raise RecipeError(
            f"model.weights = {model.weights!r}: timm does not publish weights of {model.backbone} on the "
            "Hugging Face hub; set model.weights=none, or give a file with model.weights=file:PATH"
        )
    return _with_file(model, _downloaded(model, config.hf_hub_id))


def _downloaded(model: Network, hub_id: str) -> Path:
    """Return the published file from the local cache, or download it."""
    try:
        return Path(_hub.hf_hub_download(hub_id, _PUBLISHED, local_files_only=True))
    except OSError:
        pass
    try:
        # The download itself would retry for 45 seconds; this fails at once.
        _hub.HfApi().model_info(hub_id, timeout=_TIMEOUT_SECONDS)
        return Path(_hub.hf_hub_download(hub_id, _PUBLISHED))
    # The exception without a network depends on the HTTP library of the installed huggingface_hub.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RecipeError(
            f"model.weights = {model.weights!r}: {hub_id} cannot be downloaded from the Hugging Face hub "
            f"({reason}); download {_PUBLISHED} from https://huggingface.co/{hub_id} on a machine with a "
            "network and give it as `model.weights=file:PATH`"
        ) from error


def _with_file(model: Network, path: Path) -> nn.Module:
    """Build with weights from a safetensors file; every key must match."""
    weights = _read_weights(path)
    config = timm.get_pretrained_cfg(model.backbone)
    # A published file includes its classifier: the net is built with one of that size, so that every key must
    # match, and the classifier is then removed.
    names = (config.classifier,) if isinstance(config.classifier, str) else tuple(config.classifier or ())
    sizes = [weights[f"{name}.weight"].shape[0] for name in names if f"{name}.weight" in weights]
    num_classes = sizes[0] if sizes else 0
    overlay: dict[str, Any] = {"state_dict": dict(weights), "num_classes": num_classes, "label_offset": 0}
    first_conv = weights.get(f"{config.first_conv}.weight")
    if first_conv is not None:
        overlay["input_size"] = (first_conv.shape[1], *config.input_size[1:])
    try:
        backbone = _create(model, pretrained=True, num_classes=num_classes, pretrained_cfg_overlay=overlay)
    except RuntimeError as error:
        raise RecipeError(
            f"model.weights: {path} does not fit backbone {model.backbone}: {' '.join(str(error).split())}; "
            "give weights of this net, or correct model.arguments"
        ) from error
    if num_classes:
        backbone.reset_classifier(0)
    assert isinstance(backbone, nn.Module)
    return backbone


def _with_bundle(model: Network, path: Path) -> nn.Module:
    """Build with the backbone of a bundle's net; every key must match."""
    bundle = load_bundle(path)
    members = bundle.manifest.members
    if len(members) != 1:
        raise RecipeError(
            f"model.weights: {path} is an ensemble of {len(members)} nets, so the backbone is ambiguous; "
            "give the bundle of one of them"
        )
    _check_same_input(model, members[0].model, path)
    weights = _read_weights(bundle.weights_of(members[0], "training that starts from it"))
    backbone = _create(model, num_classes=0)
    assert isinstance(backbone, nn.Module)
    try:
        backbone.load_state_dict(
            {
                name.removeprefix(_OF_BACKBONE): t
                for name, t in weights.items()
                if name.startswith(_OF_BACKBONE)
            }
        )
    except RuntimeError as error:
        raise RecipeError(
            f"model.weights: the backbone of {path} ({members[0].model.backbone}) does not fit backbone "
            f"{model.backbone}: {' '.join(str(error).split())}; set model.backbone and model.arguments "
            "to that bundle's"
        ) from error
    return backbone


def _check_same_input(model: Network, source: Network, path: Path) -> None:
    """Refuse pixels in another range than the backbone was trained on, which would otherwise go unnoticed."""
    requested, trained = _input_of(model), _input_of(source)
    changed = [name for name in trained if requested[name] != trained[name]]
    if changed:
        raise RecipeError(
            f"the backbone of {path} was not trained with "
            + ", ".join(f"model.{name}={requested[name]}" for name in changed)
            + "; set "
            + " and ".join(f"model.{name}={trained[name]}" for name in changed)
        )


def _input_of(model: Network) -> dict[str, Any]:
    constants = {name: np.broadcast_to(getattr(model, name), model.channels) for name in ("mean", "std")}
    return {"channels": model.channels} | {name: values.tolist() for name, values in constants.items()}


def _read_weights(path: Path) -> Mapping[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise RecipeError(
            f"model.weights: {path} cannot be read as safetensors ({error}); give a .safetensors file "
            "(pickles such as .pth are not opened: they can run code)"
        ) from error
