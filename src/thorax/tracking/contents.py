"""What is sent to a tracking service about a training run, all of it read from the run's folder."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

from thorax.packages import versions
from thorax.recipe.load import recipe_sha256
from thorax.recipe.schema import Recipe
from thorax.reporting.run_log import read_log
from thorax.run_files import LOG, RECIPE
from thorax.tracking.service import Point

__all__ = ["Contents", "RunContents", "flattened"]

_NOT_METRICS: Final = frozenset({"event", "time", "epoch"})


class Contents(Protocol):
    """What a service is sent about a folder: read anew each time, as far as it exists."""

    @property
    def folder(self) -> Path:
        """The folder; `tracking.json` in it remembers what was sent."""
        ...

    @property
    def name(self) -> str:
        """The name of the run on the service."""
        ...

    def params(self) -> Mapping[str, str]:
        """Return the settings, which never change."""
        ...

    def tags(self) -> Mapping[str, str]:
        """Return what else identifies the run."""
        ...

    def points(self) -> Sequence[Point]:
        """Return all metrics so far; later ones are only appended."""
        ...

    def files(self) -> Sequence[tuple[Path, str]]:
        """Return the files and folders to send at the end, each with its folder on the service."""
        ...


@dataclass(frozen=True)
class RunContents:
    """A training run, as `thorax train` writes it.

    Attributes:
        folder: The run's folder.
        name: Its name on the service.
        recipe: The recipe.
    """

    folder: Path
    name: str
    recipe: Recipe

    def params(self) -> Mapping[str, str]:
        """Return every setting of the recipe by its dotted key."""
        return flattened(self.recipe.model_dump(mode="json"))

    def tags(self) -> Mapping[str, str]:
        """Return the recipe's hash, what the log's first event says of data and device, and versions."""
        start = next((event for event in self._events() if event.get("event") == "start"), {})
        facts = {key: str(value) for key, value in start.items() if isinstance(value, str | int)}
        facts = {key: value for key, value in facts.items() if key not in _NOT_METRICS}
        known = versions("thorax", "torch", "timm")
        return {f"thorax.{key}": value for key, value in (known | facts).items()} | {
            "thorax.recipe_sha256": recipe_sha256(self.recipe)
        }

    def points(self) -> Sequence[Point]:
        """Return a point for each epoch, with all numbers of its event, and one for the end of the run."""
        points = []
        for event in self._events():
            if event.get("event") == "epoch":
                points.append(_point(event, event["epoch"], prefix=""))
            elif event.get("event") == "end":
                points.append(_point(event, event["epochs"], prefix="selected/"))
        return points

    def files(self) -> Sequence[tuple[Path, str]]:
        """Return recipe, log, figures and bundle."""
        files = [(self.folder / name, "") for name in (RECIPE, LOG, "curves.svg", "report.html")]
        wanted = [*files, (self.folder / "bundle", "bundle")]
        return [(path, folder) for path, folder in wanted if path.exists()]

    def _events(self) -> Sequence[dict[str, Any]]:
        path = self.folder / LOG
        return read_log(path) if path.is_file() else []


def _point(event: Mapping[str, Any], step: int, *, prefix: str) -> Point:
    numbers = {
        prefix + re.sub(r"[^\w.\-/ ]", "_", key): float(value)
        for key, value in _leaves({k: v for k, v in event.items() if k not in _NOT_METRICS}, "/")
        if isinstance(value, int | float)
    }
    moment = datetime.fromisoformat(event["time"])
    return Point(step, round(moment.timestamp() * 1000), numbers)


def flattened(values: Mapping[str, Any]) -> dict[str, str]:
    """Return nested values as strings by dotted key: strings unchanged, everything else as JSON."""
    return {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in _leaves(values, ".")
    }


def _leaves(values: Mapping[str, Any], separator: str, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, separator, f"{prefix}{key}{separator}")
        else:
            yield f"{prefix}{key}", value
