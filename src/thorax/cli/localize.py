"""`thorax localize`: measure how well a bundle's maps point at boxed findings, beside baselines."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from thorax.cli.output import say

__all__ = ["localize"]


def localize(
    bundle: Annotated[Path, typer.Argument(help="A bundle, or the run that made it.")],
    store: Annotated[Path, typer.Option(help="A store with boxes, prepared as the bundle requires.")],
    out: Annotated[Path, typer.Option(help="Folder for localization.json and localization.md.")],
    split: Annotated[str, typer.Option(help="Name of the split; default: the bundle's.")] = "",
    part: Annotated[str, typer.Option(help="Part of the split: train, val or test.")] = "test",
    view: Annotated[
        Literal["PA", "AP"] | None, typer.Option(help="Use only images of this view position.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="Map; default: cam if the network has an exact one, otherwise grad-cam. May be repeated."
        ),
    ] = None,
    faithfulness: Annotated[
        bool,
        typer.Option(
            "--faithfulness",
            help="Also measure deletion and insertion: thousands of passes per box; best on a GPU.",
        ),
    ] = False,
    save: Annotated[
        Path | None,
        typer.Option(help="Also write the bundle with how often its maps point at boxes, for the page."),
    ] = None,
    resamples: Annotated[int, typer.Option(min=1, help="Bootstrap resamples of the patients.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of resamples, random maps and random methods.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing localization.")] = False,
) -> None:
    """Measure maps against boxes. Patients used for training or selection are refused."""
    from thorax.bundle import refuse_used_folder
    from thorax.cli.console import print_table
    from thorax.cli.progress_lines import bars_or_lines
    from thorax.outputs import check_output
    from thorax.reporting.localization import CURVES_HEADER, TABLE_HEADER, curves_rows, table_rows
    from thorax.workflows.localize import localize as measure

    check_output(out, overwrite=overwrite, folder=True)
    if save is not None:
        refuse_used_folder(save, overwrite=overwrite)
    with bars_or_lines() as progress:
        result = measure(
            bundle, store, methods=method or (), split=split, part=part, view=view, faithfulness=faithfulness,
            resamples=resamples, seed=seed, device=device, progress=progress,
        )  # fmt: skip
    _, table = result.write(out, overwrite=overwrite)
    localization, context = result.localization, result.context
    boxes = f"{localization.num_pairs:,} boxes of {localization.num_patients:,} patients"
    print_table(TABLE_HEADER, table_rows(localization), title=f"{context.where}, {boxes}")
    if result.curves:
        print_table(CURVES_HEADER, curves_rows(result.curves), title="Deletion and insertion")
    for warning in context.notes:
        say(f"note: {warning}", err=True)
    say(f"table: {table}")
    if save is not None:
        say(f"bundle: {result.save(save, overwrite=overwrite).bundle.folder}")
