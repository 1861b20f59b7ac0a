"""Tasks of a `DecodePool` that do what native decoders do to a process."""

import os
import signal
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from thorax.errors import DataError
from thorax.imaging.limits import announce_pixels

__all__ = ["decode"]


def decode(context: str, item: str) -> tuple[object, bytes]:
    """Do what the item names."""
    what, _, value = item.partition(" ")
    if what == "bytes":
        return value, bytes(int(value))
    if what in _FAULTS:
        _FAULTS[what](value)
    return [context, item, os.getpid()], b""


def _abort(_value: str) -> None:
    os.write(2, b"libdecode: patient SECRET\n")
    os.abort()


def _spin(pixels: str) -> None:
    if pixels:
        announce_pixels(int(pixels))
    while True:
        pass


def _use_memory(pixels: str) -> None:
    announce_pixels(int(pixels))
    np.ones(2 << 30, np.uint8)


def _once(path: str) -> None:
    if not Path(path).exists():
        Path(path).touch()
        os.abort()


def _fail(_value: str) -> None:
    raise ValueError("patient SECRET")


def _answer(text: str) -> None:
    """Write to the parent what only the worker should."""
    content = text.encode()
    os.write(int(sys.argv[1]), struct.pack("!i", len(content)) + content)


def _stop(_value: str) -> None:
    raise DataError("the disk is full")


_FAULTS: dict[str, Callable[[str], object]] = {
    "abort": _abort,
    "signal": lambda name: os.kill(os.getpid(), signal.Signals[name]),
    "spin": _spin,
    "hang": lambda _: time.sleep(3600),
    "allocate": lambda size: np.ones(int(size), np.uint8),
    "pixels": _use_memory,
    "fail": _fail,
    "once": _once,
    "stop": _stop,
    "answer": _answer,
    "exit": lambda _: os._exit(3),
}
