"""Progress of several files at once, stage by stage."""

from dataclasses import replace
from threading import Lock
from typing import Final

from thorax.progress import CountCallback, Progress, ProgressCallback, stage_progress

__all__ = ["DOWNLOADING", "Tally"]

DOWNLOADING: Final = "downloading"
"""The stage that waits for servers; what it waits for is shown beside it."""


class Tally:
    """Sums the positions of files that are worked on in several threads.

    The callback is called by one thread at a time.
    """

    def __init__(self, progress: ProgressCallback | None, expected: dict[str, int]) -> None:
        """Create a tally.

        Args:
            progress: Receives the progress; None for none.
            expected: Bytes of the files to download, so that the end is known from the beginning.
        """
        self._progress = progress
        self._lock = Lock()
        self._counters: dict[str, CountCallback] = {}
        self._positions = {DOWNLOADING: {name: (0, size) for name, size in expected.items()}}
        self._notes: dict[str, str] = {}

    def at(self, stage: str, name: str, done: int, total: int, *, unit: str = "bytes") -> None:
        """Report the position of one file in one stage."""
        with self._lock:
            self._positions.setdefault(stage, {})[name] = (done, total)
            self._report(stage, unit)

    def note(self, name: str, text: str) -> None:
        """Say what a file is waiting for; "" once it continues."""
        with self._lock:
            self._notes[name] = text
            self._report(DOWNLOADING, "bytes")

    def _report(self, stage: str, unit: str) -> None:
        if self._progress is None:
            return
        if stage not in self._counters:
            report = self._with_notes if stage == DOWNLOADING else self._progress
            counter = stage_progress(report, stage, unit=unit)
            assert counter is not None  # there is a callback
            self._counters[stage] = counter
        positions = self._positions[stage].values()
        self._counters[stage](sum(done for done, _ in positions), sum(total for _, total in positions))

    def _with_notes(self, now: Progress) -> None:
        assert self._progress is not None  # or nothing is reported
        self._progress(replace(now, detail="; ".join(text for text in self._notes.values() if text)))
