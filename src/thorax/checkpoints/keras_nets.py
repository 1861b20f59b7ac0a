"""DenseNets of keras.applications, as CheXNet-Keras (brucechou1983) and others fine-tuned them."""

import re
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, nn

from thorax.checkpoints.foreign_head import split_classifier
from thorax.checkpoints.foreign_net import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ForeignCheckpoint,
    ForeignOptions,
    resolve_settings,
)
from thorax.checkpoints.torchvision_names import densenet_name
from thorax.checkpoints.torchvision_nets import torchvision_checkpoint
from thorax.checkpoints.weights_file import WeightsFile
from thorax.errors import BundleError
from thorax.quoting import quoted

__all__ = ["keras"]

_EPSILON = 1.001e-5
"""Added to the variance by the batch norms of keras.applications; torch adds 1e-5."""

_TORCH_EPSILON = 1e-5

_ASSUMED = (
    "the file holds weights without a description of the model: a sigmoid after the last layer and the batch "
    "norms of keras.applications are assumed"
)

# The older spelling of Keras 2 has conv1/conv and conv1/bn. A prefix is the name of a nested model.
_LAYERS = tuple(
    (re.compile(rf"(?:.*/)?{pattern}"), name)
    for pattern, name in (
        (r"conv1[/_]conv", "features.conv0"),
        (r"conv1[/_]bn", "features.norm0"),
        (r"conv([2-5])_block(\d+)_0_bn", "features.denseblock{}.denselayer{}.norm1"),
        (r"conv([2-5])_block(\d+)_1_conv", "features.denseblock{}.denselayer{}.conv1"),
        (r"conv([2-5])_block(\d+)_1_bn", "features.denseblock{}.denselayer{}.norm2"),
        (r"conv([2-5])_block(\d+)_2_conv", "features.denseblock{}.denselayer{}.conv2"),
        (r"pool([2-4])_bn", "features.transition{}.norm"),
        (r"pool([2-4])_conv", "features.transition{}.conv"),
        (r"bn", "features.norm5"),
    )
)
_NORM = ("weight", "bias", "running_mean", "running_var")
_WEIGHTS = {
    **dict(zip(("gamma", "beta", "moving_mean", "moving_variance"), _NORM, strict=True)),
    "kernel": "weight",
    "bias": "bias",
}


def keras(file: WeightsFile, options: ForeignOptions) -> ForeignCheckpoint:
    """Describe a DenseNet of keras.applications with one dense layer and a sigmoid on top.

    The layers are named as there, in the spelling of Keras 2 or 3. The input is that of CheXNet-Keras
    (generator.py) and of keras.applications.densenet.preprocess_input: pixels in [0, 1] with ImageNet's
    normalization, from images resized to a square regardless of their shape.

    Raises:
        BundleError: It is another network, or has another head.
    """
    _check_description(file)
    renamed = replace(file, tensors=_torchvision_tensors(file))
    rest, head = split_classifier(renamed, ("classifier",))
    name = densenet_name(rest)
    settings = resolve_settings(
        {"backbone": name, "channels": 3, "mean": IMAGENET_MEAN, "std": IMAGENET_STD}, options, fit="stretch"
    )
    checkpoint = torchvision_checkpoint(
        name, settings, (rest, head), labels=None, text=f"a {name} of keras.applications"
    )

    def build() -> tuple[nn.Module, Mapping[str, Tensor]]:
        net, tensors = checkpoint.build()
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = _EPSILON
        return net, tensors

    return replace(
        checkpoint,
        tensors={key: _with_torch_epsilon(key, tensor) for key, tensor in rest.items()},
        notes=() if file.attributes else (_ASSUMED,),
        architecture=f"torchvision's {name} with the batch norms of Keras",
        build=build,
    )


def _with_torch_epsilon(name: str, tensor: Tensor) -> Tensor:
    """Move the difference of the two epsilons into a running variance; return other tensors unchanged."""
    if not name.endswith(".running_var"):
        return tensor
    return (tensor.double() + (_EPSILON - _TORCH_EPSILON)).float()


def _check_description(file: WeightsFile) -> None:
    """Refuse a model that, as it describes itself, ends in something else or normalizes otherwise."""
    activations = file.attributes.get("activations", [])
    if other := [activation for activation in activations if activation not in ("sigmoid", "linear")]:
        raise BundleError(
            f"{file.path} has a dense layer with the activation {quoted(other[0])}, but Thorax has one "
            "probability for each finding: a sigmoid; import a network with sigmoids"
        )
    epsilons = file.attributes.get("epsilons", [])
    if other := [epsilon for epsilon in epsilons if epsilon != _EPSILON]:
        raise BundleError(
            f"{file.path} has batch norms with epsilon {other[0]!r}, but those of keras.applications' "
            f"DenseNets have {_EPSILON}; import a network of keras.applications"
        )


def _torchvision_tensors(file: WeightsFile) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    dense: set[str] = set()
    for path, tensor in file.tensors.items():
        layer, _, weight = path.removesuffix(":0").rpartition("/")
        name = _torchvision_layer(layer)
        if name is None and tensor.ndim <= 2:  # noqa: PLR2004  (axes of a dense layer's kernel)
            dense.add(layer)
            name = "classifier"
        key = f"{name or layer}.{_torchvision_weight(weight, is_norm='norm' in (name or ''))}"
        if len(dense) > 1:
            raise _other_network(file, f"the dense layers {' and '.join(sorted(dense))}")
        if key in tensors:
            raise _other_network(file, f"the layer {layer} twice")
        tensors[key] = _torch_layout(tensor)
    if not any(name.startswith("features.") for name in tensors):
        raise _other_network(file, ", ".join(list(file.tensors)[:5]))
    return tensors


def _torchvision_layer(layer: str) -> str | None:
    for pattern, name in _LAYERS:
        if match := pattern.fullmatch(layer):
            # The dense blocks of Keras are numbered from 2, since conv1 is the stem.
            block, *others = (*match.groups(),) or ("1",)
            return name.format(int(block) - 1, *others)
    return None


def _torchvision_weight(weight: str, *, is_norm: bool) -> str:
    """Return torch's name of a weight, which Keras 3 numbers in a file of weights."""
    numbered = _NORM if is_norm else _NORM[:2]
    if weight.isdecimal() and int(weight) < len(numbered):
        return numbered[int(weight)]
    return _WEIGHTS.get(weight, weight)


def _torch_layout(tensor: Tensor) -> Tensor:
    """Return kernels with the outputs first: (h, w, in, out) or (in, out) in Keras."""
    match tensor.ndim:
        case 4:
            return tensor.permute(3, 2, 0, 1)
        case 2:
            return tensor.T
    return tensor


def _other_network(file: WeightsFile, layers: str) -> BundleError:
    return BundleError(
        f"{file.path} is not a DenseNet of keras.applications with one dense layer on top: it has {layers}; "
        "import such a network"
    )
