"""`thorax prepare`: from a data set's files to a store."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from thorax.recipe.literals import Fit

__all__ = ["prepare"]


def prepare(
    source: Annotated[Path, typer.Argument(help="Folder in NIH's layout, or a CSV with a column 'path'.")],
    out: Annotated[Path, typer.Option(help="Folder of the store.")],
    recipe: Annotated[str | None, typer.Option(help="Make the store that this recipe wants.")] = None,
    size: Annotated[int | None, typer.Option(help="Side of the prepared images in pixels (256).")] = None,
    fit: Annotated[Fit | None, typer.Option(help="How an image becomes square (pad).")] = None,
    view: Annotated[Literal["PA", "AP"] | None, typer.Option(help="Keep images of this view only.")] = None,
    dataset: Annotated[str, typer.Option(help="Name of the data set that a CSV describes.")] = "",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; as many as cores if not given.")
    ] = None,
) -> None:
    """Decode every image once into a store; stopped anywhere, the same command goes on."""
    from thorax.cli.console import progress_bars
    from thorax.workflows.prepare import prepare as prepare_store

    with progress_bars() as progress:
        made = prepare_store(
            source,
            out,
            recipe=recipe,
            size=size,
            fit=fit,
            view=view,
            dataset=dataset,
            workers=workers,
            progress=progress,
        )
    for notice in made.notices:
        typer.echo(notice, err=True)
    typer.echo(f"{made.num_images:,} images of {made.size} x {made.size} pixels are in {out}")
    if made.num_rejected:
        typer.echo(
            f"{made.num_rejected:,} files could not be used; {out / 'rejected.csv'} says why", err=True
        )
        raise typer.Exit(4)
