"""Tables in the terminal: no row becomes two lines, and no word is broken, in any width."""

import shutil
import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

from thorax.cli.output import say, say_styled
from thorax.quoting import visible

__all__ = ["print_table"]

_ENDLESS: Final = 1_000_000
"""Columns of a file or pipe, unless the variable COLUMNS says otherwise."""

_STYLES: Final = {"yes": "1;33", "not decided": "33", "no": "2"}
"""How a terminal shows decisions: bold, yellow and faint."""


def print_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "", path: str = ""
) -> None:
    """Print a table; the first column is text, the others are numbers.

    Columns that do not fit beside the first are printed below, as a table of their own with the same first
    column.

    Args:
        header: The columns' heads.
        rows: One cell per column.
        title: A text above the table, broken between words.
        path: The name of a file above the table, never broken.
    """
    width = shutil.get_terminal_size((_ENDLESS, 24)).columns
    if path:
        say(visible(path))
    for line in title.splitlines():
        say("\n".join(_lines(visible(line), width)))
    cells = [[visible(cell) for cell in row] for row in (header, *rows)]
    if not any(cells):
        return
    widths = [max(_length(row[column]) for row in cells) for column in range(len(header))]
    for columns, gap in _parts(widths, width):
        say("")
        head, *body = (_pieces(row, columns, widths, gap) for row in cells)
        say_styled([(text, "1") for text, _ in head])
        say("\N{BOX DRAWINGS LIGHT HORIZONTAL}" * sum(_length(text) for text, _ in head))
        for row in body:
            say_styled(row)
    say("")


def _parts(widths: Sequence[int], width: int) -> Iterator[tuple[list[int], int]]:
    """Yield the columns of each part of a table, and the gap between them."""
    for gap in (3, 2, 1):
        if sum(widths) + gap * (len(widths) - 1) <= width:
            yield list(range(len(widths))), gap
            return
    columns, used = [0], widths[0]
    for column in range(1, len(widths)):
        if len(columns) > 1 and used + 2 + widths[column] > width:
            yield columns, 2
            columns, used = [0], widths[0]
        columns.append(column)
        used += 2 + widths[column]
    yield columns, 2


def _pieces(
    row: Sequence[str], columns: Sequence[int], widths: Sequence[int], gap: int
) -> list[tuple[str, str]]:
    """Return what a line consists of, with the style of each piece."""
    pieces = []
    for column in columns:
        space = " " * (widths[column] - _length(row[column]))
        cell = (row[column], _STYLES.get(row[column], ""))
        pieces += [(" " * gap + space, ""), cell] if column else [cell, (space, "")]
    return pieces


def _lines(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]


def _length(text: str) -> int:
    """Return the columns that a text takes in a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
