"""Objects that are read ahead of whoever needs them, in order, within a bound of memory."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import Final, TypeVar

from thorax.atomic_io import StrPath, is_remote
from thorax.objects.client import content_of
from thorax.objects.files import LARGEST, transfers
from thorax.objects.place import place_of

__all__ = ["read_ahead", "read_object", "release"]

_MOST: Final = 64
"""Objects that are read ahead."""

_MOST_BYTES: Final = 128 << 20
"""Their bytes, unless a single one has more."""

_ahead: dict[str, "Future[bytes]"] = {}
"""What is being read, or was and has not been released, by address."""

_Item = TypeVar("_Item")


def read_ahead(items: Iterable[tuple[_Item, str, int]]) -> Iterator[_Item]:
    """Yield items in order, while the objects of the next ones are being read.

    `read_object` returns what was read, until `release` lets go of it.

    Args:
        items: Each with its path and its size in bytes; of a file of this disk nothing is read.
    """
    waiting: deque[tuple[_Item, str, int]] = deque()
    remaining = iter(items)
    with transfers() as pool:
        while True:
            while len(waiting) < _MOST and sum(size for *_, size in waiting) < _MOST_BYTES:
                if (following := next(remaining, None)) is None:
                    break
                waiting.append(following)
                path = following[1]
                if is_remote(path):
                    _ahead[path] = pool.submit(content_of, place_of(path), at_most=LARGEST)
            if not waiting:
                pool.shutdown()  # which waits: the last items may not have been read by whoever has them
                return
            yield waiting.popleft()[0]


def read_object(path: StrPath) -> bytes:
    """Return the bytes of the object at an address.

    Raises:
        DataError: It cannot be read.
    """
    place = place_of(path)
    future = _ahead.get(str(place))
    return content_of(place, at_most=LARGEST) if future is None else future.result()


def release(path: str) -> None:
    """Let go of what was read ahead."""
    _ahead.pop(path, None)
