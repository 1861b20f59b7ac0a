"""`thorax recipes`: list the shipped recipes, or show one."""

from typing import TYPE_CHECKING, Annotated, Any, no_type_check

import typer

from thorax.cli.help_text import Verb, Verbs
from thorax.cli.output import say, say_json

if TYPE_CHECKING:
    from thorax.recipe.schema import Recipe

__all__ = ["recipes_app"]

recipes_app = typer.Typer(
    cls=Verbs, rich_markup_mode=None, help="List the recipes that come with Thorax, or show one."
)


# Not checked at run time: typer passes an instance of the base class of its own annotation.
@recipes_app.callback(invoke_without_command=True)
@no_type_check
def _list(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List the recipes that come with Thorax, or show one."""
    if context.invoked_subcommand is None:
        _print_list(as_json=as_json)


@recipes_app.command("show", cls=Verb)
def _show(
    recipe: Annotated[str, typer.Argument(help="Name of a shipped recipe, or a TOML file.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a setting, e.g. optim.lr=3e-4. May be repeated."),
    ] = None,
) -> None:
    """Print a shipped recipe as it is; a file, or with --set, with the value of every setting."""
    from thorax.recipe.load import load_recipe, recipe_as_toml, shipped_recipes

    loaded = load_recipe(recipe, settings or ())
    shipped = shipped_recipes()
    as_shipped = not settings and recipe in shipped
    say(shipped[recipe] if as_shipped else recipe_as_toml(loaded), nl=False)


def _print_list(*, as_json: bool) -> None:
    from thorax.recipe.load import load_recipe, shipped_recipes

    shipped = [load_recipe(name) for name in shipped_recipes()]
    if as_json:
        _print_json(shipped)
        return
    _print_table(shipped)
    say(
        "Show one with thorax recipes show NAME. If weights cannot be downloaded, give\n"
        "them with --set model.weights=file:PATH."
    )


def _print_table(recipes: "list[Recipe]") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Narrow gaps, so that a summary of 46 characters fits one line of 80 columns.
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for header in ("Recipe", "What it is", "Weights"):
        table.add_column(header)
    for recipe in recipes:
        table.add_row(Text(recipe.name), Text(recipe.summary), _weights(recipe))
    Console().print(table)


def _weights(recipe: "Recipe") -> str:
    """Return in one word where the initial weights come from."""
    return "download" if recipe.model.weights.startswith("timm") else "none"


def _print_json(recipes: "list[Recipe]") -> None:

    listed: list[dict[str, Any]] = [
        {
            "name": recipe.name,
            "summary": recipe.summary,
            "source": recipe.source,
            "cost": recipe.cost,
            "backbone": recipe.model.backbone,
            "weights": recipe.model.weights,
            "input_size": recipe.model.input_size,
            "store": recipe.store.model_dump(),
            "findings": [finding.name for finding in recipe.data.finding_tuple()],
        }
        for recipe in recipes
    ]
    say_json(listed, indent=2)
