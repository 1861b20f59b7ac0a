"""docs/api.md is what the docstrings say, and its examples run."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.dicom_writing import written
from tests.helpers.studies import PATIENT
from thorax.datasets.phantom import write_phantoms

DOCS = Path(__file__).parents[1] / "docs"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", (DOCS / "api.md").read_text(), re.DOTALL | re.MULTILINE)


def test_the_file_is_what_the_docstrings_say():
    assert (
        subprocess.run(
            [sys.executable, DOCS.parent / "tools" / "generate_api.py", "--check"], check=False
        ).returncode
        == 0
    )


STUDY = """
name = "mine"
summary = "One recipe, for its example"
recipes = ["small-cpu"]
seeds = [0]
data.phantoms.splits = ["folder-official"]
settings.training.epochs = 1
"""


@pytest.mark.slow
def test_every_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_phantoms(tmp_path / "nih", patients=60, size=128)
    image = min((tmp_path / "nih/images").glob("*.png"))
    shutil.copy(image, "chest.png")
    with Image.open(image) as opened:
        Path("chest.dcm").write_bytes(written(np.asarray(opened), bits=8, **PATIENT))
    shutil.copytree("nih/images", "folder", ignore=lambda _, names: sorted(names)[4:])
    Path("folder/notes.txt").write_text("not an image")
    Path("mine.toml").write_text(STUDY)
    names: dict[str, object] = {}
    assert any('"training.epochs=5"' in example for example in EXAMPLES)
    for example in EXAMPLES:
        shorter = example.replace('"training.epochs=5"', '"training.epochs=2", "schedule.warmup_epochs=1"')
        exec(compile(shorter, "docs/api.md", "exec"), names)
    assert len(EXAMPLES) >= 20
    assert Path("report/report.html").is_file()
    assert Path("effusion.png").is_file()
