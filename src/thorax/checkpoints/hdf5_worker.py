"""Reads the weights in an HDF5 file of Keras and writes them as safetensors to standard output.

Run as a script, in a process of its own that may be killed: the HDF5 library is a large native decoder, and
the file comes from elsewhere. Only what Keras writes is read: groups and datasets reached by hard links, with
floating point numbers in this file, stored plainly or with gzip. Everything else is refused, with the reason
on standard error. No other module of Thorax is imported, so that it starts quickly.
"""

import contextlib
import itertools
import json
import math
import resource
import sys
import zlib
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
from safetensors.numpy import save

__all__ = ["main"]

_MAX_BYTES = 512 << 20
"""Most bytes of weights in float32."""

_MAX_MEMORY = 3 << 30
_MAX_SECONDS = 60
_MAX_OBJECTS = 20_000
_MAX_DEPTH = 12
_MAX_DIMENSIONS = 4
_GZIP = 1  # H5Z_FILTER_DEFLATE

_OPTIMIZERS = {"optimizer", "optimizer_weights"}

_REFUSED = 3
"""Exit status for a file that is refused or damaged."""


class _Refused(Exception):  # noqa: N818  (not an error of this script)
    """The file holds something that Keras does not write."""


def main(path: str) -> int:
    """Write the weights of a file to standard output; return the exit status."""
    _limit_resources()
    try:
        # Any exception of h5py means a damaged file.
        with h5py.File(path, "r", locking=False) as file:
            content = save(dict(_weights(file)), {"config": json.dumps(_config(file))})
    except Exception as error:  # noqa: BLE001
        sys.stderr.write(f"{error}\n" if isinstance(error, _Refused) else f"it is damaged ({error})\n")
        return _REFUSED
    sys.stdout.buffer.write(content)
    sys.stdout.flush()
    return 0


def _limit_resources() -> None:
    limits = {
        resource.RLIMIT_AS: _MAX_MEMORY,
        resource.RLIMIT_CPU: _MAX_SECONDS,
        resource.RLIMIT_FSIZE: _MAX_BYTES + (_MAX_BYTES >> 4),
        resource.RLIMIT_CORE: 0,
    }
    for kind, limit in limits.items():
        _, hard = resource.getrlimit(kind)
        # macOS does not limit the address space.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _weights(file: Any) -> Iterator[tuple[str, Any]]:
    """Yield the path of each weight below the model's group, and its numbers as float32."""
    root = file["model_weights"] if _has_group(file, "model_weights") else file
    total, paths = 0, set()
    for path, dataset in _datasets(root):
        if path in paths:
            raise _Refused(f"it has {path} twice")
        paths.add(path)
        total += _checked_bytes(path, dataset)
        if total > _MAX_BYTES:
            raise _Refused(f"its weights need more than {_MAX_BYTES >> 20} MiB, at {path}")
        yield path, _read(path, dataset).astype(np.float32)


def _has_group(file: Any, name: str) -> bool:
    # `name in file` would follow links.
    if name not in file.keys() or _link_kind(file, name) != h5py.h5l.TYPE_HARD:  # noqa: SIM118
        return False
    return isinstance(file[name], h5py.Group)


def _link_kind(group: Any, name: str) -> int:
    return int(group.id.links.get_info(name.encode()).type)


def _datasets(root: Any) -> Iterator[tuple[str, Any]]:
    waiting = [("", root, 0)]
    for _ in range(_MAX_OBJECTS):
        if not waiting:
            return
        prefix, group, depth = waiting.pop()
        # Keras 3 numbers the layers in a file of weights, and notes their names.
        name = group.attrs.get("name") if prefix.endswith("vars/") else None
        for key in group.keys():  # noqa: SIM118  (h5py's groups are not dicts)
            if depth == 0 and key in _OPTIMIZERS:
                continue
            # HDF5 would take a slash for a path, whose first part might be a link.
            if "/" in key or _link_kind(group, key) != h5py.h5l.TYPE_HARD:
                raise _Refused(f"{prefix}{key} is a link to elsewhere, which Keras does not write")
            child = group[key]
            if isinstance(child, h5py.Group) and depth < _MAX_DEPTH:
                waiting.append((f"{prefix}{key}/", child, depth + 1))
            elif isinstance(child, h5py.Dataset):
                yield (f"{name}/{key}" if isinstance(name, str) else f"{prefix}{key}"), child
            else:
                raise _Refused(f"{prefix}{key} is neither a group nor a dataset, or is nested too deeply")
    raise _Refused(f"it has more than {_MAX_OBJECTS:,} groups")


