"""The head of a foreign network: the linear layers after its backbone."""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from torch import Tensor, nn

from thorax.checkpoints.weights_file import WeightsFile
from thorax.errors import BundleError
from thorax.models.heads import build_head

__all__ = ["ForeignHead", "split_classifier", "split_head"]

_LAYER = re.compile(r"((?:\d{1,6}\.)*)(weight|bias)")
_LISTED = 6

_ASSUMED = (
    "the head has {count} linear layers, and a file of tensors does not say what is between them: ReLU is "
    "assumed here; if the network had anything else there, its logits are wrong"
)

_NUMBERED = re.compile(r"\d{1,6}(\.\d{1,6})*")

_PASSIVE = {"Dropout", "Identity", "Flatten", "Sequential"}
"""Classes of modules that may be anywhere in a head: in evaluation they do nothing to a vector."""

_AFTER = {*_PASSIVE, "Sigmoid"}
"""Classes of modules that may follow the classifier."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class ForeignHead:
    """One linear layer, or several with ReLU between them.

    Attributes:
        layers: Weight (output, input) and bias (output) of each layer; those of the classifier last.
        notes: What was assumed about the layers.
    """

    layers: tuple[tuple[Tensor, Tensor], ...]
    notes: tuple[str, ...] = ()

    @property
    def num_outputs(self) -> int:
        """Number of outputs of the classifier."""
        return len(self.layers[-1][1])

    @property
    def hidden(self) -> tuple[int, ...]:
        """Sizes of the hidden layers."""
        return tuple(len(bias) for _, bias in self.layers[:-1])

    def build(self) -> nn.Module:
        """Return these layers as a module with its weights."""
        module = build_head(self.layers[0][0].shape[1], self.hidden, self.num_outputs, dropout=0.0)
        module.load_state_dict(self.tensors())
        return module

    def tensors(self, outputs: list[int] | None = None) -> dict[str, Tensor]:
        """Return the tensors under the names of `build_head`, with these outputs of the classifier or all."""
        weight, bias = self.layers[-1]
        chosen = (weight, bias) if outputs is None else (weight[outputs], bias[outputs])
        # Between two linear layers of `build_head` there are ReLU and dropout.
        prefixes = [f"{3 * index}." for index in range(len(self.layers))] if self.hidden else [""]
        layers = zip(prefixes, (*self.layers[:-1], chosen), strict=True)
        return {
            f"{prefix}{name}": tensor
            for prefix, layer in layers
            for name, tensor in zip(("weight", "bias"), layer, strict=True)
        }


def split_head(file: WeightsFile, names: tuple[str, ...]) -> tuple[dict[str, Tensor], ForeignHead]:
    """Split off the head: linear layers under the first of these names that the file has.

    Returns:
        The other tensors, and the head.

    Raises:
        BundleError: There is no head, or it has layers that Thorax does not have.
    """
    for name in names:
        rest = {key: tensor for key, tensor in file.tensors.items() if not key.startswith(f"{name}.")}
        if len(rest) < len(file.tensors):
            return rest, _read_head(file, name)
    raise _no_classifier(file.path, names)


def split_classifier(file: WeightsFile, names: tuple[str, ...]) -> tuple[dict[str, Tensor], ForeignHead]:
    """Split off the head, which must be a single linear layer.

    Raises:
        BundleError: There is no head, or it has several layers.
    """
    rest, head = split_head(file, names)
    if head.hidden:
        raise BundleError(
            f"{file.path} has a head of {len(head.layers)} linear layers, but networks of this kind have "
            "one; give another `kind`"
        )
    return rest, head


def _read_head(file: WeightsFile, name: str) -> ForeignHead:
    inner = _inside(name, file.tensors)
    layers: dict[tuple[int, ...], dict[str, Tensor]] = {}
    for key, tensor in inner.items():
        match = _LAYER.fullmatch(key)
        if match is None:
            raise _unknown_head(file, name)
        layers.setdefault(_index(match[1]), {})[match[2]] = tensor
    pairs = {
        index: (layer["weight"].flatten(1), layer["bias"])
        for index, layer in sorted(layers.items())
        if layer.keys() == {"weight", "bias"} and layer["weight"].ndim > 1
    }
    if not pairs and len(layers) == 1:
        raise _no_classifier(file.path, (name,))
    fits = all(weight.shape[:1] == bias.shape for weight, bias in pairs.values())
    chained = all(len(before[1]) == after[0].shape[1] for before, after in pairwise(pairs.values()))
    known = _has_known_modules if file.modules else _may_have_relu
    if len(pairs) < len(layers) or not fits or not chained or not known(file, name, list(pairs)):
        raise _unknown_head(file, name)
    assumed = len(pairs) > 1 and not file.modules
    return ForeignHead(tuple(pairs.values()), (_ASSUMED.format(count=len(pairs)),) if assumed else ())


def _may_have_relu(_file: WeightsFile, _name: str, indices: list[tuple[int, ...]]) -> bool:
    """Return whether there is room for ReLU, and no more than dropout beside it, between linear layers."""
    return all(
        before[:-1] == after[:-1] and after[-1] - before[-1] in {2, 3} for before, after in pairwise(indices)
    )


def _has_known_modules(file: WeightsFile, name: str, indices: list[tuple[int, ...]]) -> bool:
    """Return whether a pickled head has ReLU between its linear layers and nothing active elsewhere."""
    inner = _inside(name, file.modules)
    if not all(_NUMBERED.fullmatch(module) for module in inner):
        return False
    kinds = {_index(f"{module}."): kind for module, kind in inner.items()}
    for position, (start, end) in enumerate(pairwise([(), *indices, (sys.maxsize,)])):
        passive = _AFTER if position == len(indices) else _PASSIVE
        active = [kind for index, kind in kinds.items() if start < index < end and kind not in passive]
        if active != (["ReLU"] if 0 < position < len(indices) else []):
            return False
    return True


def _inside(name: str, values: Mapping[str, _T]) -> dict[str, _T]:
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}


def _index(prefix: str) -> tuple[int, ...]:
    return tuple(map(int, prefix.split(".")[:-1]))


def _no_classifier(path: Path, names: tuple[str, ...]) -> BundleError:
    return BundleError(
        f"{path} holds no classifier ({' or '.join(f'{name}.weight' for name in names)}), so it cannot "
        "predict findings; it may be a pretrained backbone: save it as safetensors and train a recipe with "
        "model.weights=file:PATH"
    )


def _unknown_head(file: WeightsFile, name: str) -> BundleError:
    shapes = {key: str(tuple(tensor.shape)) for key, tensor in _inside(name, file.tensors).items()}
    contents = [f"{name}.{key} {text}" for key, text in (_inside(name, file.modules) or shapes).items()]
    return BundleError(
        f"the head of {file.path} is neither one linear layer nor several, numbered as in nn.Sequential, "
        f"with ReLU between them: it has {', '.join(contents[:_LISTED])}"
        f"{', ...' if len(contents) > _LISTED else ''}; import a network with such a head"
    )
