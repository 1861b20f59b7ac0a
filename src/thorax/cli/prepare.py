"""`thorax prepare`: convert a data set's files into a store."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from thorax.atomic_io import is_remote
from thorax.cli.cluster_options import Address, Cores, Memory, Place, cluster_of
from thorax.cli.output import say
from thorax.objects.place import place_of
from thorax.recipe.literals import Fit

__all__ = ["prepare"]


def prepare(
    source: Annotated[
        Path,
        typer.Argument(
            help="Folder in NIH's layout, or with train/, val/ and test/; or a CSV. Also at s3://."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the store, also at s3://.")],
    recipe: Annotated[str | None, typer.Option(help="Prepare images as this recipe requires.")] = None,
    size: Annotated[
        int | None, typer.Option(help="Side of the prepared images in pixels; default: 256.")
    ] = None,
    fit: Annotated[Fit | None, typer.Option(help="How images become square; default: pad.")] = None,
    view: Annotated[
        Literal["PA", "AP"] | None, typer.Option(help="Keep only images of this view position.")
    ] = None,
    dataset: Annotated[str, typer.Option(help="Name of the data set that a CSV describes.")] = "",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Number of processes; default: one per core.")
    ] = None,
    engine: Place = "local",
    address: Address = None,
    cores: Cores = None,
    memory: Memory = None,
) -> None:
    """Decode every image once into a store. If interrupted, the same command resumes.

    With --engine ray, nodes make shards of 4,096 images; they need the source and the store's folder under
    the same paths.
    """
    from thorax.cli.progress_lines import bars_or_lines
    from thorax.wording import counted
    from thorax.workflows.prepare import prepare as prepare_store

    if engine == "ray" and workers is not None:
        raise typer.BadParameter("--workers is for this machine; with --engine ray, give --cores")
    cluster = cluster_of(engine, address, cores, memory)
    with bars_or_lines() as progress:
        store = prepare_store(
            source,
            out,
            recipe=recipe,
            size=size,
            fit=fit,
            view=view,
            dataset=dataset,
            workers=workers,
            cluster=cluster,
            progress=progress,
        )
    for notice in store.notices:
        say(notice, err=True)
    side, where = store.preparation.size, place_of(out) if is_remote(out) else out
    are = "is" if len(store) == 1 else "are"
    say(f"{counted(len(store), 'image')} of {side} x {side} pixels {are} in {where}")
    if store.num_rejected:
        say(
            f"{counted(store.num_rejected, 'file')} could not be used; {where / 'rejected.csv'} says why",
            err=True,
        )
        raise typer.Exit(4)
