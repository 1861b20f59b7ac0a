"""What the verbs share on the terminal: progress bars on standard error, tables on standard output."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["print_table", "progress_bar"]


@contextmanager
def progress_bar(what: str, *, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar with rate and remaining time; call what is given with (done, total)."""
    # Only here: `predict` prints a table, and this takes 20 ms to import.
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=None, rate="")

        # What an earlier run did took no time of this one.
        start, before = time.monotonic(), -1

        def update(done: int, total: int) -> None:
            nonlocal before
            before = done - 1 if before < 0 else before
            rate = (done - before) / max(time.monotonic() - start, 1e-9)
            progress.update(task, completed=done, total=total, rate=f"{rate:,.0f} {unit}/s")

        yield update


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
