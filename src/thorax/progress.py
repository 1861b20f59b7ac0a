"""Progress of long-running work, as values passed to a callback."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from thorax.errors import MissingExtra

__all__ = ["CountCallback", "Progress", "ProgressCallback", "stage_progress", "throttled", "tqdm"]

_INTERVAL: Final = 0.1
"""Least time in seconds between two calls of a callback, so that a notebook is not flooded."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of one stage of some work.

    Attributes:
        stage: What is being done, such as "predicting".
        done: Units done.
        total: Units of the whole stage.
        rate: Units per second since the stage started in this process; 0 while unknown.
        remaining: Seconds until the stage ends at that rate; None while unknown.
        unit: What is counted, such as "images".
        detail: Further information, such as the training loss; "" without.
    """

    stage: str
    done: int
    total: int
    rate: float
    remaining: float | None
    unit: str = "images"
    detail: str = ""


ProgressCallback = Callable[[Progress], None]
"""Receives progress, at most ten times a second and once at the end of each stage."""

CountCallback = Callable[[int, int], None]
"""Receives the units done and the total from within a loop, after each unit or batch."""


def stage_progress(
    progress: ProgressCallback | None, stage: str, *, unit: str = "images"
) -> CountCallback | None:
    """Return a counter for one stage, which may be called with units done and total at any rate.

    Args:
        progress: Receives the progress; None returns None.
        stage: What is being done.
        unit: What is counted.
    """
    if progress is None:
        return None
    report, started = throttled(progress), time.monotonic()
    before: int | None = None

    def count(done: int, total: int) -> None:
        nonlocal before
        if before is None:  # units of an earlier run must not count in the rate
            before = max(done - 1, 0)
        rate = (done - before) / max(time.monotonic() - started, 1e-9)
        remaining = (total - done) / rate if rate > 0 else None
        report(Progress(stage, done, total, rate, remaining, unit))

    return count


def throttled(progress: ProgressCallback) -> ProgressCallback:
    """Return a callback that may be called at any rate and forwards at most ten calls a second.

    The end of a stage is always forwarded.

    Args:
        progress: The callback to forward to.
    """
    last = float("-inf")

    def report(now: Progress) -> None:
        nonlocal last
        moment = time.monotonic()
        if now.done >= now.total or moment - last >= _INTERVAL:
            last = moment
            progress(now)

    return report


def tqdm(bar_class: Callable[..., Any] | None = None) -> ProgressCallback:
    """Return a callback that draws a tqdm bar for each stage.

    Args:
        bar_class: Class of the bars; by default that of a notebook if ipywidgets is installed, and otherwise
            that of a terminal.

    Raises:
        MissingExtra: tqdm is not installed.

    Example:
        progress = thorax.progress.tqdm()
    """
    if bar_class is None:
        from importlib.util import find_spec  # noqa: PLC0415  (3 ms)

        try:
            # Without ipywidgets, tqdm.auto warns in every notebook that it cannot draw.
            bar_class = import_module("tqdm.auto" if find_spec("ipywidgets") else "tqdm").tqdm
        except ModuleNotFoundError as error:
            raise MissingExtra(
                "progress bars need tqdm, which is not installed; install it with pip install tqdm"
            ) from error
    new_bar = bar_class
    bars: dict[str, Any] = {}

    def update(now: Progress) -> None:
        if now.stage not in bars:
            bars[now.stage] = new_bar(desc=now.stage, total=now.total, unit=f" {now.unit}")
        bar = bars[now.stage]
        bar.total = now.total
        bar.set_postfix_str(now.detail, refresh=False)
        bar.update(now.done - bar.n)
        if now.done >= now.total:
            bar.close()
            del bars[now.stage]

    return update
