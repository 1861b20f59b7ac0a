"""What verbs print: lines and JSON, in which control characters of names and values are shown as escapes."""

import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any, Final

import typer

from thorax.cli.streams import output_has_every_character
from thorax.quoting import json_visible, visible_lines, with_addresses

__all__ = ["say", "say_json", "say_styled", "styled"]


_PROSE: Final = ("note: ", "warning: ", "audit, ")
"""How the lines begin that are broken between words."""

_COMMAND: Final = re.compile(r"`[^`]*`|\b(?:thorax|pip) [^,;:()]*|--[a-z-]+ [^\s,;()]+")
"""A command, or an option with its value."""

_GLUE: Final = "\N{WORD JOINER}"
"""Stands for a space at which a line is not broken."""


def say(text: str, *, err: bool = False, nl: bool = True, prose: bool = False) -> None:
    """Print text to standard output, or to standard error; line breaks and tabs in it are kept.

    A terminal breaks long lines anywhere, so that prose is broken here between words: notes, warnings and
    findings of the audit, and what `prose` says is such.
    """
    shown = with_addresses(visible_lines(text))
    if (prose or shown.startswith(_PROSE)) and (sys.stderr if err else sys.stdout).isatty():
        shown = "\n".join(map(_broken, shown.split("\n")))
    _echo(shown, err=err, nl=nl)


def _broken(line: str) -> str:
    """Return a line broken between words where the terminal ends, but in no command, as it may be copied."""
    width = shutil.get_terminal_size().columns
    whole = _COMMAND.sub(lambda command: command[0].replace(" ", _GLUE), line)
    lines = textwrap.fill(
        whole, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
    return lines.replace(_GLUE, " ")


def _echo(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Write text to standard output or standard error as they are now.

    Without `file`, typer would write to the buffer of the stream, past what rich puts in its place while bars
    are drawn, and so into a bar instead of above it.
    """
    typer.echo(text, file=sys.stderr if err else sys.stdout, nl=nl)


def say_styled(pieces: Sequence[tuple[str, str]]) -> None:
    """Print pieces of text in one line, each in its style, such as "1" for bold, or "" for none."""
    _echo("".join(styled(visible_lines(text), code) for text, code in pieces))


def styled(text: str, code: str) -> str:
    """Return text in a style of ANSI's, if standard output is a terminal that may show it."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stdout.isatty()
    return text if plain or not code else f"\x1b[{code}m{text}\x1b[0m"


def say_json(value: Any, *, indent: int | None = None) -> None:
    """Print a value as JSON, in one line unless `indent` is set; NaN is refused."""
    ascii_only = not output_has_every_character()
    _echo(json_visible(json.dumps(value, indent=indent, ensure_ascii=ascii_only, allow_nan=False)))
