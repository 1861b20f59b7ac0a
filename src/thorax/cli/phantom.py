"""`thorax phantom`: draw digital chest phantoms."""

from pathlib import Path
from typing import Annotated

import typer

from thorax.cli.output import say

__all__ = ["phantom"]


def phantom(
    out: Annotated[Path, typer.Argument(help="Folder to write, laid out like NIH ChestX-ray14.")],
    patients: Annotated[int, typer.Option(min=1, help="Number of patients, with one or more images each.")],
    seed: Annotated[int, typer.Option(help="Seed that the patients are drawn with.")] = 0,
    size: Annotated[int, typer.Option(help="Side of the images in pixels.")] = 256,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing phantoms.")] = False,
) -> None:
    """Draw digital chest phantoms with known findings, for tests and demonstrations."""
    from thorax.workflows.phantom import phantom as draw

    drawn = draw(out, patients=patients, seed=seed, size=size, overwrite=overwrite)
    say(f"{drawn.num_images:,} images of {drawn.num_patients:,} phantom patients are in {out}")
