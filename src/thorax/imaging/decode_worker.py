"""A process of a `DecodePool`: does what it receives, item by item, within the limits of each.

Run as `python -m thorax.imaging.decode_worker SOCKET BOARD MODULE:FUNCTION MODULE...` by the pool alone. It
neither forks one with threads nor imports the user's script again. If its parent dies, however suddenly, the
socket closes and it exits after the current items.

Native decoders may crash here, hang, or use all memory that they may: the parent then learns from the board
which item it was. Answers are JSON and bytes, never pickles, so that a decoder that was taken over by a file
does not gain the parent.
"""

import contextlib
import importlib
import json
import math
import os
import resource
import signal
import sys
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol, cast

from thorax.errors import DataError
from thorax.imaging.board import Board
from thorax.imaging.limits import WALL, cpu_seconds, listen, memory_bytes, spent_seconds

__all__ = ["Answer", "Task", "main"]

Answer = tuple[Any, bytes]
"""Something that JSON can say, and bytes."""


class Task(Protocol):
    """What a worker does with each item. A `DataError` ends the whole work, other errors only the item."""

    def __call__(self, context: Any, item: Any, /) -> Answer:
        """Return the answer for an item."""


class _Limits:
    """The limits of this process, set anew for each item."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._began = 0.0
        _set(resource.RLIMIT_CORE, 0)
        listen(self.allow)

    def begin(self, number: int) -> None:
        """Begin an item, whose size is not known yet."""
        self._began = spent_seconds()
        self._board.begin(number, seconds=cpu_seconds(0))
        self._restrict(0)

    def allow(self, pixels: int) -> None:
        """Allow what an image of this size needs, from the beginning of the item."""
        self._board.allow(seconds=cpu_seconds(pixels))
        self._restrict(pixels)

    def end(self) -> None:
        """End an item; what comes between items is unlimited."""
        self._board.end()
        _set(resource.RLIMIT_CPU, None)
        signal.setitimer(signal.ITIMER_REAL, 0.0)

    def _restrict(self, pixels: int) -> None:
        # The kernel counts whole seconds, and sends SIGXCPU, which ends the process.
        _set(resource.RLIMIT_CPU, math.ceil(self._began + cpu_seconds(pixels)))
        # Anonymous memory, not mapped files; macOS does not enforce it.
        _set(resource.RLIMIT_DATA, memory_bytes(pixels))
        # The parent ends a process that waits for ever; this one ends by itself if there is no parent.
        signal.setitimer(signal.ITIMER_REAL, 2 * WALL * cpu_seconds(pixels))


def _set(kind: int, limit: int | None) -> None:
    """Set a soft limit, or lift it."""
    _, hard = resource.getrlimit(kind)
    if limit is None or (hard != resource.RLIM_INFINITY and limit > hard):
        limit = hard
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(kind, (limit, hard))


def _work(connection: Connection, board: Board, task: Task) -> None:
    """Do everything received, until the parent exits."""
    limits = _Limits(board)
    with connection, contextlib.suppress(EOFError, ConnectionError):
        while True:
            context, items = connection.recv()
            said, parts = _answers(limits, task, context, items)
            # One message for all items: with one per file, the parent took 3 % of two cores.
            connection.send_bytes(json.dumps(said).encode())
            for part in parts:
                _write(connection.fileno(), memoryview(part))


def _answers(limits: _Limits, task: Task, context: Any, items: tuple[Any, ...]) -> tuple[Any, list[bytes]]:
    answers: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for number, item in enumerate(items):
        limits.begin(number)
        try:
            answer, content = task(context, item)
        except DataError as error:
            limits.end()
            return {"error": str(error)}, []
        except MemoryError:
            answers.append({"lost": "memory"})
        except Exception as error:  # noqa: BLE001  (whatever it is, its text may quote the file)
            answers.append({"lost": f"{type(error).__name__} at {_place(error)}"})
        else:
            answers.append({"answer": answer, "bytes": len(content)})
            if content:
                parts.append(content)
        limits.end()
    return {"answers": answers}, parts


def _write(descriptor: int, rest: memoryview) -> None:
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _place(error: Exception) -> str:
    """Return file and line of an error, the same for every image."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(last.filename).name}:{last.lineno}"


def main(socket: str, board: str, task: str, *modules: str) -> None:
    """Work as the arguments say, after importing some modules: what an item needs counts as its time."""
    for needed in modules:
        importlib.import_module(needed)
    module, _, name = task.partition(":")
    function = cast("Task", getattr(importlib.import_module(module), name))
    _work(Connection(int(socket)), Board(int(board)), function)


if __name__ == "__main__":
    main(*sys.argv[1:])
