"""A checkpoint's tensors by name, whatever file they are in: safetensors, a state dict, or a whole net.

Files that `torch.save` wrote are read without torch's unpickler. Two formats are in use: a zip archive (torch
1.6 and later), and pickles followed by raw numbers (before; most published chest X-ray checkpoints).
`torch.load(weights_only=True)` cannot read the older one: where a whole net was saved, as TorchXRayVision's
were, each class is stored with its source text, which it refuses.
"""

import mmap
import struct
import zipfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from thorax.checkpoints.safe_pickle import Made, Name, read_pickle
from thorax.errors import BundleError

__all__ = [
    "TorchFile",
    "WeightsFile",
    "is_torch_file",
    "open_torch_file",
    "read_weights_file",
    "without_prefixes",
]

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


# ---- files of torch.save ----------------------------------------------------------------------

# torch.serialization.MAGIC_NUMBER as the pickle that opens a file of the older format.
_OLD_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
_ZIP_MAGIC = b"PK\x03\x04"
_OLD_PROTOCOL = 1001

# What a file whose parts do not belong together makes torch, zipfile and struct raise.
_DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
)

_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_REBUILT = {"torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"}
_PARAMETERS = {"torch.nn.parameter.Parameter", "torch._utils._rebuild_parameter"}


@dataclass(frozen=True)
class TorchFile:
    """A file that was opened.

    Attributes:
        path: Where it is.
        content: What was saved, with tensors still to be read by `tensor`.
    """

    path: Path
    content: Any
    _read: Callable[[str], bytearray]
    """Gives the bytes of one storage."""
    _storages: dict[str, Tensor] = field(default_factory=dict)

    def tensor(self, value: Any) -> Tensor | None:
        """Return the tensor or parameter that a part of the content stands for, or None if it is neither.

        Raises:
            BundleError: Its numbers are not in the file.
        """
        while isinstance(value, Made) and value.maker.path in _PARAMETERS and value.arguments:
            value = value.arguments[0]
        if not isinstance(value, Made) or value.maker.path not in _REBUILT:
            return None
        try:
            reference, offset, size, stride = value.arguments[:4]
            _, storage, key, _, _, *view = reference.content
            numbers = self._numbers(storage, str(key))
            if view and view[0] is not None:
                _, start, length = view[0]
                numbers = numbers[start : start + length].clone()
            return numbers.as_strided(tuple(size), tuple(stride), int(offset))
        except _DAMAGE as error:
            raise BundleError(
                f"{self.path} holds a tensor whose numbers cannot be read ({str(error)[:200]}); "
                "copy the file again"
            ) from error

    def _numbers(self, storage: Name, key: str) -> Tensor:
        if key not in self._storages:
            content = self._read(key)
            dtype = _dtype(storage)
            # An empty buffer is no buffer to torch.
            self._storages[key] = (
                torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
            )
        return self._storages[key]


def is_torch_file(path: Path) -> bool:
    """Say whether a file begins as one that `torch.save` wrote."""
    with path.open("rb") as file:
        return file.read(len(_OLD_MAGIC)).startswith((_ZIP_MAGIC, _OLD_MAGIC))


def open_torch_file(path: Path) -> TorchFile:
    """Open a file that `torch.save` wrote.

    Raises:
        BundleError: It is damaged, or holds more than weights.
    """
    with path.open("rb") as file:
        if file.read(len(_OLD_MAGIC)) == _OLD_MAGIC:
            return _open_old(path, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    try:
        return _open_zip(path, zipfile.ZipFile(path))
    except _DAMAGE as error:
        raise BundleError(f"{path} is a damaged archive ({error}); copy the file again") from error


def _open_zip(path: Path, archive: zipfile.ZipFile) -> TorchFile:
    name = next((name for name in archive.namelist() if name.endswith("data.pkl")), None)
    if name is None:
        raise BundleError(f"{path} is a zip archive, but not one of torch.save; give the checkpoint itself")
    root = name.removesuffix("data.pkl")
    if f"{root}byteorder" in archive.namelist() and _entry(archive, f"{root}byteorder") != b"little":
        raise BundleError(f"{path} was written on a big-endian machine; save it again on another one")
    pickled = read_pickle(BytesIO(_entry(archive, name)), where=str(path))
    return TorchFile(path, pickled.value, lambda key: bytearray(_entry(archive, f"{root}data/{key}")))


def _entry(archive: zipfile.ZipFile, name: str) -> bytes:
    # torch never compresses, so that no entry can be larger than the file.
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise zipfile.BadZipFile(f"{name} is compressed")
    return archive.read(name)


def _open_old(path: Path, content: mmap.mmap) -> TorchFile:
    where = str(path)
    _, protocol, machine, pickled, keys = (read_pickle(content, where=where) for _ in range(5))
    if protocol.value != _OLD_PROTOCOL or not isinstance(machine.value, dict):
        raise BundleError(
            f"{path} is in a format of torch that nobody knows; save it again with a newer torch"
        )
    if not machine.value.get("little_endian"):
        raise BundleError(f"{path} was written on a big-endian machine; save it again on another one")
    try:
        places = _places(content, keys.value, [reference.content for reference in pickled.references])
    except _DAMAGE as error:
        raise BundleError(f"{path} ends before its numbers do ({error}); copy the file again") from error
    # Copied, since the numbers lie at any address in the file.
    return TorchFile(path, pickled.value, lambda key: bytearray(content[places[key]]))


def _places(content: mmap.mmap, keys: Any, references: list[tuple[Any, ...]]) -> Mapping[str, slice]:
    """Find each storage behind the pickles: its number of elements, then the elements."""
    sizes = {str(key): _dtype(storage).itemsize for _, storage, key, *_ in references}
    places, start = {}, content.tell()
    for key in map(str, keys):
        (count,) = struct.unpack_from("<q", content, start)
        places[key] = slice(start + 8, start + 8 + count * sizes[key])
        if not start + 8 <= places[key].stop <= len(content):
            raise ValueError(f"storage {key} has {count} numbers")
        start = places[key].stop
    return places


def _dtype(storage: Name) -> torch.dtype:
    return _DTYPES[storage.path.rpartition(".")[2]]


# ---- their tensors by name ---------------------------------------------------------------------


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