def _checked_bytes(path: str, dataset: Any) -> int:
    """Return the bytes that a dataset needs in float32, after checking how it is stored."""
    stored = dataset.id.get_create_plist()
    # The layout comes first: the shape of a virtual dataset depends on other files.
    if stored.get_layout() == h5py.h5d.VIRTUAL or stored.get_external_count():
        raise _Refused(f"the numbers of {path} are in another file; save the weights as one file")
    filters = [stored.get_filter(index)[0] for index in range(stored.get_nfilters())]
    if filters not in ([], [_GZIP]):
        raise _Refused(f"{path} is stored with HDF5 filters {filters}; only gzip is read")
    if dataset.dtype.kind != "f" or dataset.dtype.itemsize not in {2, 4, 8}:
        raise _Refused(f"{path} holds {dataset.dtype}, but weights are floating point numbers")
    if len(dataset.shape) > _MAX_DIMENSIONS:
        raise _Refused(f"{path} has {len(dataset.shape)} dimensions; weights have at most {_MAX_DIMENSIONS}")
    return 4 * int(math.prod(dataset.shape))


def _read(path: str, dataset: Any) -> Any:
    if dataset.chunks is not None:
        return _read_chunks(path, dataset)
    if dataset.id.get_storage_size() != dataset.dtype.itemsize * math.prod(dataset.shape):
        raise _Refused(f"{path} holds fewer numbers than its shape {dataset.shape} says")
    return dataset[()]


def _read_chunks(path: str, dataset: Any) -> Any:
    """Read a chunked dataset; no chunk can inflate to more than its share of the declared shape."""
    result = np.empty(dataset.shape, dataset.dtype)
    size = dataset.dtype.itemsize * math.prod(dataset.chunks)
    if size > _MAX_BYTES:
        raise _Refused(f"{path} has chunks of {size:,} bytes")
    compressed = dataset.compression is not None
    # Incompressible bytes become slightly longer.
    largest = size + (size >> 8) + 64 if compressed else size
    starts = (range(0, length, step) for length, step in zip(dataset.shape, dataset.chunks, strict=True))
    for start in itertools.product(*starts):
        if not 0 < dataset.id.get_chunk_info_by_coord(start).size <= largest:
            raise _Refused(f"{path} has a chunk that does not fit its shape {dataset.shape}")
        skipped, content = dataset.id.read_direct_chunk(start)
        if compressed and not skipped:
            content = zlib.decompressobj().decompress(content, size + 1)
        if len(content) != size:
            raise _Refused(f"{path} has a chunk that does not fit its shape {dataset.shape}")
        chunk = np.frombuffer(content, dataset.dtype).reshape(dataset.chunks)
        target = tuple(slice(first, first + step) for first, step in zip(start, dataset.chunks, strict=True))
        part = result[target]
        result[target] = chunk[tuple(map(slice, part.shape))]
    return result


def _config(file: Any) -> dict[str, list[Any]] | None:
    """Return what the description of a whole model says about its layers; None if there is no description."""
    text = file.attrs.get("model_config")
    if text is None:
        return None
    facts: dict[str, list[Any]] = {"activations": [], "epsilons": []}
    waiting = [json.loads(text)]
    while waiting:
        match waiting.pop():
            case {"class_name": "Dense", "config": {"activation": activation}}:
                facts["activations"].append(activation)
            case {"class_name": "BatchNormalization", "config": {"epsilon": epsilon}}:
                facts["epsilons"].append(epsilon)
            case dict() as values:
                waiting += values.values()
            case list() as values:
                waiting += values
            case _:
                pass
    return facts


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
