"""`thorax site`: whether a model's probabilities hold at another site, and what adjusts them there."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from thorax.cli.evaluate import model_and_data
from thorax.cli.output import say
from thorax.hardware import one_blas_thread
from thorax.recipe.literals import EngineName

if TYPE_CHECKING:
    from thorax.workflows.site import SiteResult

__all__ = ["site"]


def site(
    name: Annotated[str, typer.Option(help="Name of the site.")],
    out: Annotated[Path, typer.Option(help="Folder for site.html, .csv, .json and .md.")],
    bundle: Annotated[Path | None, typer.Argument(help="A bundle, or the run that made it.")] = None,
    store: Annotated[Path | None, typer.Option(help="A store of the site's images.")] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="CSV of any model's predictions, instead of a bundle.")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="A label file, for --predictions.")] = None,
    logits: Annotated[bool, typer.Option("--logits", help="The CSV contains logits.")] = False,
    split: Annotated[str, typer.Option(help="Use one part of this split; default: all images.")] = "",
    part: Annotated[str, typer.Option(help="Part of the split: train, val or test.")] = "test",
    view: Annotated[
        Literal["PA", "AP"] | None, typer.Option(help="Use only images of this view position.")
    ] = None,
    findings: Annotated[str, typer.Option(help="Findings to measure, with commas; default: all.")] = "",
    adjust: Annotated[
        Literal["auto", "none", "intercept", "slope", "all"],
        typer.Option(help="What to fit here; auto: what the data of each finding support."),
    ] = "auto",
    save: Annotated[
        Path | None, typer.Option(help="Also write the bundle with this site's calibration, for --site.")
    ] = None,
    repetitions: Annotated[int, typer.Option(min=0, help="Draws of patients at each point.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    engine: Annotated[EngineName, typer.Option(help="What computes the bundle's logits.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing results.")] = False,
) -> None:
    """Measure calibration at a site, adjust it, and try how many local patients that takes.

    Exit code 1 if the audit finds an error; everything is written before.
    """
    one_blas_thread()
    from thorax.bundle import refuse_used_folder
    from thorax.cli.progress_lines import bars_or_lines
    from thorax.outputs import check_output, report_size
    from thorax.workflows.site import site as measure

    model, data = model_and_data(bundle, store, predictions, labels)
    check_output(out, overwrite=overwrite, folder=True, needed=report_size(data))
    if save is not None:
        refuse_used_folder(save, overwrite=overwrite)
    with bars_or_lines() as progress:
        result = measure(
            model, data, name=name, split=split, part=part, view=view,
            findings=[one.strip() for one in findings.split(",") if one], adjust=adjust,
            repetitions=repetitions, seed=seed, logits=logits, device=device, engine=engine,
            progress=progress,
        )  # fmt: skip
    written = result.write(out, overwrite=overwrite)
    _print(result)
    say(f"report: {written.html}")
    if save is not None:
        say(f"bundle: {result.save(save, overwrite=overwrite).bundle.folder}")
    if result.failed:
        raise typer.Exit(1)


def _print(result: "SiteResult") -> None:
    from thorax.cli.console import print_table
    from thorax.reporting.site import SITE_HEADER, audit_text, curve_text, not_said, site_rows, site_title

    for severity, text in result.audit or ():
        if severity != "note":
            say(f"audit, {severity}: {text}", err=True)
    measured = result.measurement
    print_table(SITE_HEADER, site_rows(measured), title=site_title(result.name, measured, result.context))
    say(curve_text(measured), prose=True)
    say(audit_text(result.audit), prose=True)
    for note in (*not_said(measured), *result.context.notes):
        say(f"note: {note}", err=True)
