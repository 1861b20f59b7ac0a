"""Checkpoints: everything needed to resume a run, as safetensors with a JSON state in the file's metadata.

`last.safetensors` holds the current state of the run, `best.safetensors` the weights of its best epoch. They
are written together, the best first: `best` then agrees with `last`, or will again once the run is resumed.
Nothing in them depends on the clock.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from thorax.atomic_io import atomic_write, parse_json
from thorax.errors import DataError
from thorax.training.learner import PlateauState

__all__ = ["Best", "Checkpoint", "Checkpointer", "RunState", "load_checkpoint", "run_state"]

_MAX_TIME_FRACTION: Final = 0.01
"""A checkpoint that is due waits until writing takes at most this fraction of the time since the last one."""

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class RunState:
    """The progress of a run, between two steps. Checkpoints store the fields under these names.

    Attributes:
        epoch: Finished epochs, including validation.
        step: Finished steps of the current epoch.
        plateau: State of a plateau schedule.
        watched: Best value of the metric that early stopping monitors, larger is better; None at first.
        waited: Epochs without improvement of that metric.
        best: Best value of the selection metric, larger is better; None at first.
        leading_score: Highest value of the selection metric so far; None at first.
        leading_epoch: The epoch that reached it, counted from 1; 0 at first.
        stopped: Whether early stopping ended the run.
        events: Events in the log so far.
    """

    epoch: int = 0
    step: int = 0
    plateau: PlateauState = field(default_factory=PlateauState)
    watched: float | None = None
    waited: int = 0
    best: float | None = None
    leading_score: float | None = None
    leading_epoch: int = 0
    stopped: bool = False
    events: int = 0


@dataclass(frozen=True)
class Best:
    """The weights of the best epoch, on the CPU.

    Attributes:
        epoch: Counted from 1.
        weights: State dict of the classifier.
    """

    epoch: int
    weights: Tensors


@dataclass(frozen=True)
class Checkpoint:
    """The result of `load_checkpoint`."""

    state: RunState
    extra: Mapping[str, Any]
    tensors: Tensors
    best: Best | None


class Checkpointer:
    """Writes the checkpoints of a run, at a limited cost in time.

    Args:
        folder: The folder of the checkpoints; created if missing.
        minutes: Longest time between checkpoints inside an epoch. 0 writes one at every step, whatever it
            costs.
    """

    def __init__(self, folder: Path, *, minutes: float) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._seconds = minutes * 60
        self._cost = 0.0
        self._written_at = time.monotonic()
        self._best_on_disk: int | None = None

    def is_due(self, *, epoch_ended: bool) -> bool:
        """Return whether a checkpoint should be written now."""
        if self._seconds == 0:
            return True
        since = time.monotonic() - self._written_at
        return (epoch_ended or since >= self._seconds) and self._cost <= _MAX_TIME_FRACTION * since

    def write(self, state: RunState, extra: Mapping[str, Any], tensors: Tensors, best: Best | None) -> None:
        """Write both files, each atomically.

        Args:
            state: Progress of the run.
            extra: Further plain values.
            tensors: Tensors of net, averages and optimizer.
            best: The best epoch so far; written only if it has changed.
        """
        start = time.monotonic()
        if best is not None and best.epoch != self._best_on_disk:
            _save(self._folder / "best.safetensors", best.weights, {"epoch": best.epoch})
            self._best_on_disk = best.epoch
        _save(self._folder / "last.safetensors", tensors, {"state": asdict(state), "extra": dict(extra)})
        self._written_at = time.monotonic()
        self._cost = self._written_at - start


def run_state(plain: Mapping[str, Any]) -> RunState:
    """Return a state from its fields as plain values.

    Raises:
        KeyError, TypeError: A field is missing, or unknown.
    """
    return RunState(**{**plain, "plateau": PlateauState(**plain["plateau"])})


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """Read the checkpoint of a run; None if it has not written one yet.

    Raises:
        DataError: A file is damaged.
    """
    last = folder / "last.safetensors"
    if not last.exists():
        return None
    tensors, values = _load(last)
    try:
        state = run_state(values["state"])
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{last} is not a checkpoint of this version ({error}); start again in a new folder"
        ) from error
    best = None
    if state.best is not None:
        weights, about = _load(folder / "best.safetensors")
        best = Best(int(about["epoch"]), weights)
    return Checkpoint(state, values["extra"], tensors, best)


def _save(path: Path, tensors: Tensors, values: Mapping[str, Any]) -> None:
    # Infinity is an extension of JSON by Python; only Python reads these files.
    metadata = {"thorax": json.dumps(values, sort_keys=True)}
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_write(path) as temporary:
        temporary.write_bytes(save(plain, metadata))


def _load(path: Path) -> tuple[Tensors, dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
            values: dict[str, Any] = parse_json(file.metadata()["thorax"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} is damaged or not a checkpoint of this version ({error}); start again in a new folder"
        ) from error
    return tensors, values
