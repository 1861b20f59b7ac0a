"""`thorax robustness`: measure what changes of the images do to a bundle's results."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from thorax.cli.output import say
from thorax.hardware import one_blas_thread
from thorax.recipe.literals import EngineName

__all__ = ["robustness"]


def robustness(
    bundle: Annotated[Path, typer.Argument(help="A bundle, or the run that made it.")],
    store: Annotated[Path, typer.Option(help="A store prepared as the bundle requires.")],
    out: Annotated[Path, typer.Option(help="Folder for robustness.html, .svg, .csv, .json and .md.")],
    split: Annotated[str, typer.Option(help="Name of the split; default: the bundle's.")] = "",
    part: Annotated[str, typer.Option(help="Part of the split: train, val or test.")] = "test",
    view: Annotated[
        Literal["PA", "AP"] | None, typer.Option(help="Use only images of this view position.")
    ] = None,
    findings: Annotated[
        str, typer.Option(help="Findings to measure, in this order, with commas; default: all.")
    ] = "",
    perturbations: Annotated[
        str, typer.Option(help="jpeg, noise, gamma, rotation ..., with commas; default: all nine.")
    ] = "",
    max_images: Annotated[
        int, typer.Option(min=0, help="About how many images, of randomly chosen patients; 0: all.")
    ] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the sample, of noise and of directions.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    engine: Annotated[EngineName, typer.Option(help="What computes the bundle's logits.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing result.")] = False,
) -> None:
    """Perturb images and measure AUC, calibration and flipped decisions; resumes if interrupted."""
    one_blas_thread()
    from thorax.cli.console import print_table
    from thorax.cli.progress_lines import bars_or_lines
    from thorax.outputs import check_output, report_size
    from thorax.reporting.robustness import ROBUSTNESS_HEADER, robustness_rows, robustness_title
    from thorax.workflows.robustness import discard_levels
    from thorax.workflows.robustness import robustness as measure

    unfinished = out.with_name(f"{out.name}.unfinished")  # with the probabilities of every level
    check_output(out, overwrite=overwrite, folder=True, needed=report_size(store, times=40))
    with bars_or_lines() as progress:
        result = measure(
            bundle, store, split=split, part=part, view=view,
            findings=[name.strip() for name in findings.split(",") if name],
            perturbations=[name.strip() for name in perturbations.split(",") if name],
            max_images=max_images or None, seed=seed, device=device, engine=engine,
            resume_in=unfinished, progress=progress,
        )  # fmt: skip
    written = result.write(out, overwrite=overwrite)
    discard_levels(unfinished)
    title = robustness_title(result.robustness, result.context)
    print_table(ROBUSTNESS_HEADER, robustness_rows(result.robustness), title=title)
    for warning in result.context.notes:
        say(f"note: {warning}", err=True)
    say(f"report: {written.html}")
