"""The notebooks run from top to bottom, one after the other in one folder, and are kept without outputs."""

import ast
import csv
import json
import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from PIL import Image

from tests.helpers.html import tags_of
from tests.helpers.xray_vision import random_densenet, save, torchxrayvision_named
from thorax.checkpoints.torchxrayvision import WEIGHTS
from thorax.recipe.load import load_recipe

ROOT = Path(__file__).parents[1]
NOTEBOOKS = {path.stem: json.loads(path.read_text()) for path in (ROOT / "notebooks").glob("*.ipynb")}

SHORTER = {
    "patients=300, size=256": "patients=60, size=128",
    '"training.epochs=6"': '"training.epochs=2", "schedule.warmup_epochs=1"',
}
"""What is replaced, so that the notebooks run in seconds: everything else runs as written."""


def cells(name, kind):
    return ["".join(cell["source"]) for cell in NOTEBOOKS[name]["cells"] if cell["cell_type"] == kind]


def run_cell(source, names):
    """Run a cell, and return the value of its last line if that is an expression."""
    *before, last = ast.parse(source).body
    if not isinstance(last, ast.Expr):
        before, last = [*before, last], None
    exec(compile(ast.Module(before, []), "notebook.ipynb", "exec"), names)
    return last and eval(compile(ast.Expression(last.value), "notebook.ipynb", "eval"), names)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One folder for all notebooks, so that the phantoms, a store and a run are made once."""
    return tmp_path_factory.mktemp("notebooks")


@pytest.fixture
def run_notebook(folder, monkeypatch):
    """Runs a notebook as written, but for what `SHORTER` replaces; gives its names and what it displays."""
    monkeypatch.chdir(folder)
    mpl.use("Agg")

    def run(name):
        program = "\0".join(cells(name, "code"))
        for long, short in SHORTER.items():
            program = program.replace(long, short)
        names: dict[str, object] = {}
        values = [run_cell(source, names) for source in program.split("\0")]
        for value in values:
            if isinstance(value, Image.Image):
                value.load()  # as a notebook that shows it; this closes the file
        plt.close("all")
        return names, [value for value in values if value is not None]

    return run


def pages(shown):
    """Return what Thorax displays as HTML; pandas does its own."""
    own = [value for value in shown if type(value).__module__.startswith("thorax.")]
    return [value._repr_html_() for value in own if hasattr(value, "_repr_html_")]


# ---- as they are kept ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_is_kept_without_outputs(name):
    code = [cell for cell in NOTEBOOKS[name]["cells"] if cell["cell_type"] == "code"]
    assert [cell["outputs"] for cell in code] == [[] for _ in code]
    assert {cell["execution_count"] for cell in code} == {None}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_its_links_lead_somewhere(name):
    links = re.findall(r"\]\(([^)\s]+)\)", "\n".join(cells(name, "markdown")))
    assert [link for link in links if not (ROOT / "notebooks" / link).exists()] == []


def test_each_step_of_the_quickstart_is_one_line():
    _, *steps = cells("quickstart", "code")
    assert [source for source in steps if "\n" in source] == [
        "if not source.exists():\n    write_phantoms(source, patients=300, size=256)"
    ]


def test_the_replaced_settings_occur():
    everything = "\n".join(source for name in NOTEBOOKS for source in cells(name, "code"))
    assert [long for long in SHORTER if long not in everything] == []


def test_the_comparison_with_torchxrayvision_begins_with_where_it_means_nothing():
    first = NOTEBOOKS["torchxrayvision"]["cells"][0]
    text = "".join(first["source"])
    assert first["cell_type"] == "markdown"
    assert "random weights under TorchXRayVision's names, so its figures mean nothing there" in text
    assert "torchxrayvision.models.DenseNet(weights='densenet121-res224-pc')" in text
    assert WEIGHTS["densenet121-res224-pc"].file in text


def test_the_documentation_names_every_notebook():
    text = (ROOT / "docs" / "python.md").read_text()
    assert [name for name in NOTEBOOKS if f"](../notebooks/{name}.ipynb)" not in text] == []


# ---- run ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_quickstart(run_notebook, folder):
    _, shown = run_notebook("quickstart")
    assert len(pages(shown)) >= 5
    for page in pages(shown):
        assert "table" in tags_of(page) or "svg" in tags_of(page)
    assert (folder / "report/report.html").is_file()


@pytest.mark.slow
def test_the_data(run_notebook, folder):
    names, shown = run_notebook("data")
    sheets = [value for value in shown if isinstance(value, Image.Image)]
    assert [sheet.filename for sheet in sheets] == ["sheet.png", "effusions.png"]
    assert min(min(sheet.size) for sheet in sheets) > 3 * 224
    assert 1 in [
        value for value in shown if isinstance(value, int | np.integer)
    ]  # parts that share a patient
    tested = set((folder / "phantoms/test_list.txt").read_text().split())
    with (folder / "phantoms/Data_Entry_2017_v2020.csv").open() as file:
        labels = {row["Image Index"]: row["Finding Labels"].split("|") for row in csv.DictReader(file)}
    counted = np.mean(["Effusion" in labels[image] for image in tested])
    assert names["prevalence"].loc["Effusion", "test"] == pytest.approx(counted)
    assert set(names["prevalence"].columns) == {"train", "val", "test"}


@pytest.mark.slow
def test_training(run_notebook, folder):
    names, shown = run_notebook("training")
    assert len(pages(shown)) >= 4
    assert load_recipe(str(folder / "run-focal/recipe.toml")).loss.kind == "focal"
    (pair,) = names["comparison"].comparison.pairs
    assert {pair.model, pair.baseline} == {"run", "run-focal"}
    tables = [value for value in shown if isinstance(value, pd.DataFrame)]
    rules = ["f1-optimal", "sensitivity-90", "one-half"]
    (thresholds,) = [table for table in tables if list(table.columns) == rules]
    assert len(thresholds) == 14
    assert thresholds.notna().any().all()


@pytest.mark.slow
def test_explanation(run_notebook, folder):
    names, shown = run_notebook("explanation")
    overlay, maps = [value for value in shown if isinstance(value, Image.Image)]
    assert overlay.size == (128, 128)
    assert maps.width > 4 * 128  # the radiograph and four maps
    x, y, width, _ = (round(names["scale"] * side) for side in names["box"])
    assert overlay.getpixel((min(x + width // 2, 127), min(y, 127))) == (255, 255, 255)
    measured = names["localization"].localization
    assert [scores.name for scores in measured.methods] == ["cam", "grad-cam++", "layer-cam"]
    assert len(pages(shown)) >= 3


@pytest.mark.slow
def test_the_comparison_with_torchxrayvision(run_notebook, folder):
    """With random weights in a file that TorchXRayVision's own class was pickled into."""
    with torchxrayvision_named():
        save(random_densenet(), folder / WEIGHTS["densenet121-res224-pc"].file)
    names, shown = run_notebook("torchxrayvision")
    imported = names["imported"].bundle
    assert imported.manifest.members[0].provenance.source.startswith(
        "TorchXRayVision's densenet121-res224-pc"
    )
    assert imported.manifest.operating_points.thresholds["Atelectasis"] == 0.031012505
    assert set(imported.findings) == set(names["ours"].findings)
    assert names["ours"].images == names["theirs"].images
    (pair,) = names["comparison"].comparison.pairs
    aucs = {
        finding.finding.name: finding.auc.value for finding in names["theirs"].evaluation.ranking.findings
    }
    assert len(pair.findings) == len(aucs) == 14
    assert len(pages(shown)) >= 4
