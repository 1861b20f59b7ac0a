"""The processes that decode single images for this one: started when needed, shared by all threads."""

import atexit
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from typing import Any, Final, Literal

import numpy as np

from thorax.errors import ImageError, UnsupportedImage
from thorax.hardware import num_threads
from thorax.imaging.decode_pool import DecodePool, Done, EndedFromOutside, Lost, Work
from thorax.imaging.read import read_radiograph, read_stored
from thorax.imaging.stored import StoredImage, Window
from thorax.radiograph import Origin, Radiograph, Sex, ViewPosition

__all__ = ["read_apart", "read_stored_apart", "read_task", "start_decoder"]

_TASK: Final = "thorax.imaging.decoders:read_task"

_MODULES: Final = {"DICOM": ("thorax.imaging.dicom",)}
"""What a process imports first, by the format of the file that it is started for."""

_TRIES: Final = 2
"""How often a file is tried whose process was ended from outside."""

_PIXELS: Final[dict[str, type[np.uint8 | np.uint16]]] = {"uint8": np.uint8, "uint16": np.uint16}

_Named = tuple[str, bytes]
"""The name of an image, and its file's bytes."""

_Wanted = Literal["stored"] | None
"""What is wanted of a file: its stored values, or None for a radiograph."""


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
    return _radiograph(*_answer(data, name, kind, None), name)


def read_stored_apart(data: bytes, name: str, kind: str) -> StoredImage:
    """Read the stored values of a file's bytes in another process, as `read_apart` reads a radiograph.

    Raises:
        ImageError: As for `read_apart`.
        UnsupportedImage: As for `read_apart`.
        DataError: As for `read_apart`.
    """
    return _stored(*_answer(data, name, kind, "stored"), name)


def _answer(data: bytes, name: str, kind: str, wanted: _Wanted) -> tuple[dict[str, Any], bytes | bytearray]:
    result = _decoders.result((name, data), kind, wanted)
    if isinstance(result, Lost):
        raise ImageError(f"{name}: {result.reason}")
    return result.answer, result.content


def read_task(wanted: _Wanted, item: _Named) -> tuple[dict[str, Any], bytes]:
    """Read a file's bytes: a task of a `DecodePool`.

    Returns:
        What the radiograph or stored image has besides its arrays, and those; or why there is none.
    """
    name, data = item
    try:
        if wanted == "stored":
            return _taken_apart(read_stored(data, name), ("values", "table"))
        return _taken_apart(read_radiograph(data, name=name), ("pixels",))
    except ImageError as error:
        return {"refused": str(error), "unsupported": isinstance(error, UnsupportedImage)}, b""


def _taken_apart(image: Radiograph | StoredImage, arrays: tuple[str, ...]) -> tuple[dict[str, Any], bytes]:
    """Return the fields of an image for JSON, with shape and type of the arrays, and their bytes."""
    said = {field.name: getattr(image, field.name) for field in fields(image)}
    said |= {"origin": asdict(image.origin)}
    if isinstance(image, StoredImage) and image.window is not None:
        said |= {"window": asdict(image.window)}
    contents = []
    for name in arrays:
        array = np.ascontiguousarray(said[name])
        said[name] = [*array.shape, array.dtype.name]
        contents.append(array.tobytes())
    return said, b"".join(contents)


@contextmanager
def _believed(name: str) -> Iterator[None]:
    """Refuse what cannot be an answer; a file that took over its decoder may say anything."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise ImageError(
            f"{name}: the answer of its decoder is not a radiograph ({type(error).__name__}); the file may "
            "be made to do this: do not open it elsewhere, and export it again from its source"
        ) from error


def _refuse_refused(said: dict[str, Any]) -> None:
    if "refused" in said:
        raise (UnsupportedImage if said["unsupported"] else ImageError)(said["refused"])


def _stored(said: dict[str, Any], content: bytes | bytearray, name: str) -> StoredImage:
    """Return what `read_task` said as a stored image."""
    with _believed(name):
        _refuse_refused(said)
        height, width, kind = said.pop("values")
        length, gray = said.pop("table")
        end = height * width * np.dtype(_PIXELS[kind]).itemsize
        values = np.frombuffer(content[:end], _PIXELS[kind]).reshape(height, width)
        table = np.frombuffer(content[end:], _PIXELS[gray])
        if len(table) != length or values.max() >= length:
            raise ValueError
        window = said.pop("window")
        return StoredImage(
            values=values,
            table=table,
            origin=Origin(**_tuples(said.pop("origin"))),
            view=ViewPosition(said.pop("view")),
            window=None if window is None else Window(**window),
            **_tuples(said),
        )


def _radiograph(said: dict[str, Any], content: bytes | bytearray, name: str) -> Radiograph:
    """Return what `read_task` said as a radiograph."""
    with _believed(name):
        _refuse_refused(said)
        height, width, kind = said.pop("pixels")
        pixels = np.frombuffer(content, _PIXELS[kind]).reshape(height, width)
        return Radiograph(
            pixels=pixels,
            origin=Origin(**_tuples(said.pop("origin"))),
            view=ViewPosition(said.pop("view")),
            sex=Sex(said.pop("sex")),
            **_tuples(said),
        )


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
        self._idle: list[DecodePool[_Wanted, _Named]] = []
        self._all: set[DecodePool[_Wanted, _Named]] = set()

    def start(self, kind: str) -> None:
        """Start a process for a format, if there is none yet."""
        if not self._all:
            self._idle.append(self._started(kind))

    def result(self, item: _Named, kind: str, wanted: _Wanted) -> Done[_Named] | Lost[_Named]:
        """Return what becomes of a file; wait if all processes are busy."""
        how = ""
        with self._places:
            for _ in range(_TRIES):
                try:
                    with self._taken(kind) as process:
                        (result,) = process.results(iter([Work(wanted, (item,))]))
                        return result
                except EndedFromOutside as error:
                    how = error.how
        reason = (
            f"the process that decodes it ended {how}, {_TRIES} times, and not because of the file; check "
            "that there is enough memory, and try again"
        )
        return Lost(item, reason)

    @contextmanager
    def _taken(self, kind: str) -> Iterator[DecodePool[_Wanted, _Named]]:
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

    def _started(self, kind: str) -> DecodePool[_Wanted, _Named]:
        process = DecodePool[_Wanted, _Named](_TASK, 1, modules=_MODULES.get(kind, ()))
        with self._lock:
            self._all.add(process)
        return process

    def _drop(self, process: DecodePool[_Wanted, _Named]) -> None:
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
