"""Files that `torch.save` wrote, read without torch's unpickler.

Two formats are in use: a zip archive (torch 1.6 and later), and pickles followed by raw numbers (before;
most published chest X-ray checkpoints). `torch.load(weights_only=True)` is no way in for the older one: where
a whole net was saved, as TorchXRayVision's were, each class is stored with its source text, which it refuses.
"""

import mmap
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from thorax.checkpoints.safe_pickle import Made, Name, read_pickle
from thorax.errors import BundleError

__all__ = ["TorchFile", "is_torch_file", "open_torch_file"]

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
