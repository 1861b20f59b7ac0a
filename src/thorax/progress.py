"""Progress of long work, as a value: the library tells a callable, and draws nothing itself."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from thorax.errors import MissingExtra

__all__ = ["CountCallback", "Progress", "ProgressCallback", "stage_progress", "throttled", "tqdm"]

_INTERVAL: Final = 0.1
"""Seconds between two calls of a callback, so that a notebook is not flooded."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage of some work is.

    Attributes:
        stage: What is being done, such as "predicting".
        done: Units that are done.
        total: Units of the whole stage.
        rate: Units per second since the stage began in this process; 0 before that is known.
        remaining: Seconds until the stage ends at that rate; None before that is known.
        unit: What is counted, such as "images".
        detail: What else is known, such as the training loss; "" without.
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
"""Receives the units that are done and all of them, from within a loop: after each unit or each batch."""


def stage_progress(
    progress: ProgressCallback | None, stage: str, *, unit: str = "images"
) -> CountCallback | None:
    """Return a counter for one stage, to be called with the units done and the total as often as one likes.

    Args:
        progress: What is told; None gives None.
        stage: What is being done.
        unit: What is counted.
    """
    if progress is None:
        return None
    report, started = throttled(progress), time.monotonic()
    before: int | None = None

    def count(done: int, total: int) -> None:
        nonlocal before
        if before is None:  # an earlier run did the others, in no time of this one
            before = max(done - 1, 0)
        rate = (done - before) / max(time.monotonic() - started, 1e-9)
        remaining = (total - done) / rate if rate > 0 else None
        report(Progress(stage, done, total, rate, remaining, unit))

    return count


def throttled(progress: ProgressCallback) -> ProgressCallback:
    """Return a callback that may be called as often as one likes: it passes on ten calls a second.

    The end of a stage is always passed on.

    Args:
        progress: What is called.
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
    """Return a callback that draws tqdm's bars, one for each stage.

    Args:
        bar_class: The class of the bars; `tqdm.auto.tqdm` if not given.

    Raises:
        MissingExtra: tqdm is not installed.

    Example:
        progress = thorax.progress.tqdm()
    """
    if bar_class is None:
        try:
            bar_class = import_module("tqdm.auto").tqdm
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
