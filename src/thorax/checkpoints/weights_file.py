"""A checkpoint's tensors by name, whatever file they are in: safetensors, a state dict, or a whole net."""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from thorax.checkpoints.safe_pickle import Made
from thorax.checkpoints.torch_file import TorchFile, is_torch_file, open_torch_file
from thorax.errors import BundleError

__all__ = ["WeightsFile", "read_weights_file", "without_prefixes"]

_MAX_BYTES = 4 * 2**30
_MAX_PARTS = 20_000
_MAX_WRAPPERS = 4

_WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net")
"""Keys under which training scripts save their weights beside other things, in order of preference.

The averaged weights of timm ("state_dict_ema") are not among them: they are another net.
"""


@dataclass(frozen=True)
class WeightsFile:
    """A checkpoint's tensors.

    Attributes:
        path: Where it is.
        tensors: Parameters and buffers by name, on the CPU.
        attributes: What else a net that was pickled whole carries: numbers, strings, lists of them.
        whole_net: Whether a net was pickled whole.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    attributes: Mapping[str, Any]
    whole_net: bool


def read_weights_file(path: Path) -> WeightsFile:
    """Read a checkpoint: safetensors, or what `torch.save` wrote, of which nothing is run.

    Raises:
        BundleError: It cannot be read, is too large, holds no weights, or more than weights.
    """
    try:
        size = path.stat().st_size
        torch_file = is_torch_file(path)
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}); give a checkpoint") from error
    if size > _MAX_BYTES:
        raise BundleError(
            f"{path} has {size / 2**30:.1f} GiB, more than the {_MAX_BYTES // 2**30} that any net needs; "
            "save its weights alone, without the optimiser"
        )
    if torch_file:
        return _of_torch(open_torch_file(path))
    try:
        return WeightsFile(path, load_file(path), {}, whole_net=False)
    except (OSError, SafetensorError) as error:
        raise BundleError(
            f"{path} is neither safetensors ({error}) nor a file of torch.save; give one of these"
        ) from error


def without_prefixes(tensors: Mapping[str, Tensor], prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    """Take off prefixes that every name has, again and again, as wrappers were put around the net."""
    names = dict(tensors)
    while names:
        shared = [prefix for prefix in prefixes if all(name.startswith(prefix) for name in names)]
        if not shared:
            break
        names = {name.removeprefix(shared[0]): tensor for name, tensor in names.items()}
    return names


def _of_torch(file: TorchFile) -> WeightsFile:
    content = file.content
    for _ in range(_MAX_WRAPPERS):
        match content:
            case Made():
                return _of_net(file, content)
            case dict() if inner := _wrapped(content):
                content = inner
            case dict():
                return WeightsFile(file.path, _tensors(file, content), {}, whole_net=False)
            case _:
                break
    raise _no_weights(file.path, f"it holds a {type(content).__name__}")


def _wrapped(content: dict[Any, Any]) -> Any:
    found = (content.get(key) for key in _WRAPPERS)
    return next((inner for inner in found if isinstance(inner, Made | dict) and _may_be_net(inner)), None)


def _may_be_net(inner: Made | dict[Any, Any]) -> bool:
    return isinstance(inner, dict) or _parts(inner) is not None


def _tensors(file: TorchFile, values: Mapping[Any, Any]) -> dict[str, Tensor]:
    tensors = {name: file.tensor(value) for name, value in values.items()}
    others = [str(name) for name, tensor in tensors.items() if tensor is None or not isinstance(name, str)]
    if others or not tensors:
        listed = ", ".join(others[:10])
        raise _no_weights(file.path, f"{len(others)} of its {len(tensors)} entries are no tensors: {listed}")
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def _of_net(file: TorchFile, net: Made) -> WeightsFile:
    inner = (_parts(net) or {}).get("module")
    if net.maker.path.endswith("DataParallel") and isinstance(inner, Made):
        # The labels and operating points that a net carries are within.
        net = inner
    if _parts(net) is None:
        raise _no_weights(file.path, f"it holds a {net.maker.path}")
    try:
        values = dict(_named_values(net, file.path))
    except (AttributeError, TypeError) as error:
        raise _no_weights(file.path, f"its net is damaged ({error})") from error
    tensors = _tensors(file, values)
    attributes = {name: _plain(file, value) for name, value in net.state.items() if not name.startswith("_")}
    return WeightsFile(file.path, tensors, attributes, whole_net=True)


def _parts(net: Made) -> dict[str, Any] | None:
    """Return the modules within a module, or None if it is no module."""
    parts = net.state.get("_modules") if isinstance(net.state, dict) else None
    return parts if isinstance(parts, dict) else None


def _named_values(net: Made, path: Path) -> Iterator[tuple[str, Any]]:
    """Walk a pickled module to what `Module.state_dict` would name; it may hold itself, or one part often."""
    # In breadth, so that the names of a net within itself stay short.
    waiting = deque([("", net)])
    for _ in range(_MAX_PARTS):
        if not waiting:
            return
        prefix, module = waiting.popleft()
        passing = _set(module.state.get("_non_persistent_buffers_set"))
        for group in ("_parameters", "_buffers"):
            for name, value in (module.state.get(group) or {}).items():
                if value is not None and not (group == "_buffers" and name in passing):
                    yield f"{prefix}{name}", value
        parts = (_parts(module) or {}).items()
        waiting += [(f"{prefix}{name}.", part) for name, part in parts if _is_module(part)]
    raise _no_weights(path, f"its net has more than {_MAX_PARTS} parts")


def _is_module(part: Any) -> bool:
    return isinstance(part, Made) and isinstance(part.state, dict)


def _set(value: Any) -> set[Any]:
    if isinstance(value, Made) and value.arguments:
        return set(value.arguments[0])
    return value if isinstance(value, set) else set()


def _plain(file: TorchFile, value: Any) -> Any:
    tensor = file.tensor(value)
    return value if tensor is None else tensor.tolist()


def _no_weights(path: Path, reason: str) -> BundleError:
    return BundleError(
        f"no weights were found in {path}: {reason}; save net.state_dict() alone, best as safetensors"
    )
