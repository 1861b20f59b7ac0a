"""The page and its data: every row is there, is shown by something that can fail, and is written down."""

import subprocess
import sys
from pathlib import Path

from tests.source_projects.rows import KINDS, STATES, read_table
from tests.source_projects.showing import cases

ROOT = Path(__file__).parents[2]

EXPECTED = {"dannynet": 72, "customdensenet121": 17, "lastblock": 25, "chestxpert": 25, "efficientnet": 48}
"""Rows of each project, as they were counted in the projects themselves."""


def test_the_page_is_what_the_data_says():
    """`python tools/source_projects.py` writes it."""
    done = subprocess.run([sys.executable, ROOT / "tools" / "source_projects.py", "--check"], check=False)
    assert done.returncode == 0


def test_every_row_is_there_once():
    rows = read_table().rows
    assert {key: sum(row.project == key for row in rows) for key in EXPECTED} == EXPECTED
    assert len({row.id for row in rows}) == len(rows) == 187


def test_every_row_is_shown_by_something_that_can_fail():
    table = read_table()
    for row in table.rows:
        assert row.state in STATES
        assert row.kind in KINDS
        if row.state == "not yet":
            continue
        looked_at = row.check or row.prints or row.writes or (row.recipe and row.source)
        assert looked_at, f"{row.id}: nothing is checked"
        assert (row.kind == "text") == (row.check == "text.files"), row.id
        assert row.source or row.kind != "compared", f"{row.id}: there is nothing to compare with"
        if row.state != "works":
            assert row.because, f"{row.id}: {row.state}, but why?"
    assert len(cases(in_folder=True)) + len(cases(in_folder=False)) == sum(
        row.state != "not yet" for row in table.rows
    )


def test_a_project_takes_at_most_four_commands():
    for project in read_table().projects:
        assert 0 < len(project.steps) <= 4
        assert all(step.type.startswith("thorax ") and step.writes + step.prints for step in project.steps)
        assert any(
            step.type.startswith(f"thorax train {recipe} ")
            for step in project.steps
            for recipe in project.recipes
        )
