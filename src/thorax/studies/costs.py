"""What a cell cost: seconds and joules, noted after each epoch, so that a killed one counts too."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from thorax.atomic_io import append_line, parse_json
from thorax.reporting.run_log import RunLog, read_log
from thorax.studies.energy import EnergyCounter

__all__ = ["Cost", "CostMeter", "images_per_second", "read_cost"]

Step = Literal["train", "evaluate"]


@dataclass(frozen=True, slots=True)
class Cost:
    """What was spent, with what was spent twice because a process was killed.

    Attributes:
        seconds: On the clock.
        joules: Of the device; None if that is unknown.
    """

    seconds: float
    joules: float | None

    def __add__(self, other: "Cost") -> "Cost":
        known = self.joules is not None and other.joules is not None
        return Cost(
            self.seconds + other.seconds,
            (self.joules or 0.0) + (other.joules or 0.0) if known else None,
        )


class CostMeter:
    """Appends to a file what was spent since its last line.

    Args:
        file: The file, with one JSON object per line.
        step: What is done.
        device: The device whose energy is counted.
        clock: Returns the time in seconds.
    """

    def __init__(
        self, file: Path, step: Step, *, device: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._file, self._step, self._device, self._clock = file, step, device, clock
        self._energy, self._since = EnergyCounter(device), clock()

    def watch(self, event: Mapping[str, Any]) -> None:
        """Note what an epoch of a run cost."""
        if event.get("event") == "epoch":
            self.note()

    def note(self) -> None:
        """Note what was spent since the last time."""
        now = self._clock()
        line = {
            "step": self._step,
            "device": self._device,
            "seconds": round(now - self._since, 3),
            "joules": self._energy.joules(),
        }
        self._since = now
        append_line(self._file, json.dumps(line))


def read_cost(file: Path) -> Cost:
    """Return the sum of a file's lines; what is unfinished or not a cost is left out."""
    total = Cost(0.0, 0.0)
    lines = file.read_bytes().splitlines() if file.is_file() else []
    for line in lines:
        try:
            value = parse_json(line)
            joules = value["joules"]
            total += Cost(float(value["seconds"]), None if joules is None else float(joules))
        except (ValueError, KeyError, TypeError):
            continue
    return total if lines else Cost(0.0, None)


def images_per_second(log: Path) -> float | None:
    """Return the rate of training over all epochs of a run, without validation; None if it is not known."""
    epochs = RunLog(read_log(log)).epochs
    rates = [float(epoch["images_per_second"]) for epoch in epochs if epoch.get("images_per_second")]
    # Every epoch has as many images, so the whole rate is the harmonic mean.
    return len(rates) / sum(1 / rate for rate in rates) if rates else None
