"""What verbs print: lines and JSON, in which control characters of names and values are shown as escapes."""

import json
from typing import Any

import typer

from thorax.cli.streams import output_has_every_character
from thorax.quoting import json_visible, visible_lines

__all__ = ["say", "say_json"]


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print text to standard output, or to standard error; line breaks and tabs in it are kept."""
    typer.echo(visible_lines(text), err=err, nl=nl)


def say_json(value: Any, *, indent: int | None = None) -> None:
    """Print a value as JSON, in one line unless `indent` is set; NaN is refused."""
    ascii_only = not output_has_every_character()
    typer.echo(json_visible(json.dumps(value, indent=indent, ensure_ascii=ascii_only, allow_nan=False)))
