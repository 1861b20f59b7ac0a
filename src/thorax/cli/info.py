"""`thorax info`: say what a path holds."""

from pathlib import Path
from typing import Annotated

import typer

from thorax.cli.output import say, say_json

__all__ = ["info"]


def info(
    path: Annotated[
        Path,
        typer.Argument(help="A bundle, run, store, report, recipe, CSV, image or DICOM file, also at s3://."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what a path holds, and what is known about it; never anything about a patient."""
    from thorax.inspection import info as inspect

    known = inspect(path)
    if as_json:
        say_json(known.as_json(), indent=1)
        return
    for line in known.lines():
        say(line)
    for warning in known.warnings:
        say(f"warning: {warning}", err=True)
    if known.next_step:
        say(f"next: {known.next_step}")
