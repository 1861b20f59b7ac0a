"""Terminal output that the verbs share: progress bars on standard error, tables on standard output."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

from thorax.cli.tables import print_table
from thorax.progress import Progress, ProgressCallback
from thorax.quoting import visible
from thorax.wording import as_rate, percent

__all__ = ["print_table", "progress_bars"]

_MAX_BARS: Final = 4
"""Bars on the screen at once: of a hundred epochs, the latest are shown."""

_BAR_WIDTH: Final = 8
"""Columns of a bar: with the stage, the loss and the time left of a run, a line fits 80 columns."""

_FILE_WIDTH: Final = 120
"""Columns of a line that goes to a file or pipe, which has no width of its own."""


@contextmanager
def progress_bars(*, latest_only: bool = False) -> Iterator[ProgressCallback]:
    """Draw a bar per stage, with its rate and the time left; yield the callback that updates them.

    A terminal of 80 columns shows a stage in one line; a file or pipe gets only the last state of each.

    Args:
        latest_only: Whether only the bar of the latest stage is shown, and none is left at the end.
    """
    # Imported here, because it takes 20 ms and `predict` prints only a table.
    from rich.console import Console
    from rich.progress import BarColumn, TaskID, TextColumn
    from rich.progress import Progress as Bars
    from rich.table import Column

    columns = (
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(_BAR_WIDTH, table_column=Column(no_wrap=True)),
        *(
            TextColumn(f"{{task.fields[{name}]}}", table_column=Column(no_wrap=True, justify="right"))
            for name in ("share", "rate", "left")
        ),
        TextColumn(
            "{task.fields[detail]}", markup=False, table_column=Column()
        ),  # wraps on a narrow terminal
    )
    console = Console(stderr=True, soft_wrap=True)  # what is printed meanwhile keeps its lines, however long
    if not console.is_terminal:  # no width to keep to
        console.width = max(console.width, _FILE_WIDTH)
    # On a terminal, what is printed meanwhile appears above the bars; a file gets it unchanged.
    redirected = sys.stdout.isatty()
    bars = Bars(*columns, console=console, redirect_stdout=redirected, transient=latest_only)
    tasks: dict[str, TaskID] = {}

    def update(now: Progress) -> None:
        bars.start()
        fields = _fields(now)
        if now.stage not in tasks:
            if len(tasks) == (1 if latest_only else _MAX_BARS):
                bars.remove_task(tasks.pop(next(iter(tasks))))
            tasks[now.stage] = bars.add_task(now.stage, total=None, **fields)
        bars.update(tasks[now.stage], completed=now.done, total=now.total, **fields)

    try:
        yield update
    finally:
        if tasks:
            bars.stop()


def _fields(now: Progress) -> dict[str, Any]:
    """Return the texts of the columns behind a bar: "50 %", "90/s", "0:00:12", "loss 0.1"."""
    remaining = f"{timedelta(seconds=round(now.remaining))}" if now.remaining else ""
    if now.unit == "bytes":
        rate = f"{now.rate / 1e6:,.1f} MB/s" if now.rate else ""
    else:
        rate = as_rate(now.rate) if now.rate else ""
    share = percent(now.done / now.total, 0) if now.total else ""
    return {"share": share, "rate": rate, "left": remaining, "detail": visible(now.detail)}
