"""`thorax compare`: compare models on the same images."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from thorax.cli.output import say
from thorax.hardware import one_blas_thread
from thorax.recipe.literals import EngineName

__all__ = ["compare"]


def compare(
    models: Annotated[
        list[Path],
        typer.Argument(help="Bundles, reports, CSVs of predictions, or folders of runs of one recipe."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for comparison.html, .md, .json and classification.csv.")],
    store: Annotated[
        list[Path] | None,
        typer.Option(help="A store prepared as the bundles require; repeat it for several preparations."),
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="A label file, if none is a bundle.")] = None,
    logits: Annotated[bool, typer.Option("--logits", help="The CSVs contain logits.")] = False,
    common: Annotated[
        bool, typer.Option("--common", help="Compare on the images that all models have, and say so.")
    ] = False,
    split: Annotated[str, typer.Option(help="Name of the split; default: the bundles'.")] = "",
    part: Annotated[str, typer.Option(help="Part of the split: train, val or test.")] = "test",
    view: Annotated[
        Literal["PA", "AP"] | None, typer.Option(help="Use only images of this view position.")
    ] = None,
    findings: Annotated[
        str, typer.Option(help="Findings to compare, in this order, with commas; default: all.")
    ] = "",
    rule: Annotated[
        str, typer.Option(help="Choose every model's thresholds on validation by this rule: youden...")
    ] = "",
    validation: Annotated[
        list[Path] | None,
        typer.Option(help="CSV of predictions on validation images; repeat it for each CSV model."),
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="Compare the others with this model; default: all pairs.")
    ] = None,
    resamples: Annotated[int, typer.Option(min=1, help="Bootstrap resamples of the patients.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Seed of the resamples.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    engine: Annotated[EngineName, typer.Option(help="What computes the bundles' logits.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing comparison.")] = False,
) -> None:
    """Compare models with paired intervals and p values. All must be evaluated on the same images."""
    one_blas_thread()
    from thorax.cli.console import print_table
    from thorax.cli.progress_lines import bars_or_lines
    from thorax.outputs import check_output, report_size
    from thorax.reporting.comparison import (
        RUNS_HEADER,
        SEEDS_NOTE,
        comparison_header,
        comparison_rows,
        comparison_title,
        comparison_warnings,
        has_seeds,
        runs_rows,
        side_by_side_header,
    )
    from thorax.reporting.reading_notes import shared_notes
    from thorax.reporting.side_by_side import side_by_side_rows, thresholds_text
    from thorax.workflows.compare import compare as measure

    if len(set(models)) <= 1:
        raise typer.BadParameter("give at least two different models")
    data = store or labels
    if data is None or (store and labels):
        raise typer.BadParameter(
            "give --store, which also has the labels, or --labels if all models are CSVs"
        )
    needed = sum(report_size(one) for one in (data if isinstance(data, list) else [data]))
    check_output(out, overwrite=overwrite, folder=True, needed=needed)
    with bars_or_lines() as progress:
        result = measure(
            models, data, logits=logits, split=split, part=part, view=view,
            findings=[name.strip() for name in findings.split(",") if name], rule=rule, common=common,
            validation=validation or (), baseline=baseline, resamples=resamples, seed=seed, device=device,
            engine=engine, progress=progress,
        )  # fmt: skip
    written = result.write(out, overwrite=overwrite)
    context = next(iter(result.contexts.values()))
    for pair in result.comparison.pairs:
        title = comparison_title(pair, result.comparison, context)
        print_table(comparison_header(pair), comparison_rows(pair), title=title)
    if has_seeds(result.comparison):
        print_table(RUNS_HEADER, runs_rows(result.comparison), title=SEEDS_NOTE)
    rows = side_by_side_rows(result.decisions, intervals=False)
    say("Decisions at each model's own thresholds")
    for k, text in enumerate(thresholds_text(result.decisions), start=1):
        say(f"{k}: {text}", prose=True)
    header = side_by_side_header(str(k + 1) for k in range(len(result.decisions)))
    print_table(header, rows)
    warnings = comparison_warnings(result.comparison)
    for note in shared_notes(result.contexts):
        if note not in warnings:
            say(f"note: {note}", err=True)
    for warning in warnings:
        say(warning, prose=True)
    say(f"comparison: {written.html}")
