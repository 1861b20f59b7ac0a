"""`thorax localize`: how well a bundle's maps point at boxed findings, beside baselines."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["localize"]


def localize(
    bundle: Annotated[Path, typer.Argument(help="A bundle, or the run that made it.")],
    store: Annotated[Path, typer.Option(help="A store with boxes, prepared as the bundle wants it.")],
    out: Annotated[Path, typer.Option(help="Folder for localization.json and localization.md.")],
    split: Annotated[str, typer.Option(help="Name of the split; the bundle's own if not given.")] = "",
    part: Annotated[str, typer.Option(help="Part of the split.")] = "test",
    method: Annotated[
        list[str] | None,
        typer.Option(help="cam where the net has an exact one, else grad-cam. May be repeated."),
    ] = None,
    faithfulness: Annotated[
        bool,
        typer.Option(
            "--faithfulness",
            help="Deletion and insertion too: thousands of passes for each box; better on a GPU.",
        ),
    ] = False,
    resamples: Annotated[int, typer.Option(min=1, help="Bootstrap resamples of the patients.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of resamples, random maps and methods that draw.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the files of an earlier localization.")
    ] = False,
) -> None:
    """Measure maps against boxes. Patients that training or selection saw are refused."""
    from thorax.atomic_io import refuse_existing
    from thorax.cli.console import print_table, progress_bars
    from thorax.reporting.localization import CURVES_HEADER, TABLE_HEADER, curves_rows, table_rows
    from thorax.workflows.localize import localize as measure

    refuse_existing(out, overwrite=overwrite, folder=True)
    with progress_bars() as progress:
        result = measure(
            bundle, store, methods=method or (), split=split, part=part, faithfulness=faithfulness,
            resamples=resamples, seed=seed, device=device, progress=progress,
        )  # fmt: skip
    _, table = result.write(out, overwrite=overwrite)
    found, context = result.localization, result.context
    boxes = f"{found.num_pairs:,} boxes of {found.num_patients:,} patients"
    print_table(TABLE_HEADER, table_rows(found), title=f"{context.where}, {boxes}")
    if result.curves:
        print_table(CURVES_HEADER, curves_rows(result.curves), title="Deletion and insertion")
    for warning in context.warnings:
        typer.echo(f"note: {warning}", err=True)
    typer.echo(f"table: {table}")
