"""What a worker is doing, said through a pipe: what it said last outlives it."""

import os
import struct
from contextlib import suppress
from typing import ClassVar, Final

__all__ = ["Board", "BoardReader"]

# A pipe and not shared memory: that would be a file, of which a full disk or a limit deprives us.
_FORMAT: Final = struct.Struct("<qqdq")
_CAPACITY: Final = 1 << 16
"""Bytes that a pipe holds on Linux; no more of them are waiting, and a whole number of records fits."""


class Board:
    """The worker's side: says which item it is doing, and what CPU time that may take.

    Args:
        descriptor: The end of a pipe to write to.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._number = self._begun = 0

    def begin(self, number: int, *, seconds: float) -> None:
        """Say that an item begins: its number within what was received, from 0."""
        self._number, self._begun = number + 1, self._begun + 1
        self.allow(seconds=seconds)

    def allow(self, *, seconds: float) -> None:
        """Say another allowance for the current item."""
        os.write(self._descriptor, _FORMAT.pack(self._number, self._begun, seconds, 0))

    def end(self) -> None:
        """Say that the item has ended."""
        self._number = 0
        self.allow(seconds=0.0)


class BoardReader:
    """The parent's side.

    Args:
        descriptor: The end of the pipe to read from; it is closed with this.

    Attributes:
        current: The number of the current item at the last look; None between items.
        begun: How many items were begun.
        seconds: The CPU time that the current item may take.
    """

    SIZE: ClassVar[int] = _FORMAT.size

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self.current: int | None = None
        self.begun = 0
        self.seconds = 0.0

    def look(self) -> None:
        """Read what the worker has said since the last look. It need not live any more."""
        said = b""
        with suppress(BlockingIOError):
            said = os.read(self._descriptor, _CAPACITY)
        if len(said) >= self.SIZE:
            number, self.begun, self.seconds, _ = _FORMAT.unpack(said[-self.SIZE :])
            self.current = number - 1 if number > 0 else None

    def close(self) -> None:
        """Close the pipe, if it is still open."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
