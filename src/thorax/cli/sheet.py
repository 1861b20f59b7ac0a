"""`thorax sheet`: a contact sheet of random images with their labels."""

from pathlib import Path
from typing import Annotated

import typer

from thorax.cli.output import say

__all__ = ["sheet"]


def sheet(
    source: Annotated[
        Path, typer.Argument(help="A store, a data set as prepare reads it, or a folder of images.")
    ],
    out: Annotated[Path, typer.Option(help="The picture, a .png.")],
    count: Annotated[int, typer.Option(min=1, help="Number of images.")] = 25,
    seed: Annotated[int, typer.Option(help="The same seed chooses the same images.")] = 0,
    findings: Annotated[
        str, typer.Option(help="Only images with one of these findings, separated by commas.")
    ] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing picture.")] = False,
) -> None:
    """Draw random images with their labels into one picture."""
    from thorax.workflows.sheet import sheet as draw_sheet

    named = tuple(name.strip() for name in findings.split(",")) if findings else ()
    summary = draw_sheet(source, out, count=count, seed=seed, findings=named, overwrite=overwrite)
    for notice in summary.notices:
        say(notice, err=True)
    say(f"{summary.num_shown:,} of {summary.num_images:,} images are in {summary.path}")
    if summary.num_failed:
        say(f"{summary.num_failed:,} of them could not be read", err=True)
        raise typer.Exit(4)
