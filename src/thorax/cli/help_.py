"""`thorax help`: the help of a command."""

from typing import Annotated

import typer

__all__ = ["help_"]


def help_(
    command: Annotated[list[str] | None, typer.Argument(help="The command; all are listed without.")] = None,
) -> None:
    """Explain a command, like its --help."""
    from thorax.cli.main import show_help

    show_help(command or [])
