"""`thorax runs`: list training runs."""

from pathlib import Path
from typing import Annotated

import typer

from thorax.cli.output import say, say_json

__all__ = ["runs"]


def runs(
    folder: Annotated[
        Path, typer.Argument(help="A folder that has runs in it, at any depth, also at s3://.")
    ] = Path(),
    json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list, with more about each run.")
    ] = False,
) -> None:
    """List training runs with recipe, split, epochs, best validation AUC and state."""
    from thorax.atomic_io import is_remote
    from thorax.workflows.runs import list_runs, run_json, runs_lines

    entries = list_runs(folder)
    if json:
        say_json([run_json(entry) for entry in entries])
        return
    if not entries:
        say(f"no runs in {folder}", err=True)
        return
    for line in runs_lines(entries, below=folder):
        say(line)
    say("\nBest AUC: mean on validation (epoch); not a result, as it is the best of several")
    if is_remote(folder) and any(entry.state == "unfinished" for entry in entries):
        say("unfinished: or trained on another machine now, of which the storage does not know")
    for entry in entries:
        if entry.problem:
            say(entry.problem, err=True)
