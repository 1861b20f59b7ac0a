"""TOML: recipes, search spaces, addresses of downloads, and a project's file."""

from importlib.resources import files
from pathlib import Path

from tests.long.targets.case import Context, Reader, tried
from tests.tuning.conftest import SPACE
from thorax.cli.main import VERBS
from thorax.datasets.download import load_source
from thorax.project import read_project
from thorax.recipe.load import load_recipe, shipped_recipes
from thorax.tuning.space import load_space

PROJECT = """
[paths]
store = "store"
run = "run"
[train]
device = "cpu"
set = ["optim.lr=1e-4"]
[predict]
json = true
"""


def write_samples(folder: Path) -> None:
    """Write the shipped recipes and addresses, a space, and a project's file."""
    for name in shipped_recipes():
        text = files("thorax.recipe").joinpath("library", f"{name}.toml").read_text(encoding="utf-8")
        (folder / f"recipe-{name}.toml").write_text(text)
    addresses = files("thorax.datasets.download").joinpath("addresses.toml").read_text(encoding="utf-8")
    (folder / "addresses.toml").write_text(addresses)
    (folder / "space.toml").write_text(SPACE)
    (folder / "thorax.toml").write_text(PROJECT)


def run(context: Context, number: int) -> tuple[dict[str, str], bytes]:
    """Read a case: a task of a `DecodePool`."""
    return tried(context, number, _read), b""


def _read(sample: str) -> tuple[str, Reader]:
    readers: dict[str, Reader] = {
        "addresses": lambda path: load_source("nih", path),
        "space": lambda path: load_space(load_recipe("small-cpu"), path),
        "thorax": lambda path: read_project(path.parent, commands=VERBS),
    }
    return sample, readers.get(sample.partition(".")[0], lambda path: load_recipe(str(path)))
