"""`metrics.json` of an evaluation, read again."""

import json
from pathlib import Path
from typing import Any, Final

from thorax.errors import DataError

__all__ = ["METRICS_FORMAT", "read_metrics"]

METRICS_FORMAT: Final = "thorax-metrics/1"
"""What `metrics.json` calls its own layout; the number rises when a key changes its meaning."""

_ANY_FORMAT: Final = "thorax-metrics/"


def read_metrics(path: Path, *, any_format: bool = False) -> dict[str, Any]:
    """Read a `metrics.json`.

    Args:
        path: The file.
        any_format: Whether the layout of another version of Thorax will do.

    Raises:
        DataError: It cannot be read, or is not what `thorax evaluate` writes.
    """
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}); give a metrics.json") from error
    said = str(value.get("format", "")) if isinstance(value, dict) else ""
    if said != METRICS_FORMAT and not (any_format and said.startswith(_ANY_FORMAT)):
        raise DataError(f"{path} is not a metrics.json of `thorax evaluate`; give the file of a report")
    return dict(value)
