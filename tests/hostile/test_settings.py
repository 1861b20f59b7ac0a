"""TOML that strangers wrote."""

import pytest

from thorax.datasets.download import load_source
from thorax.errors import DataError, RecipeError
from thorax.pacs.node.rules import load_rules
from thorax.project import read_project
from thorax.recipe.load import load_recipe
from thorax.studies.definition import load_study
from thorax.tuning.space import load_space

DEEP = "[train]\ndevice = " + "[" * 5_000 + "]" * 5_000 + "\n"


readers = pytest.mark.parametrize(
    ("read", "kind"),
    [
        (lambda path: load_recipe(str(path)), RecipeError),
        (lambda path: load_space(load_recipe("small-cpu"), path), RecipeError),
        (lambda path: load_study(str(path)), RecipeError),
        (load_rules, RecipeError),
        (lambda path: load_source("nih", path), DataError),
        (lambda path: read_project(path.parent, commands=["train"]), RecipeError),
    ],
    ids=["recipe", "space", "study", "rules", "addresses", "project"],
)


@readers
def test_a_file_of_more_than_a_mebibyte_is_refused(tmp_path, read, kind):
    """Neither read whole, however large it is, nor cut."""
    path = tmp_path / "thorax.toml"
    with path.open("wb") as file:
        file.write(b"# ")
        file.truncate(3 << 30)  # without taking room on the disk
    with pytest.raises(kind, match=r"thorax\.toml cannot be read as .*more than 1,048,576 bytes"):
        read(path)


@readers
@pytest.mark.parametrize(
    ("text", "reason"),
    [(DEEP, "nested too deep"), (f"seeds = 1{5_000 * '0'}\n", "a number has too many digits")],
    ids=["nested without end", "a number without end"],
)
def test_what_python_does_not_parse_is_refused(tmp_path, read, kind, text, reason):
    """Python's parser calls itself for each bracket, and refuses numbers of more than 4,300 digits."""
    path = tmp_path / "thorax.toml"
    path.write_text(text)
    with pytest.raises(kind, match=rf"thorax\.toml .*TOML.*{reason}"):
        read(path)


def test_an_override_nested_without_end_is_text():
    with pytest.raises(RecipeError, match=r"optim\.lr"):
        load_recipe("small-cpu", [f"optim.lr={'[' * 5_000}"])
