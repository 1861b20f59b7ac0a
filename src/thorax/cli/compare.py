"""`thorax compare`: compare models on the same images."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from thorax.hardware import one_blas_thread

__all__ = ["compare"]


def compare(
    models: Annotated[list[Path], typer.Argument(help="Bundles, or CSVs of any model's predictions.")],
    out: Annotated[Path, typer.Option(help="Folder for comparison.json and comparison.md.")],
    store: Annotated[Path | None, typer.Option(help="A store prepared as the bundles require.")] = None,
    labels: Annotated[Path | None, typer.Option(help="NIH's label file, if all models are CSVs.")] = None,
    logits: Annotated[bool, typer.Option("--logits", help="The CSVs contain logits.")] = False,
    split: Annotated[str, typer.Option(help="Name of the split; default: the bundles'.")] = "",
    part: Annotated[str, typer.Option(help="Part of the split: train, val or test.")] = "test",
    view: Annotated[
        Literal["PA", "AP"] | None, typer.Option(help="Use only images of this view position.")
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="Compare the others with this model; default: all pairs.")
    ] = None,
    resamples: Annotated[int, typer.Option(min=1, help="Bootstrap resamples of the patients.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Seed of the resamples.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing comparison.")] = False,
) -> None:
    """Compare models with paired intervals and p values. All must be evaluated on the same images."""
    one_blas_thread()
    from thorax.atomic_io import refuse_existing
    from thorax.cli.console import print_table, progress_bars
    from thorax.reporting.comparison import COMPARISON_HEADER, comparison_rows, comparison_title
    from thorax.workflows.compare import compare as measure

    refuse_existing(out, overwrite=overwrite, folder=True)
    if len(set(models)) <= 1:
        raise typer.BadParameter("give at least two different models")
    if (store is None) == (labels is None):
        raise typer.BadParameter(
            "give --store, which also has the labels, or --labels if all models are CSVs"
        )
    with progress_bars() as progress:
        result = measure(
            models, store=store, labels=labels, logits=logits, split=split, part=part, view=view,
            baseline=baseline, resamples=resamples, seed=seed, device=device, progress=progress,
        )  # fmt: skip
    written = result.write(out, overwrite=overwrite)
    context = next(iter(result.contexts.values()))
    for pair in result.comparison.pairs:
        title = comparison_title(pair, result.comparison, context)
        print_table(COMPARISON_HEADER, comparison_rows(pair), title=title)
    for name, context in result.contexts.items():
        for warning in context.warnings:
            typer.echo(f"note: {name}: {warning}", err=True)
    typer.echo(f"comparison: {written.json}")
