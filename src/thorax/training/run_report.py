"""`report.html` and `curves.svg` in the folder of a run, written anew after each epoch.

Both are made from the log alone, under a temporary name: whenever they are read, they are whole.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from thorax.atomic_io import write_text
from thorax.errors import ThoraxError
from thorax.recipe.schema import Recipe
from thorax.reporting.epoch_curves import run_curves_svg
from thorax.reporting.figures import svg_file
from thorax.reporting.run_log import RunLog, read_log
from thorax.reporting.run_page import RunState, render_run
from thorax.run_files import LOG
from thorax.store import Store

__all__ = ["CURVES", "PAGE", "RunReport", "run_report"]

CURVES: Final = "curves.svg"
PAGE: Final = "report.html"

_SHARE: Final = 0.01
_FREE_SECONDS: Final = 1.0
"""Writing takes at most this share of the time of a run, and this many seconds: so short runs have it too."""

_INTERRUPTED: Final = 130


class RunReport:
    """Writes the page and the curves of a run.

    Args:
        folder: The folder of the run.
        recipe: The recipe.
        store: The store.
        wanted: Whether there is a report; without, every method does nothing.
    """

    def __init__(self, folder: Path, recipe: Recipe, store: Store, *, wanted: bool = True) -> None:
        self._folder, self._recipe, self._store = folder, recipe, store
        self._wanted = wanted
        self._began, self._cost = time.monotonic(), 0.0

    def update(self, *, ending: bool = False) -> None:
        """Write both files, unless that would take too much of the run's time and the run is not ending."""
        if ending or self._cost <= _FREE_SECONDS + _SHARE * (time.monotonic() - self._began):
            self._write(RunState("running"), end={})

    def finish(self, **end: Any) -> None:
        """Write both files as those of a finished run.

        Args:
            end: The fields of the log's last event, which is written afterwards: a run that is killed between
                them ends once more.
        """
        moment = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._write(RunState("finished"), end={"event": "end", "time": moment, **end})

    def stop(self, error: ThoraxError) -> None:
        """Write both files as those of a run that was stopped or has failed."""
        stopped = error.exit_code == _INTERRUPTED
        with suppress(OSError):  # such as of a full disk, which is what ended the run
            self._write(RunState("stopped") if stopped else RunState("failed", str(error)), end={})

    def _write(self, state: RunState, *, end: dict[str, Any]) -> None:
        if not self._wanted:
            return
        began = time.monotonic()
        events = read_log(self._folder / LOG)
        if not events:  # refused before it began: the folder stays free for another run
            return
        log = RunLog([*events, end] if end else events)
        if log.epochs:
            write_text(self._folder / CURVES, svg_file(run_curves_svg(log, chosen=log.kept_epoch)))
        page = render_run(log, self._recipe, state, folder=self._folder, store=self._store.location)
        write_text(self._folder / PAGE, page)
        self._cost += time.monotonic() - began


@contextmanager
def run_report(folder: Path, recipe: Recipe, store: Store, *, wanted: bool = True) -> Iterator[RunReport]:
    """Yield what writes the report of a run; an error that ends the run is noted in it.

    Args:
        folder: The folder of the run.
        recipe: The recipe.
        store: The store.
        wanted: Whether there is a report.
    """
    report = RunReport(folder, recipe, store, wanted=wanted)
    try:
        yield report
    except ThoraxError as error:
        report.stop(error)
        raise
