"""The recipe of a run that is resumed: its own, which what the user gives must not contradict."""

import re
from pathlib import Path

from thorax.errors import RecipeError
from thorax.recipe.changes import changed_settings, describe_changes
from thorax.recipe.load import Settings, load_recipe, shipped_recipes
from thorax.recipe.schema import Recipe
from thorax.reporting.run_log import read_start
from thorax.run_files import RECIPE

__all__ = [
    "first_seed",
    "missing_recipe",
    "own_recipe",
    "records_test_curve",
    "resumed_recipe",
]


def own_recipe(folder: Path) -> Recipe | None:
    """Return the recipe of the run in a folder; None if there is none that has begun and can be read."""
    if not read_start(folder):
        return None
    try:
        return load_recipe(str(folder / RECIPE))
    except RecipeError:
        return None


def first_seed(folder: Path) -> Path:
    """Return the run with the lowest seed in a folder of several; where it would be if there is none."""
    numbered = {
        int(match[1]): path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if (match := re.fullmatch(r"seed-(\d+)", path.name)) and read_start(path)
    }
    return numbered[min(numbered)] if numbered else folder / "seed-0"


def missing_recipe(folder: Path | None) -> str:
    """Return why a recipe is needed, for a folder in which a run was to be resumed, or None for a new run."""
    if folder is None:
        return "a new run needs a recipe, such as small-cpu; give one, or set `resume` to continue a run"
    return f"{folder} does not hold a run that could be resumed; give a recipe to start one, or another `out`"


def records_test_curve(folder: Path) -> bool:
    """Return whether the run in a folder measures each epoch on the test part."""
    return bool(read_start(folder).get("test_curve"))


def resumed_recipe(own: Recipe, recipe: str | None, settings: Settings, *, folder: Path) -> Recipe:
    """Return the run's own recipe, if what is given does not contradict it.

    A shipped recipe of the run's name, without the settings that the run was started with, is not a
    contradiction: they need not be repeated.

    Args:
        own: The run's recipe.
        recipe: The recipe that is given, or None.
        settings: The settings that are given.
        folder: The run.

    Raises:
        RecipeError: Another recipe, a file with other settings, or another setting is given.
    """
    again = recipe is None or (recipe == own.name and recipe in shipped_recipes())
    given = load_recipe(str(folder / RECIPE) if again else str(recipe), settings)
    if given == own:
        return own
    if given.name != own.name:
        change = f"its recipe is {own.name}, not {given.name}"
    else:
        change = describe_changes(changed_settings(own, given))
    raise RecipeError(
        f"{folder} cannot be resumed with another recipe: {change}; leave out recipe and `settings` to "
        "continue with its own, or start again in another folder"
    )
