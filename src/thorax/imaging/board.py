"""What a worker is doing, in memory that it shares with its parent and that outlives it."""

import mmap
import struct
from typing import ClassVar, Final

__all__ = ["Board"]

_FORMAT: Final = struct.Struct("<qqd")


class Board:
    """The current item of a worker, how many it has begun, and its allowance of CPU time.

    Args:
        memory: At least `SIZE` bytes, zero at first.
    """

    SIZE: ClassVar[int] = _FORMAT.size

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory

    def begin(self, number: int, *, seconds: float) -> None:
        """Note that an item begins: its number within what was received, from 0."""
        _, begun, _ = self._read()
        self._write(number + 1, begun + 1, seconds)

    def allow(self, *, seconds: float) -> None:
        """Note another allowance for the current item."""
        number, begun, _ = self._read()
        self._write(number, begun, seconds)

    def end(self) -> None:
        """Note that the item has ended."""
        _, begun, _ = self._read()
        self._write(0, begun, 0.0)

    @property
    def current(self) -> int | None:
        """The number of the current item; None between items."""
        number = self._read()[0]
        return number - 1 if number > 0 else None

    @property
    def begun(self) -> int:
        """How many items were begun."""
        return self._read()[1]

    @property
    def seconds(self) -> float:
        """The CPU time that the current item may take."""
        return self._read()[2]

    def close(self) -> None:
        """Release the memory."""
        self._memory.close()

    def _read(self) -> tuple[int, int, float]:
        number, begun, seconds = _FORMAT.unpack_from(self._memory)
        return number, begun, seconds

    def _write(self, number: int, begun: int, seconds: float) -> None:
        _FORMAT.pack_into(self._memory, 0, number, begun, seconds)
