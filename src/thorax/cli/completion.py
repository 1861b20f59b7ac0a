"""`thorax completion`: a shell's script that completes commands with the Tab key."""

from typing import Annotated, Literal

import typer

from thorax.cli.output import say

__all__ = ["completion"]


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], typer.Argument(help="The shell: bash, zsh or fish.")],
) -> None:
    """Print a script with which a shell completes commands, options and values."""
    from thorax.cli.completions import SCRIPTS

    say(SCRIPTS[shell], nl=False)
