"""One row: run what it names, and look at the outcome."""

import importlib
import re
from typing import Any

import pytest

from tests.source_projects.rows import Row, read_table
from tests.source_projects.workshop import Workshop


def cases(*, in_folder: bool) -> list[Any]:
    """The rows that run commands in the shared folder, or the others."""
    rows = [row for row in read_table().rows if row.state != "not yet" and needs_folder(row) == in_folder]
    return [pytest.param(row, id=row.id) for row in rows]


def needs_folder(row: Row) -> bool:
    """Whether the row needs the phantoms, stores and runs that `Table.setup` makes."""
    return bool(row.run or row.type) or row.check.startswith(("data.", "downloads.", "page."))


def show(row: Row, workshop: Workshop) -> None:
    """Run a row; an exception says that it does not hold."""
    if row.run:
        output = workshop.show(row)
        for pattern in row.prints:
            assert re.search(pattern, output), f"{pattern!r} is not in\n{output}"
    check = row.check or ("recipes.values" if row.recipe and row.source else "")
    if check:
        module, _, name = check.partition(".")
        getattr(importlib.import_module(f"tests.source_projects.checks.{module}"), name)(row, workshop)
    for name in row.writes:
        assert (workshop.folder / name).stat().st_size > 0
