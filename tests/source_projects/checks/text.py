"""Files of the repository, and what its Makefile does."""

import json
import re
import subprocess
from pathlib import Path

from tests.source_projects.rows import Row
from tests.source_projects.workshop import Workshop

ROOT = Path(__file__).parents[3]


def files(row: Row, workshop: Workshop) -> None:
    """Each file is there and has the text."""
    for name, pattern in row.source["files"].items():
        assert re.search(pattern, (ROOT / name).read_text(encoding="utf-8")), f"{name}: {pattern}"


def notebooks(row: Row, workshop: Workshop) -> None:
    """Notebooks whose code is Python, without outputs."""
    found = sorted((ROOT / row.source["folder"]).glob("*.ipynb"))
    assert found
    for path in found:
        cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
        assert cells
        assert not any(cell["outputs"] for cell in cells), path.name
        for cell in cells:
            lines = [line for line in cell["source"] if not line.lstrip().startswith(("%", "!"))]
            compile("".join(lines), path.name, "exec")


def make_install(row: Row, workshop: Workshop) -> None:
    """`make install` would make an environment and install into it."""
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", "install"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for word in row.source["needs"]:
        assert word in done.stdout
