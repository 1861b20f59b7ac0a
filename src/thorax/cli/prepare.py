"""`thorax prepare`: from a data set's files to a store."""

from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = ["prepare"]


def prepare(
    source: Annotated[Path, typer.Argument(help="Folder in NIH's layout, or a CSV with a column 'path'.")],
    out: Annotated[Path, typer.Option(help="Folder of the store.")],
    recipe: Annotated[str | None, typer.Option(help="Make the store that this recipe wants.")] = None,
    size: Annotated[int | None, typer.Option(help="Side of the prepared images in pixels (256).")] = None,
    fit: Annotated[
        Literal["pad", "crop", "stretch"] | None, typer.Option(help="How an image becomes square (pad).")
    ] = None,
    view: Annotated[Literal["PA", "AP"] | None, typer.Option(help="Keep images of this view only.")] = None,
    dataset: Annotated[str, typer.Option(help="Name of the data set that a CSV describes.")] = "",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; as many as cores if not given.")
    ] = None,
) -> None:
    """Decode every image once into a store; stopped anywhere, the same command goes on."""
    from thorax.cli.console import progress_bar
    from thorax.datasets.sources import open_source
    from thorax.datasets.splits import registered_sha256
    from thorax.recipe.load import load_preparation
    from thorax.store import build_store

    preparation = load_preparation(recipe, size=size, fit=fit)
    found = open_source(source, view=view, dataset=dataset)
    for notice in found.notices:
        typer.echo(notice, err=True)
    sums = registered_sha256(found.whole, found.dataset)
    with progress_bar("preparing", unit="images") as progress:
        made = build_store(found, out, preparation, split_sha256=sums, workers=workers, progress=progress)
    typer.echo(f"{made.num_images:,} images of {preparation.size} x {preparation.size} pixels are in {out}")
    if made.num_rejected:
        typer.echo(
            f"{made.num_rejected:,} files could not be used; {out / 'rejected.csv'} says why", err=True
        )
        raise typer.Exit(4)
