"""How fast a run goes, and how long it still takes."""

import time

__all__ = ["Throughput"]


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
