"""The command `thorax`: its verbs, and how errors become messages and exit codes."""

import os
import sys
from typing import Annotated

import typer

import thorax
from thorax.cli.audit import audit
from thorax.cli.calibrate import calibrate
from thorax.cli.card import card
from thorax.cli.compare import compare
from thorax.cli.ensemble import ensemble
from thorax.cli.evaluate import evaluate
from thorax.cli.explain import explain
from thorax.cli.export import export
from thorax.cli.import_ import import_
from thorax.cli.localize import localize
from thorax.cli.phantom import phantom
from thorax.cli.predict import predict
from thorax.cli.prepare import prepare
from thorax.cli.recipes import recipes_app
from thorax.cli.train import train
from thorax.errors import ThoraxError

__all__ = ["app", "main"]

app = typer.Typer(
    help="Chest radiograph classification that is honest, fast and ready for work. Not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    phantom, prepare, train, evaluate, compare, audit, predict, explain, localize,
    calibrate, ensemble, export, card,
):  # fmt: skip
    app.command()(command)
app.command("import")(import_)
app.add_typer(recipes_app, name="recipes")


def _print_version(wanted: bool) -> None:  # noqa: FBT001  (typer calls it with the option's value)
    if wanted:
        typer.echo(f"thorax {thorax.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Hold the options that belong to no verb."""


def main() -> None:
    """Run the command line; a Thorax error becomes one message and its exit code."""
    # Arrow's own allocator keeps what reading the tables took: 36 MiB of 97 for 112,120 rows.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    try:
        app()
    except ThoraxError as error:
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        # A full disk, a folder that may not be written: the system's own words, with the file.
        typer.echo(f"{error.strerror or error}: {error.filename or 'no file named'}", err=True)
        sys.exit(ThoraxError.exit_code)
