"""The notebook runs from top to bottom, and is kept without outputs."""

import ast
import json
from pathlib import Path

import pytest

from tests.helpers.html import tags_of

NOTEBOOK = json.loads((Path(__file__).parents[1] / "notebooks/quickstart.ipynb").read_text())
CODE = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def run_cell(source, names):
    """Run a cell, and return the value of its last line if that is an expression."""
    *before, last = ast.parse(source).body
    if not isinstance(last, ast.Expr):
        before, last = [*before, last], None
    exec(compile(ast.Module(before, []), "quickstart.ipynb", "exec"), names)
    return last and eval(compile(ast.Expression(last.value), "quickstart.ipynb", "eval"), names)


def test_it_is_kept_without_outputs():
    cells = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    assert [cell["outputs"] for cell in cells] == [[] for _ in cells]
    assert {cell["execution_count"] for cell in cells} == {None}


def test_each_step_is_one_line():
    assert [source for source in CODE[1:] if "\n" in source] == []


SHORTER = {
    "patients=100, size=256": "patients=40, size=128",
    '"training.epochs=6"': '"training.epochs=2", "schedule.warmup_epochs=1"',
}


@pytest.mark.slow
@pytest.mark.usefixtures("shapes_unchecked")
def test_it_runs(tmp_path, monkeypatch):
    """As written, but for fewer and smaller images and fewer epochs."""
    monkeypatch.chdir(tmp_path)
    program = "\0".join(CODE)
    for long, short in SHORTER.items():
        assert long in program
        program = program.replace(long, short)
    names: dict[str, object] = {}
    shown = [value for source in program.split("\0") if (value := run_cell(source, names)) is not None]
    pages = [value._repr_html_() for value in shown if hasattr(value, "_repr_html_")]
    assert len(pages) >= 6
    for page in pages:
        assert "table" in tags_of(page) or "svg" in tags_of(page)
    assert (tmp_path / "report/report.html").is_file()
