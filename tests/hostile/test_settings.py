"""TOML that strangers wrote."""

import pytest

from thorax.datasets.download import load_source
from thorax.errors import DataError, RecipeError
from thorax.project import read_project
from thorax.recipe.load import load_recipe
from thorax.tuning.space import load_space

DEEP = "[train]\ndevice = " + "[" * 5_000 + "]" * 5_000 + "\n"


@pytest.mark.parametrize(
    ("read", "kind"),
    [
        (lambda path: load_recipe(str(path)), RecipeError),
        (lambda path: load_space(load_recipe("small-cpu"), path), RecipeError),
        (lambda path: load_source("nih", path), DataError),
        (lambda path: read_project(path.parent, commands=["train"]), RecipeError),
    ],
    ids=["recipe", "space", "addresses", "project"],
)
def test_toml_nested_without_end_is_refused(tmp_path, read, kind):
    """Python's parser calls itself for each bracket."""
    path = tmp_path / "thorax.toml"
    path.write_text(DEEP)
    with pytest.raises(kind, match=r"thorax\.toml .*TOML.*recursion depth"):
        read(path)


def test_an_override_nested_without_end_is_text():
    with pytest.raises(RecipeError, match=r"optim\.lr"):
        load_recipe("small-cpu", [f"optim.lr={'[' * 5_000}"])
