"""The processes that decode single images for this one: started when needed, shared by all threads."""

import atexit
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from typing import Any, Final

import numpy as np

from thorax.errors import ImageError, UnsupportedImage
from thorax.hardware import num_threads
from thorax.imaging.decode_pool import DecodePool, Done, EndedFromOutside, Lost, Work
from thorax.imaging.read import read_radiograph
from thorax.radiograph import Origin, Radiograph, Sex, ViewPosition

__all__ = ["read_apart", "read_task", "start_decoder"]

_TASK: Final = "thorax.imaging.decoders:read_task"

_MODULES: Final = {"DICOM": ("thorax.imaging.dicom",)}
"""What a process imports first, by the format of the file that it is started for."""

_TRIES: Final = 2
"""How often a file is tried whose process was ended from outside."""

_PIXELS: Final[dict[str, type[np.uint8 | np.uint16]]] = {"uint8": np.uint8, "uint16": np.uint16}

_Named = tuple[str, bytes]
"""The name of an image, and its file's bytes."""


def start_decoder(kind: str) -> None:
    """Start the process for the first file, if there is none: it will be ready 0.2 s later.

    Args:
        kind: The format of the file, of `image_format`.
    """
    _decoders.start(kind)


def read_apart(data: bytes, name: str, kind: str) -> Radiograph:
    """Read a file's bytes in another process; any number of threads may ask.

    Args:
        data: The bytes.
        name: What messages and `Origin.name` call the image.
        kind: Its format, of `image_format`.

    Raises:
        ImageError: It cannot be read as a radiograph, or not within its limits, or its decoder crashed.
        UnsupportedImage: As for `read_radiograph`.
        DataError: A process cannot be started.
    """
    result = _decoders.result((name, data), kind)
    if isinstance(result, Lost):
        raise ImageError(f"{name}: {result.reason}")
    return _radiograph(result.answer, result.content, name)


def read_task(_context: None, item: _Named) -> tuple[dict[str, Any], bytes]:
    """Read a file's bytes: a task of a `DecodePool`.

    Returns:
        What the radiograph has besides its pixels, and those; or why there is none.
    """
    name, data = item
    try:
        radiograph = read_radiograph(data, name=name)
    except ImageError as error:
        return {"refused": str(error), "unsupported": isinstance(error, UnsupportedImage)}, b""
    pixels = np.ascontiguousarray(radiograph.pixels)
    said = {field.name: getattr(radiograph, field.name) for field in fields(radiograph)}
    said |= {"pixels": [*pixels.shape, pixels.dtype.name], "origin": asdict(radiograph.origin)}
    return said, pixels.tobytes()


def _radiograph(said: dict[str, Any], content: bytes | bytearray, name: str) -> Radiograph:
    """Return what `read_task` said as a radiograph; a file that took over its decoder may say anything."""
    try:
        if "refused" in said:
            raise (UnsupportedImage if said["unsupported"] else ImageError)(said["refused"])
        height, width, kind = said.pop("pixels")
        pixels = np.frombuffer(content, _PIXELS[kind]).reshape(height, width)
        return Radiograph(
            pixels=pixels,
            origin=Origin(**_tuples(said.pop("origin"))),
            view=ViewPosition(said.pop("view")),
            sex=Sex(said.pop("sex")),
            **_tuples(said),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ImageError(
            f"{name}: the answer of its decoder is not a radiograph ({type(error).__name__}); the file may "
            "be made to do this: do not open it elsewhere, and export it again from its source"
        ) from error


def _tuples(said: dict[str, Any]) -> dict[str, Any]:
    """Return values from JSON with tuples, which it does not have."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in said.items()}


class _Decoders:
    """Processes for one image each: a thread takes one, or starts one, and gives it back."""

    def __init__(self) -> None:
        self._begin()
        atexit.register(self._close)
        os.register_at_fork(after_in_child=self._forget)

    def _begin(self) -> None:
        self._places = threading.BoundedSemaphore(num_threads())
        self._lock = threading.Lock()
        self._idle: list[DecodePool[None, _Named]] = []
        self._all: set[DecodePool[None, _Named]] = set()

    def start(self, kind: str) -> None:
        """Start a process for a format, if there is none yet."""
        if not self._all:
            self._idle.append(self._started(kind))

    def result(self, item: _Named, kind: str) -> Done[_Named] | Lost[_Named]:
        """Return what becomes of a file; wait if all processes are busy."""
        how = ""
        with self._places:
            for _ in range(_TRIES):
                try:
                    with self._taken(kind) as process:
                        (result,) = process.results(iter([Work(None, (item,))]))
                        return result
                except EndedFromOutside as error:
                    how = error.how
        reason = (
            f"the process that decodes it ended {how}, {_TRIES} times, and not because of the file; check "
            "that there is enough memory, and try again"
        )
        return Lost(item, reason)

    @contextmanager
    def _taken(self, kind: str) -> Iterator[DecodePool[None, _Named]]:
        with self._lock:
            process = self._idle.pop() if self._idle else None
        if process and not process.lives:  # it was ended from outside
            self._drop(process)
            process = None
        process = process or self._started(kind)
        try:
            yield process
        except BaseException:  # it may still be decoding
            self._drop(process)
            raise
        with self._lock:
            self._idle.append(process)

    def _started(self, kind: str) -> DecodePool[None, _Named]:
        process = DecodePool[None, _Named](_TASK, 1, modules=_MODULES.get(kind, ()))
        with self._lock:
            self._all.add(process)
        return process

    def _drop(self, process: DecodePool[None, _Named]) -> None:
        with self._lock:
            self._all.discard(process)
        process.close()

    def _close(self) -> None:
        with self._lock:
            for process in self._all:
                process.close()

    def _forget(self) -> None:
        """After a fork, leave the processes to the parent, and begin without any."""
        for process in self._all:
            process.forget()
        self._begin()


_decoders = _Decoders()
