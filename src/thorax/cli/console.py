"""What the verbs share on the terminal: progress bars on standard error, tables on standard output."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from thorax.progress import Progress, ProgressCallback

__all__ = ["print_table", "progress_bars"]

_MAX_BARS: Final = 4
"""Bars on the screen at once: a run of a hundred epochs shows the latest."""


@contextmanager
def progress_bars() -> Iterator[ProgressCallback]:
    """Draw a bar for each stage of some work, with its rate and the time left; yield what is to be called."""
    # Only here: `predict` prints a table, and this takes 20 ms to import.
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:,.0f} {task.fields[unit]}/s"),
        TextColumn("{task.fields[left]} left"),
        TextColumn("{task.fields[detail]}"),
    )
    # On a terminal, what is printed meanwhile goes above the bars; to a file, where it belongs.
    bars = Bars(*columns, console=Console(stderr=True), redirect_stdout=sys.stdout.isatty())
    tasks: dict[str, TaskID] = {}

    def update(now: Progress) -> None:
        bars.start()
        fields: dict[str, Any] = {
            "rate": now.rate,
            "unit": now.unit,
            "left": "..." if now.remaining is None else str(timedelta(seconds=round(now.remaining))),
            "detail": now.detail,
        }
        if now.stage not in tasks:
            tasks[now.stage] = bars.add_task(now.stage, total=None, **fields)
            if len(tasks) > _MAX_BARS:
                bars.remove_task(tasks.pop(next(iter(tasks))))
        bars.update(tasks[now.stage], completed=now.done, total=now.total, **fields)

    try:
        yield update
    finally:
        if tasks:
            bars.stop()


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> None:
    """Print a table; the first column is text, the others are numbers."""
    console = Console()
    # Text, not markup: a file may be called patient[1].png. Not wrapped: its path is there to be copied.
    if title:
        console.print(Text(title), soft_wrap=True)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(header):
        table.add_column(name, justify="right" if index else "left")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)
