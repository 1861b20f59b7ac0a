"""Progress of long work, as a value: the library tells a callable, and draws nothing itself."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

__all__ = ["Progress", "ProgressCallback", "stage_progress", "tqdm"]

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


def stage_progress(
    progress: ProgressCallback | None, stage: str, *, unit: str = "images"
) -> Callable[[int, int], None] | None:
    """Return a counter for one stage, to be called with the units done and the total as often as one likes.

    Args:
        progress: What is told; None gives None.
        stage: What is being done.
        unit: What is counted.
    """
    if progress is None:
        return None
    started, told = time.monotonic(), float("-inf")
    before: int | None = None

    def count(done: int, total: int) -> None:
        nonlocal before, told
        if before is None:  # an earlier run did the others, in no time of this one
            before = max(done - 1, 0)
        now = time.monotonic()
        if done < total and now - told < _INTERVAL:
            return
        told = now
        rate = (done - before) / max(now - started, 1e-9)
        remaining = (total - done) / rate if rate > 0 else None
        progress(Progress(stage, done, total, rate, remaining, unit))

    return count


def tqdm(bar_class: Callable[..., Any] | None = None) -> ProgressCallback:
    """Return a callback that draws tqdm's bars, one for each stage.

    Args:
        bar_class: The class of the bars; `tqdm.auto.tqdm` if not given.

    Raises:
        ModuleNotFoundError: tqdm is not installed.
    """
    new_bar = bar_class or import_module("tqdm.auto").tqdm
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
