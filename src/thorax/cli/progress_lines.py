"""Progress on standard error: bars in a terminal, and a line now and then in a file or pipe."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from thorax.cli.output import say
from thorax.progress import Progress, ProgressCallback

__all__ = ["bars_or_lines", "line_now_and_then"]

_SECONDS: Final = 10.0
"""Between two lines, and before the first one."""


@contextmanager
def bars_or_lines() -> Iterator[ProgressCallback]:
    """Yield a callback that draws bars in a terminal, or prints a line every ten seconds elsewhere."""
    if sys.stderr.isatty():
        from thorax.cli.console import progress_bars

        with progress_bars() as update:
            yield update
    else:
        yield line_now_and_then()


def line_now_and_then(
    *, every: float = _SECONDS, clock: Callable[[], float] = time.monotonic
) -> ProgressCallback:
    """Return a callback that prints a line at most every so many seconds.

    Args:
        every: Seconds between two lines, and before the first one.
        clock: Returns the time in seconds.
    """
    last = clock()

    def update(now: Progress) -> None:
        nonlocal last
        if clock() - last >= every and now.done < now.total:
            last = clock()
            left = "" if now.remaining is None else f", {timedelta(seconds=round(now.remaining))} left"
            done = f"{now.done:,} of {now.total:,} {now.unit} ({now.done / now.total:.0%})"
            say(f"{now.stage}: {done}, {now.rate:,.0f}/s{left}", err=True)

    return update
