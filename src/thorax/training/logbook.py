"""The log of a run: one JSON line per event in `log.jsonl`.

Every field that depends on the clock is in `TIME_FIELDS`; without those, the log of a resumed run is that
of an uninterrupted one.
"""

import json
import math
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from thorax.errors import DataError

__all__ = ["TIME_FIELDS", "Logbook", "read_log"]

TIME_FIELDS = frozenset({"time", "seconds", "images_per_second"})
"""Fields that differ between two runs of the same recipe on the same machine."""


class Logbook:
    """An open log; events are appended.

    Args:
        path: The file.
        keep: Events that stand; what follows them is cut off, because a run that goes on from a checkpoint
            writes it again. 0 begins a new log.

    Raises:
        DataError: The file has fewer events than `keep`.
    """

    def __init__(self, path: Path, *, keep: int = 0) -> None:
        lines = path.read_bytes().split(b"\n")[:-1] if keep else []
        if len(lines) < keep:
            raise DataError(
                f"{path} has {len(lines)} events, and the checkpoint beside it was written after {keep}; "
                "put the log back, or start again in a new folder"
            )
        self._events = keep
        self._file = path.open("ab")
        self._file.truncate(sum(len(line) + 1 for line in lines[:keep]))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def write(self, event: str, **fields: Any) -> None:
        """Append an event; a number that is not finite becomes null."""
        entry = {"event": event, "time": datetime.now(UTC).isoformat(timespec="milliseconds"), **fields}
        self._file.write(json.dumps(_plain(entry), ensure_ascii=False, allow_nan=False).encode() + b"\n")
        self._file.flush()
        self._events += 1

    def secure(self) -> int:
        """Make what was written survive a power cut, and return the number of events."""
        os.fsync(self._file.fileno())
        return self._events


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the events of a log; a last line that was not finished is left out.

    Raises:
        DataError: A line is not a JSON object.
    """
    *lines, _ = path.read_bytes().split(b"\n")
    events = []
    for number, line in enumerate(lines, start=1):
        try:
            event = json.loads(line)
        except ValueError as error:
            raise DataError(
                f"{path}, line {number} is no JSON ({error}); start again in a new folder"
            ) from error
        if not isinstance(event, dict):
            raise DataError(f"{path}, line {number} is no JSON object; start again in a new folder")
        events.append(event)
    return events


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
