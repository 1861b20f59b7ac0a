"""Reading the `metrics.json` of an evaluation."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from thorax.atomic_io import read_json
from thorax.errors import DataError
from thorax.evaluation.thresholds import TUNED_MARK

__all__ = ["METRICS_FILE", "METRICS_FORMAT", "read_metrics", "tuned_marks"]

METRICS_FORMAT: Final = "thorax-metrics/1"
"""The format name in `metrics.json`; the number increases when a key changes its meaning."""

METRICS_FILE: Final = "metrics.json"
"""Its name in the folder of a report."""

_MARK: Final = "test_tuned"
_CHOICES: Final = ("chosen_on", "fitted_on")

_ANY_FORMAT: Final = "thorax-metrics/"


def read_metrics(path: Path, *, any_format: bool = False) -> dict[str, Any]:
    """Read a `metrics.json`.

    Args:
        path: The file, or the folder of its report.
        any_format: Whether to accept the format of another version of Thorax.

    Raises:
        DataError: The file cannot be read, or was not written by `thorax evaluate`.
    """
    path = path / METRICS_FILE if path.is_dir() else path
    try:
        value = read_json(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}); give a metrics.json") from error
    found_format = str(value.get("format", "")) if isinstance(value, dict) else ""
    if found_format != METRICS_FORMAT and not (any_format and found_format.startswith(_ANY_FORMAT)):
        raise DataError(f"{path} is not a metrics.json of `thorax evaluate`; give the file of a report")
    return dict(value)


def tuned_marks(metrics: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what in a `metrics.json` says that thresholds or calibrations were chosen on the reported part.

    Besides the keys `test_tuned` these are the mark in names, and `chosen_on` and `fitted_on` that are a test
    part or the reported images: if a key was edited, the others remain.

    Returns:
        The path of each, such as "operating_points.name", in the order of the file.
    """
    split = metrics.get("split")
    reported = split if isinstance(split, dict) else {}
    here = (reported.get("name"), reported.get("part"))
    images = metrics.get("images_sha256")

    def is_reported(chosen_on: Any) -> bool:
        if not isinstance(chosen_on, dict):
            return False
        same_part = bool(here[0]) and (chosen_on.get("split"), chosen_on.get("part")) == here
        same_images = bool(images) and chosen_on.get("images_sha256") == images
        return same_part or same_images or chosen_on.get("part") == "test"

    def marks(value: Any, where: str) -> Iterator[str]:
        if isinstance(value, list):
            for inner in value:
                yield from marks(inner, where)
        for key, inner in value.items() if isinstance(value, dict) else ():
            path = f"{where}.{key}" if where else str(key)
            says_so = _MARK in str(key) and inner
            named = key == "name" and TUNED_MARK in str(inner)
            if says_so or named or (key in _CHOICES and is_reported(inner)):
                yield path
            else:
                yield from marks(inner, path)

    return tuple(dict.fromkeys(marks(metrics, "")))
