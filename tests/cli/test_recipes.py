import json
import tomllib

import pytest
import typer
from typer.testing import CliRunner

from thorax.cli.recipes import recipes_app
from thorax.errors import RecipeError
from thorax.recipe.load import load_recipe, shipped_recipes


@pytest.fixture
def run():
    """The sub-command as a user reaches it, on a terminal of 80 columns."""
    app = typer.Typer()
    app.add_typer(recipes_app, name="recipes")

    @app.command()
    def other() -> None: ...

    def invoke(*arguments: str) -> str:
        done = CliRunner(env={"COLUMNS": "80"}).invoke(app, ["recipes", *arguments])
        if done.exception is not None:
            raise done.exception
        return done.stdout

    return invoke


def test_the_list_has_one_line_for_each_recipe(run):
    lines = run().splitlines()
    assert max(len(line) for line in lines) <= 80
    for name in shipped_recipes():
        recipe = load_recipe(name)
        line = next(line for line in lines if line.split()[:1] == [name])
        assert recipe.summary in line
        assert line.rstrip().endswith("none" if recipe.model.weights == "none" else "download")


def test_the_list_as_json(run):
    listed = json.loads(run("--json"))
    assert [each["name"] for each in listed] == list(shipped_recipes())
    chexnet = next(each for each in listed if each["name"] == "chexnet")
    assert chexnet["weights"] == "timm:tv_in1k"
    assert chexnet["store"] == {"size": 224, "fit": "pad"}
    assert len(chexnet["findings"]) == 14


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_recipe_is_shown_as_it_is_shipped(run, name):
    assert run("show", name) == shipped_recipes()[name]


def test_with_settings_every_value_is_shown(run, tmp_path):
    text = run("show", "chexnet", "--set", "optim.lr=3e-4", "--set", "training.epochs=2")
    assert "#" not in text
    values = tomllib.loads(text)
    assert values["optim"]["lr"] == 3e-4
    assert values["optim"]["betas"] == [0.9, 0.999], "defaults are written out"
    path = tmp_path / "mine.toml"
    path.write_text(text)
    assert load_recipe(str(path)) == load_recipe("chexnet", ["optim.lr=3e-4", "training.epochs=2"])
    assert run("show", str(path)) == text


def test_a_wrong_name_or_setting_names_the_nearest(run):
    with pytest.raises(RecipeError, match=r"no recipe 'chexnett'; did you mean chexnet"):
        run("show", "chexnett")
    with pytest.raises(RecipeError, match=r"did you mean optim\.lr\?"):
        run("show", "chexnet", "--set", "optim.lrr=1")
