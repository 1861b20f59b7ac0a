"""Rows whose commands run in a folder of phantoms, stores and runs."""

import pytest

from tests.source_projects.rows import Row
from tests.source_projects.showing import cases, show
from tests.source_projects.workshop import Workshop


@pytest.fixture(scope="module")
def furnished(workshop: Workshop) -> Workshop:
    """The folder after the commands that the rows share."""
    workshop.set_up()
    return workshop


@pytest.mark.slow
@pytest.mark.parametrize("row", cases(in_folder=True))
def test_row(row: Row, furnished: Workshop) -> None:
    show(row, furnished)
