"""Rows that need no store: recipes beside the source's values, numbers beside other libraries'."""

import pytest

from tests.source_projects.rows import Row
from tests.source_projects.showing import cases, show
from tests.source_projects.workshop import Workshop


@pytest.mark.slow
@pytest.mark.parametrize("row", cases(in_folder=False))
def test_row(row: Row, workshop: Workshop) -> None:
    show(row, workshop)
