"""Each project as its author would run it: the commands of the page, on phantoms."""

import json
import re
from pathlib import Path

import pytest

from tests.helpers.gates import quick_gates
from tests.helpers.service import running
from tests.source_projects.checks import torchxrayvision
from tests.source_projects.rows import Project, read_table
from tests.source_projects.workshop import Workshop

CASES = [
    pytest.param(project, recipe, id=f"{project.key}-{recipe}")
    for project in read_table().projects
    for recipe in project.recipes
]


@pytest.mark.slow
@pytest.mark.parametrize(("project", "recipe"), CASES)
def test_project(project: Project, recipe: str, tmp_path: Path) -> None:
    """The commands as they are written, but for settings that make the training small."""
    folder = Workshop(tmp_path)
    folder.run("thorax phantom nih --patients 60 --size 64")
    first = next(iter(project.recipes))
    for step in project.steps:
        command = step.type.replace(first, recipe).replace("nih-official", "folder-official")
        if "xrv.pt" in command:
            torchxrayvision.imported(tmp_path)
        output = served(tmp_path) if command == "thorax serve run" else folder.run(smaller(command, project))
        for pattern in step.prints:
            assert re.search(pattern, output), f"{pattern!r} is not in\n{output}"
        for name in step.writes:
            assert (tmp_path / name).stat().st_size > 0


def smaller(command: str, project: Project) -> str:
    """The command with the settings that make it take seconds."""
    for recipe, settings in project.recipes.items():
        if command.startswith(f"thorax train {recipe} "):
            return f"{command} {settings}"
    return f"{command} --resamples 50" if re.match("thorax (evaluate|compare) ", command) else command


def served(folder: Path) -> str:
    """What the page answers for a phantom."""
    content = next((folder / "nih" / "images").iterdir()).read_bytes()
    with running(bundle=folder / "run") as service:
        return service.post("/v1/predict", content).body.decode()


@pytest.mark.slow
def test_the_two_commands_that_would_measure_accuracy(
    nih_sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of docs/recipes.md, on real images, for one epoch and with two seeds instead of five."""
    quick_gates(monkeypatch)
    small = read_table().expand("$DENSE").replace("folder-official", "nih-official")
    folder = Workshop(tmp_path)
    folder.run(f"thorax prepare {nih_sample} --size 64 --out store")
    folder.run(f"thorax train chexnet --store store --out runs --seeds 2 {small}")
    folder.run("thorax evaluate runs/seed-42 --store store --out report --resamples 50")
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert (metrics["split"]["name"], metrics["num_images"]) == ("nih-official", 138)
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["seed-42", "seed-43"]
