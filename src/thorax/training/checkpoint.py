"""Checkpoints: everything that a run needs to go on, as safetensors with a JSON state in the file's metadata.

`last.safetensors` is where the run is; `best.safetensors` holds the weights of its best epoch. Both are
written in one go, the best first: whatever is in `last` is then true of `best`, or becomes so again when the
run goes on. Nothing in them depends on the clock.
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

from thorax.atomic_io import atomic_write
from thorax.errors import DataError
from thorax.training.learner import PlateauState

__all__ = ["Best", "Checkpoint", "Checkpointer", "RunState", "load_checkpoint"]

_MAX_PART_OF_TIME: Final = 0.01
"""A checkpoint that is due waits until it costs at most this part of the time since the one before."""

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class RunState:
    """Where a run is, between two steps.

    Attributes:
        epoch: Epochs that are finished, validation included.
        step: Steps of the current epoch that are finished.
        plateau: What a plateau schedule remembers.
        watched: Best value of the metric that early stopping watches, larger is better; None before any.
        waited: Epochs since then.
        best: Best value of the selection metric, larger is better; None before any.
        stopped: Whether early stopping ended the run.
        events: Events in the log up to here.
    """

    epoch: int = 0
    step: int = 0
    plateau: PlateauState = field(default_factory=PlateauState)
    watched: float | None = None
    waited: int = 0
    best: float | None = None
    stopped: bool = False
    events: int = 0


@dataclass(frozen=True)
class Best:
    """Weights of the best epoch, on the CPU.

    Attributes:
        epoch: Counted from 1.
        weights: State dict of the classifier.
    """

    epoch: int
    weights: Tensors


@dataclass(frozen=True)
class Checkpoint:
    """What `load_checkpoint` found."""

    state: RunState
    extra: Mapping[str, Any]
    tensors: Tensors
    best: Best | None


class Checkpointer:
    """Writes the checkpoints of a run, seldom enough.

    Args:
        folder: Where to; made if it is not there.
        minutes: Longest time between checkpoints inside an epoch. 0 asks for one at every step, whatever it
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
        """Return whether to write now."""
        if self._seconds == 0:
            return True
        since = time.monotonic() - self._written_at
        return (epoch_ended or since >= self._seconds) and self._cost <= _MAX_PART_OF_TIME * since

    def write(self, state: RunState, extra: Mapping[str, Any], tensors: Tensors, best: Best | None) -> None:
        """Write both files, each whole or not at all.

        Args:
            state: Where the run is.
            extra: Further plain values.
            tensors: Everything else.
            best: The best epoch so far; written only when it is another one than before.
        """
        start = time.monotonic()
        if best is not None and best.epoch != self._best_on_disk:
            _save(self._folder / "best.safetensors", best.weights, {"epoch": best.epoch})
            self._best_on_disk = best.epoch
        _save(self._folder / "last.safetensors", tensors, {"state": asdict(state), "extra": dict(extra)})
        self._written_at = time.monotonic()
        self._cost = self._written_at - start


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """Read the checkpoint of a run, or None where it has not written one yet.

    Raises:
        DataError: A file is damaged.
    """
    last = folder / "last.safetensors"
    if not last.exists():
        return None
    tensors, values = _load(last)
    try:
        plain = values["state"]
        state = RunState(**plain | {"plateau": PlateauState(**plain["plateau"])})
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{last} is no checkpoint of this version ({error}); start again in a new folder"
        ) from error
    best = None
    if state.best is not None:
        weights, about = _load(folder / "best.safetensors")
        best = Best(int(about["epoch"]), weights)
    return Checkpoint(state, values["extra"], tensors, best)


def _save(path: Path, tensors: Tensors, values: Mapping[str, Any]) -> None:
    # JSON's Infinity is Python's own dialect, and only Python reads it back.
    metadata = {"thorax": json.dumps(values, sort_keys=True)}
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_write(path) as temporary:
        temporary.write_bytes(save(plain, metadata))


def _load(path: Path) -> tuple[Tensors, dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no mapping)
            values: dict[str, Any] = json.loads(file.metadata()["thorax"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} is damaged or no checkpoint of this version ({error}); start again in a new folder"
        ) from error
    return tensors, values
