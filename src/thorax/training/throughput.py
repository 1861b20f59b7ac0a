"""How fast a run goes, and how it tells."""

import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Progress", "ProgressCallback", "Throughput"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is, after a step.

    Attributes:
        epoch: The epoch, counted from 1.
        epochs: Epochs at most.
        step: Steps of the run that are done.
        steps: Steps at most.
        loss: Mean training loss lately, in nats; None before the first is known.
        images_per_second: Training images per second lately; 0 before that is known.
        seconds_left: Until the last step, if the run goes on as since it was started or resumed; None
            before that is known.
        notices: What a user should know, one sentence each; the same at every step.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float | None
    images_per_second: float
    seconds_left: float | None
    notices: tuple[str, ...]


ProgressCallback = Callable[[Progress], None]


class Throughput:
    """Measures images per second between marks, and the time left from all steps of this process."""

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
        """Return images per second since the last mark, and begin anew."""
        now = time.monotonic()
        self.images_per_second = self._images / max(now - self._marked, 1e-9)
        self.rest()
        return self.images_per_second

    def rest(self) -> None:
        """Leave out the time and images since the last mark: something else was done."""
        self._marked, self._images = time.monotonic(), 0

    def seconds_left(self, steps: int) -> float | None:
        """Return how long `steps` more steps will take, validation and checkpoints between them included."""
        if not self._steps:
            return None
        return (time.monotonic() - self._started) / self._steps * steps
