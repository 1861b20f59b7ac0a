"""The log of a training run, `log.jsonl`: its events, and what they say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from thorax.atomic_io import parse_json
from thorax.errors import DataError
from thorax.run_files import LOG, is_finishing

__all__ = ["Event", "RunLog", "read_log", "read_start"]

Event = Mapping[str, Any]


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the events of a log without an unfinished last line.

    Raises:
        DataError: A line is not a JSON object.
    """
    *lines, _ = path.read_bytes().split(b"\n")
    events = []
    for number, line in enumerate(lines, start=1):
        try:
            event = parse_json(line)
        except ValueError as error:
            raise DataError(
                f"{path}, line {number} is not JSON ({error}); start again in a new folder"
            ) from error
        if not isinstance(event, dict):
            raise DataError(f"{path}, line {number} is not a JSON object; start again in a new folder")
        events.append(event)
    return events


def read_start(folder: Path) -> Event:
    """Return the first event of the log in a run's folder; {} if there is none."""
    try:
        with (folder / LOG).open("rb") as log:
            start = parse_json(log.readline())
    except (OSError, ValueError):
        return {}
    return start if isinstance(start, dict) else {}


@dataclass(frozen=True)
class RunLog:
    """What a run's log says so far.

    Attributes:
        events: All of them, in order.
    """

    events: Sequence[Event]

    @cached_property
    def start(self) -> Event:
        """The first event: what is trained on what; {} if the run has not begun."""
        return next(iter(self._named("start")), {})

    @cached_property
    def epochs(self) -> list[Event]:
        """One event for each epoch that has ended."""
        return self._named("epoch")

    @cached_property
    def end(self) -> Event | None:
        """The last event of a run that has finished."""
        return next(iter(self._named("end")), None)

    @property
    def is_finishing(self) -> bool:
        """Whether all epochs are over and the bundle is being made, or was when the process was killed."""
        return is_finishing(self.events)

    @property
    def findings(self) -> list[str]:
        """The findings by name, in the order of the outputs."""
        return list(self.start.get("findings", ()))

    @property
    def last_epoch(self) -> int:
        """The number of epochs that have ended, at least 1."""
        return max(len(self.epochs), 1)

    @property
    def planned_epochs(self) -> int | None:
        """The number of epochs that the run has at most."""
        planned = self.start.get("epochs") or (self.epochs and self.epochs[-1].get("epochs"))
        return int(planned) if planned else None

    @property
    def kept_epoch(self) -> int:
        """The epoch whose weights are kept so far, counted from 1; 0 if no epoch has ended."""
        if self.end is not None:
            return int(self.end["selected_epoch"])
        best = self.epochs[-1].get("best_epoch") if self.epochs else None
        return int(best) if best and self.start.get("checkpoint") == "best" else len(self.epochs)

    @property
    def seconds(self) -> float:
        """The seconds that the epochs took together; less than all for one that was interrupted."""
        return sum(float(epoch.get("seconds") or 0) for epoch in self.epochs)

    @property
    def written(self) -> datetime | None:
        """When the last event was written."""
        return self.moment(self.events[-1]) if self.events else None

    @staticmethod
    def moment(event: Event) -> datetime | None:
        """Return when an event was written; None if it does not say so."""
        return datetime.fromisoformat(str(event["time"])) if "time" in event else None

    def curve(self, name: str) -> list[tuple[float, float]]:
        """Return epochs with the value of a field, without those in which it does not exist."""
        return [(event["epoch"], event[name]) for event in self.epochs if event.get(name) is not None]

    def finding_curve(self, name: str) -> list[tuple[float, float]]:
        """Return epochs with the AUC of a finding, without those in which it does not exist."""
        values = [(event["epoch"], event.get("auc", {}).get(name)) for event in self.epochs]
        return [(epoch, value) for epoch, value in values if value is not None]

    def learning_rates(self) -> list[tuple[float, float]]:
        """Return the learning rate every 20 steps, at fractions of epochs."""
        steps = self.start.get("steps_per_epoch")
        events = self._named("steps") if steps else []
        return [(event["step"] / steps, event["lr"]) for event in events if event.get("lr") is not None]

    def _named(self, name: str) -> list[Event]:
        return [event for event in self.events if event.get("event") == name]
