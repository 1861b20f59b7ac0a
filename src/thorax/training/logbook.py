"""The log of a run: one JSON line per event in `log.jsonl`.

`TIME_FIELDS` lists every field that depends on the clock; without these, the log of a resumed run equals that
of an uninterrupted one.
"""

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from thorax.errors import DataError
from thorax.reporting.run_log import read_log

__all__ = ["TIME_FIELDS", "EventCallback", "Logbook", "Throughput", "read_log"]

EventCallback = Callable[[Mapping[str, Any]], None]
"""Receives each event of a log after it was written."""


class Throughput:
    """Measures images per second between marks, and the remaining time from all steps of this process."""

    def __init__(self) -> None:
        self._started = self._marked = time.monotonic()
        self._steps = 0
        self._images = 0
        self.images_per_second = 0.0

    def count(self, images: int) -> None:
        """Count a step."""
        self._steps += 1
        self._images += images

    def mark(self) -> float:
        """Return images per second since the last mark, and start again."""
        now = time.monotonic()
        self.images_per_second = self._images / max(now - self._marked, 1e-9)
        self.rest()
        return self.images_per_second

    def rest(self) -> None:
        """Discard the time and images since the last mark, which were spent on something else."""
        self._marked, self._images = time.monotonic(), 0

    def seconds_left(self, steps: int) -> float | None:
        """Return the seconds for `steps` more steps, with validation and checkpoints; None at the start."""
        if not self._steps:
            return None
        return (time.monotonic() - self._started) / self._steps * steps


TIME_FIELDS = frozenset({"time", "seconds", "images_per_second", "seconds_left"})
"""Fields that differ between two runs of the same recipe on the same machine."""


class Logbook:
    """An open log, to which events are appended.

    Args:
        path: The file; None writes nothing, in a process that does not write the run.
        keep: Number of events to keep. Later ones are cut off, because a run resumed from a checkpoint writes
            them again. 0 starts a new log.
        watch: Receives each new event. Whatever it raises ends the run.

    Raises:
        DataError: The file has fewer events than `keep`.
    """

    def __init__(self, path: Path | None, *, keep: int = 0, watch: EventCallback | None = None) -> None:
        self._events, self._watch = keep, watch
        self._file: IO[bytes] | None = None
        if path is None:
            return
        lines = path.read_bytes().split(b"\n")[:-1] if keep else []
        if len(lines) < keep:
            raise DataError(
                f"{path} has {len(lines)} events, but the checkpoint beside it was written after {keep}; "
                "restore the log, or start again in a new folder"
            )
        self._file = path.open("ab")
        self._file.truncate(sum(len(line) + 1 for line in lines[:keep]))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def write(self, event: str, **fields: Any) -> None:
        """Append an event; a number that is not finite becomes null."""
        if self._file is None:
            return
        entry = {"event": event, "time": datetime.now(UTC).isoformat(timespec="milliseconds"), **fields}
        plain = _plain(entry)
        self._file.write(json.dumps(plain, ensure_ascii=False, allow_nan=False).encode() + b"\n")
        self._file.flush()
        self._events += 1
        if self._watch is not None:
            self._watch(plain)

    def secure(self) -> int:
        """Flush the log to disk, so that it survives a power failure, and return the number of events."""
        if self._file is not None:
            os.fsync(self._file.fileno())
        return self._events


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
