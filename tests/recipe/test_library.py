"""The shipped recipes: whole, with their sources, and changed as their comments say."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from thorax.findings import NIH14
from thorax.recipe.load import load_recipe, recipe_sha256, shipped_recipes, write_recipe
from thorax.recipe.schema import Head

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
PUBLISHED = tuple(name for name in shipped_recipes() if name != "small-cpu")
"""The recipes whose settings have a source, which their own files name."""


def comments(name: str) -> list[str]:
    lines = shipped_recipes()[name].splitlines()
    return [line.removeprefix("#").strip() for line in lines if line.startswith("#")]


def offered(name: str) -> list[list[str]]:
    """Return what each comment of a recipe says to --set."""
    words = [shlex.split(re.sub(r"^.*?(--set)", r"\1", line)) for line in comments(name) if "--set " in line]
    return [
        [line[index + 1].rstrip(",;)") for index, word in enumerate(line[:-1]) if word == "--set"]
        for line in words
    ]


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_every_recipe_has(name):
    recipe, text = load_recipe(name), shipped_recipes()[name]
    assert recipe.name == name
    assert recipe.data.split == "nih-official"
    assert 0 < len(recipe.summary) <= 75
    assert recipe.source
    assert recipe.cost
    assert "# ours" in text
    assert text.startswith(
        f"# thorax prepare SRC --recipe {name} --out STORE\n# thorax train {name} --store STORE --out RUN\n"
    )
    if recipe.model.weights != "none":
        assert recipe.model.channels == 3, "published weights see three channels"
        assert (recipe.model.mean, recipe.model.std) == (IMAGENET if name != "vit-b16" else ((0.5,), (0.5,)))


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_round_trip_keeps_everything(name, tmp_path):
    recipe = load_recipe(name)
    write_recipe(recipe, tmp_path / "again.toml")
    again = load_recipe(str(tmp_path / "again.toml"))
    assert (again, recipe_sha256(again)) == (recipe, recipe_sha256(recipe))


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_the_comments_say_to_set_can_be_set(name):
    plain = load_recipe(name)
    for settings in offered(name):
        assert load_recipe(name, settings) != plain, settings


def test_the_subsets_of_custom_densenet121_have_six_and_seven_findings():
    sizes = []
    for settings in offered("custom-densenet121"):
        if settings[0].startswith("data.findings"):
            findings = load_recipe("custom-densenet121", settings).data.finding_tuple()
            assert set(findings) < set(NIH14)
            sizes.append(len(findings))
    assert sizes == [6, 7]
    assert load_recipe("custom-densenet121").data.finding_tuple() == NIH14


@pytest.mark.parametrize("name", ["densenet121-512", "modern"])
def test_our_own_recipes_mark_every_choice(name):
    """Only the constants that belong to the weights, and the heads of sections, carry no mark."""
    for line in shipped_recipes()[name].splitlines():
        key = line.partition("=")[0].strip()
        if "=" not in line or line.startswith("#") or key in {"name", "summary", "source", "cost"}:
            continue
        assert "# ours" in line or key in {"mean", "std"}, line


@pytest.mark.parametrize("name", PUBLISHED)
def test_no_setting_stands_by_default_alone(name):
    """What decides a run is written down, so that a change of a default changes no recipe."""
    values = tomllib.loads(shipped_recipes()[name])
    wanted = {
        "data": {"findings", "split"},
        "store": {"size"},
        "model": {"backbone", "weights", "channels", "input_size", "mean", "std"},
        "loss": {"kind"},
        "optim": {"kind", "lr", "weight_decay"},
        "schedule": {"kind"},
        "training": {"epochs", "batch_size", "seed"},
        "selection": {"metric", "operating_point"},
    }
    for section, keys in wanted.items():
        assert keys <= values[section].keys(), section


def test_the_last_block_learns_as_in_its_notebook():
    recipe = load_recipe("densenet121-last-block")
    assert (recipe.optim.kind, recipe.optim.lr, recipe.optim.weight_decay) == ("adam", 1e-3, 1e-4)
    assert (recipe.schedule.kind, recipe.schedule.patience, recipe.schedule.factor) == ("plateau", 3, 0.1)
    assert (recipe.early_stopping.metric, recipe.early_stopping.patience) == ("loss", 5)
    assert (recipe.training.batch_size, recipe.training.seed, recipe.training.epochs) == (16, 42, 100)
    augment = recipe.augment
    assert (augment.flip, augment.rotate, augment.translate, augment.shear) == (0.5, 5, 0.02, 5)
    assert augment.zoom == (0.95, 1.05)
    assert recipe.freeze.trained == ("stage4",)
    assert recipe.model.head == Head(pool="lse", lse_r=10.0)


@pytest.mark.parametrize("name", ["chexnet", "dannynet", "vit-b16"])
def test_the_views_are_those_of_the_source(name):
    assert load_recipe(name).data.views == ("PA", "AP")


def test_the_commands_of_the_documentation_load():
    text = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text().replace("\\\n", " ")
    commands = [shlex.split(line) for line in text.splitlines() if line.startswith("thorax train ")]
    shipped = [command for command in commands if command[2] in PUBLISHED]
    assert len(shipped) >= 5
    for command in shipped:
        settings = [command[index + 1] for index, word in enumerate(command) if word == "--set"]
        assert (load_recipe(command[2], settings) != load_recipe(command[2])) == bool(settings)


def test_the_documentation_names_every_recipe():
    text = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()
    assert {name for name in shipped_recipes() if f"| `{name}` |" in text} == set(shipped_recipes())
