"""Reads a checkpoint's tensors by name, from safetensors, a state dict or a pickled network.

Files written by `torch.save` are read without torch's unpickler. Two formats are in use: a zip archive (torch
1.6 and later), and pickles followed by raw numbers (earlier; most published chest X-ray checkpoints).
`torch.load(weights_only=True)` refuses the older one if a whole network was saved, as TorchXRayVision's
were, because each class is stored with its source text.
"""

import mmap
import struct
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from thorax.atomic_io import open_regular
from thorax.checkpoints.safe_pickle import GlobalName, PickledObject, read_pickle
from thorax.checkpoints.zip_archive import open_archive
from thorax.errors import BundleError

__all__ = ["HDF5_MAGIC", "TorchFile", "WeightsFile", "is_torch_file", "open_torch_file", "read_weights_file"]

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
"""The first bytes of an HDF5 file."""

_MAX_BYTES = 4 * 2**30
_MAX_MODULES = 20_000
_MAX_WRAPPERS = 4

_WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net")
"""Keys under which training scripts save the weights, in order of preference.

timm's averaged weights ("state_dict_ema") are not included: they are a different network.
"""


@dataclass(frozen=True)
class WeightsFile:
    """A checkpoint's tensors.

    Attributes:
        path: The file.
        tensors: Parameters and buffers by name, on the CPU.
        attributes: Other attributes of a pickled network: numbers, strings and lists of them.
        modules: The class of each module of a pickled network, by the module's name.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    modules: Mapping[str, str] = field(default_factory=dict)

    @property
    def whole_net(self) -> bool:
        """Whether the file holds a pickled network."""
        return bool(self.modules)

    def unwrapped(self) -> "WeightsFile":
        """Remove leading parts of the names that all tensors share, such as module. or densenet121.

        They come from modules around the network. No known network has a prefix of its own.
        """
        tensors, modules = dict(self.tensors), dict(self.modules)
        while shared := _shared_prefix(tensors):
            tensors = {name.removeprefix(shared): tensor for name, tensor in tensors.items()}
            modules = {
                name.removeprefix(shared): kind for name, kind in modules.items() if name.startswith(shared)
            }
        return replace(self, tensors=tensors, modules=modules)


def _shared_prefix(names: Iterable[str]) -> str:
    """Return the first part that all names share, with its dot, or "" if they share none."""
    first_parts = {name[: name.find(".") + 1] for name in names}
    return first_parts.pop() if len(first_parts) == 1 else ""


def read_weights_file(path: Path) -> WeightsFile:
    """Read a checkpoint from safetensors or a file of `torch.save`, without running its code.

    Raises:
        BundleError: The file cannot be read, is too large, or holds no weights or more than weights.
    """
    try:
        size = path.stat().st_size
        torch_file, hdf5_file = is_torch_file(path), _begins_with(path, HDF5_MAGIC)
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}); give a checkpoint") from error
    if size > _MAX_BYTES:
        raise BundleError(
            f"{path} has {size / 2**30:.1f} GiB; weights may have at most {_MAX_BYTES // 2**30} GiB; save "
            "only the weights, without the optimizer"
        )
    if hdf5_file:
        raise BundleError(f"{path} is an HDF5 file, as Keras writes it; give `kind=keras`")
    if torch_file:
        return _from_torch_file(open_torch_file(path))
    try:
        return WeightsFile(path, load_file(path))
    except (OSError, SafetensorError) as error:
        raise BundleError(
            f"{path} is neither safetensors ({error}) nor a file of torch.save; give one of the two"
        ) from error


# ---- files of torch.save ----------------------------------------------------------------------

# The pickle of torch.serialization.MAGIC_NUMBER, with which a file of the older format begins.
_OLD_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
_ZIP_MAGIC = b"PK\x03\x04"
_OLD_PROTOCOL = 1001

# What torch, zipfile and struct raise for damaged or inconsistent files.
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
    """An open file of `torch.save`.

    Attributes:
        path: The file.
        content: The saved object, in which `tensor` can read each tensor.
    """

    path: Path
    content: Any
    _read: Callable[[str], bytearray]
    """Returns the bytes of one storage."""
    _storages: dict[str, Tensor] = field(default_factory=dict)

    def tensor(self, value: Any) -> Tensor | None:
        """Return the tensor or parameter that an object in the content describes; None if it is neither.

        Raises:
            BundleError: Its numbers cannot be read from the file.
        """
        while isinstance(value, PickledObject) and value.constructor.path in _PARAMETERS and value.arguments:
            value = value.arguments[0]
        if not isinstance(value, PickledObject) or value.constructor.path not in _REBUILT:
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

    def _numbers(self, storage: GlobalName, key: str) -> Tensor:
        if key not in self._storages:
            content = self._read(key)
            dtype = _dtype(storage)
            # torch.frombuffer refuses an empty buffer.
            self._storages[key] = (
                torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
            )
        return self._storages[key]


def is_torch_file(path: Path) -> bool:
    """Return whether a file begins like one that `torch.save` wrote."""
    return _begins_with(path, _ZIP_MAGIC, _OLD_MAGIC)


def _begins_with(path: Path, *magics: bytes) -> bool:
    with open_regular(path) as file:
        return file.read(max(map(len, magics))).startswith(magics)


def open_torch_file(path: Path) -> TorchFile:
    """Open a file that `torch.save` wrote.

    Raises:
        BundleError: The file is damaged, or holds more than weights.
    """
    with open_regular(path) as file:
        if file.read(len(_OLD_MAGIC)) == _OLD_MAGIC:
            return _open_old(path, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    try:
        return _open_zip(path, open_archive(path))
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
    # torch never compresses; refusing compression means that no entry can exceed the size of the file.
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise zipfile.BadZipFile(f"{name} is compressed")
    return archive.read(name)


def _open_old(path: Path, content: mmap.mmap) -> TorchFile:
    where = str(path)
    _, protocol, machine, pickled, keys = (read_pickle(content, where=where) for _ in range(5))
    if protocol.value != _OLD_PROTOCOL or not isinstance(machine.value, dict):
        raise BundleError(f"{path} is in an unknown format of torch; save it again with a newer torch")
    if not machine.value.get("little_endian"):
        raise BundleError(f"{path} was written on a big-endian machine; save it again on another one")
    try:
        slices = _storage_slices(content, keys.value, [reference.content for reference in pickled.references])
    except _DAMAGE as error:
        raise BundleError(f"{path} ends before its numbers do ({error}); copy the file again") from error
    # Copied, because the numbers are not aligned in the file.
    return TorchFile(path, pickled.value, lambda key: bytearray(content[slices[key]]))


def _storage_slices(content: mmap.mmap, keys: Any, references: list[tuple[Any, ...]]) -> Mapping[str, slice]:
    """Locate the storages after the pickles: for each, its number of elements, then the elements."""
    sizes = {str(key): _dtype(storage).itemsize for _, storage, key, *_ in references}
    slices, start = {}, content.tell()
    for key in map(str, keys):
        (count,) = struct.unpack_from("<q", content, start)
        slices[key] = slice(start + 8, start + 8 + count * sizes[key])
        if not start + 8 <= slices[key].stop <= len(content):
            raise ValueError(f"storage {key} has {count} numbers")
        start = slices[key].stop
    return slices


def _dtype(storage: GlobalName) -> torch.dtype:
    return _DTYPES[storage.path.rpartition(".")[2]]


# ---- tensors by name ---------------------------------------------------------------------


def _from_torch_file(file: TorchFile) -> WeightsFile:
    content = file.content
    for _ in range(_MAX_WRAPPERS):
        match content:
            case PickledObject():
                return _from_net(file, content)
            case dict() if inner := _wrapped(content):
                content = inner
            case dict():
                return WeightsFile(file.path, _tensors(file, content))
            case _:
                break
    raise _no_weights(file.path, f"it holds a {type(content).__name__}")


def _wrapped(content: dict[Any, Any]) -> Any:
    candidates = (content.get(key) for key in _WRAPPERS)
    return next(
        (inner for inner in candidates if isinstance(inner, PickledObject | dict) and _may_be_net(inner)),
        None,
    )


def _may_be_net(inner: PickledObject | dict[Any, Any]) -> bool:
    return isinstance(inner, dict) or _children(inner) is not None


def _tensors(file: TorchFile, values: Mapping[Any, Any]) -> dict[str, Tensor]:
    tensors = {name: file.tensor(value) for name, value in values.items()}
    others = [str(name) for name, tensor in tensors.items() if tensor is None or not isinstance(name, str)]
    if others or not tensors:
        listed = ", ".join(others[:10])
        raise _no_weights(file.path, f"{len(others)} of its {len(tensors)} entries are not tensors: {listed}")
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def _from_net(file: TorchFile, net: PickledObject) -> WeightsFile:
    inner = (_children(net) or {}).get("module")
    if net.constructor.path.endswith("DataParallel") and isinstance(inner, PickledObject):
        # The labels and operating points are attributes of the inner network.
        net = inner
    if _children(net) is None:
        raise _no_weights(file.path, f"it holds a {net.constructor.path}")
    try:
        modules = dict(_named_modules(net, file.path))
        values = {
            name: value for prefix, module in modules.items() for name, value in _named_values(prefix, module)
        }
    except (AttributeError, TypeError) as error:
        raise _no_weights(file.path, f"its network is damaged ({error})") from error
    tensors = _tensors(file, values)
    attributes = {name: _plain(file, value) for name, value in net.state.items() if not name.startswith("_")}
    kinds = {prefix[:-1]: module.constructor.path.rpartition(".")[2] for prefix, module in modules.items()}
    return WeightsFile(file.path, tensors, attributes, kinds)


def _children(net: PickledObject) -> dict[str, Any] | None:
    """Return the children of a module, or None if it is not a module."""
    children = net.state.get("_modules") if isinstance(net.state, dict) else None
    return children if isinstance(children, dict) else None


def _named_modules(net: PickledObject, path: Path) -> Iterator[tuple[str, PickledObject]]:
    """Yield each module with the prefix of its names; it may contain itself, or a child several times."""
    # Breadth first, so that names stay short if a network contains itself.
    waiting = deque([("", net)])
    for _ in range(_MAX_MODULES):
        if not waiting:
            return
        prefix, module = waiting.popleft()
        yield prefix, module
        children = (_children(module) or {}).items()
        waiting += [(f"{prefix}{name}.", child) for name, child in children if _is_module(child)]
    raise _no_weights(path, f"its network has more than {_MAX_MODULES} modules")


def _named_values(prefix: str, module: PickledObject) -> Iterator[tuple[str, Any]]:
    """Yield what `Module.state_dict` would name in this module alone."""
    transient = _set(module.state.get("_non_persistent_buffers_set"))
    for group in ("_parameters", "_buffers"):
        for name, value in (module.state.get(group) or {}).items():
            if value is not None and not (group == "_buffers" and name in transient):
                yield f"{prefix}{name}", value


def _is_module(child: Any) -> bool:
    return isinstance(child, PickledObject) and isinstance(child.state, dict)


def _set(value: Any) -> set[Any]:
    if isinstance(value, PickledObject) and value.arguments:
        return set(value.arguments[0])
    return value if isinstance(value, set) else set()


def _plain(file: TorchFile, value: Any) -> Any:
    tensor = file.tensor(value)
    return value if tensor is None else tensor.tolist()


def _no_weights(path: Path, reason: str) -> BundleError:
    return BundleError(
        f"no weights were found in {path}: {reason}; save only net.state_dict(), preferably as safetensors"
    )
