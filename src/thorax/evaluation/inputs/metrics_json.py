"""Reading the `metrics.json` of an evaluation."""

import json
from pathlib import Path
from typing import Any, Final

from thorax.errors import DataError

__all__ = ["METRICS_FORMAT", "read_metrics"]

METRICS_FORMAT: Final = "thorax-metrics/1"
"""The format name in `metrics.json`; the number increases when a key changes its meaning."""

_ANY_FORMAT: Final = "thorax-metrics/"


def read_metrics(path: Path, *, any_format: bool = False) -> dict[str, Any]:
    """Read a `metrics.json`.

    Args:
        path: The file.
        any_format: Whether to accept the format of another version of Thorax.

    Raises:
        DataError: The file cannot be read, or was not written by `thorax evaluate`.
    """
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}); give a metrics.json") from error
    found_format = str(value.get("format", "")) if isinstance(value, dict) else ""
    if found_format != METRICS_FORMAT and not (any_format and found_format.startswith(_ANY_FORMAT)):
        raise DataError(f"{path} is not a metrics.json of `thorax evaluate`; give the file of a report")
    return dict(value)
