"""Progress on standard error: bars in a terminal, and a line now and then in a file or pipe."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from thorax.cli.output import say
from thorax.progress import Progress, ProgressCallback
from thorax.wording import as_rate, percent

__all__ = ["bars_or_lines", "line_now_and_then"]

_IN_NOTEBOOK: Final = "JPY_PARENT_PID"
"""Set by the kernel of a notebook, for what runs in it."""

_SECONDS: Final = 10.0
"""Between two lines."""


@contextmanager
def bars_or_lines(*, every: float = _SECONDS, latest_only: bool = False) -> Iterator[ProgressCallback]:
    """Yield a callback that draws bars in a terminal, or prints a line now and then elsewhere.

    Args:
        every: Seconds between two lines.
        latest_only: Whether only the bar of the latest stage is shown, and none is left at the end.
    """
    # `!thorax` in a notebook runs on a terminal without a screen, which keeps every state of a bar.
    if sys.stderr.isatty() and _IN_NOTEBOOK not in os.environ:
        from thorax.cli.console import progress_bars

        with progress_bars(latest_only=latest_only) as update:
            yield update
    else:
        yield line_now_and_then(every=every, anew=latest_only)


def line_now_and_then(
    *, every: float = _SECONDS, anew: bool = False, clock: Callable[[], float] = time.monotonic
) -> ProgressCallback:
    """Return a callback that prints a line at most every so many seconds.

    Args:
        every: Seconds between two lines, and before the first one.
        anew: Whether that time begins anew with each stage, as where each ends with a line of its own.
        clock: Returns the time in seconds.
    """
    last, stage = clock(), ""

    def update(now: Progress) -> None:
        nonlocal last, stage
        if anew and stage and stage != now.stage:
            last = clock()
        stage = now.stage
        if clock() - last >= every and now.done < now.total:
            last = clock()
            left = "" if now.remaining is None else f", {timedelta(seconds=round(now.remaining))} left"
            done = f"{now.done:,} of {now.total:,} {now.unit} ({percent(now.done / now.total, 0)})"
            rate = f", {as_rate(now.rate)}" if now.rate else ""
            detail = f", {now.detail}" if now.detail else ""
            say(f"{now.stage}: {done}{rate}{left}{detail}", err=True)

    return update
