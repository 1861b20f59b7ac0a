"""`thorax phantom`: draw digital chest phantoms."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["phantom"]


def phantom(
    out: Annotated[Path, typer.Argument(help="Folder to draw into, laid out like NIH ChestX-ray14.")],
    patients: Annotated[int, typer.Option(min=1, help="Number of patients; each has one to several images.")],
    seed: Annotated[int, typer.Option(help="Another seed draws other patients.")] = 0,
    size: Annotated[int, typer.Option(help="Side of the images in pixels.")] = 256,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace phantoms that are there.")] = False,
) -> None:
    """Draw digital chest phantoms: for tests and demonstrations, where the right answer must be known."""
    from thorax.datasets.phantom import write_phantoms

    drawn = write_phantoms(out, patients=patients, seed=seed, size=size, overwrite=overwrite)
    typer.echo(f"{drawn.num_images:,} images of {drawn.num_patients:,} phantom patients are in {out}")
