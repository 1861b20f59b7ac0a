"""`thorax evaluate`: evaluate a bundle or any model's predictions on one part of a split, with a report."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from thorax.cli.output import say
from thorax.hardware import one_blas_thread
from thorax.recipe.literals import EngineName

if TYPE_CHECKING:
    from thorax.workflows.results import EvaluationResult

__all__ = ["evaluate", "model_and_data"]


def evaluate(
    out: Annotated[Path, typer.Option(help="Folder for metrics.json, report.html and report.md.")],
    bundle: Annotated[
        Path | None, typer.Argument(help="A bundle or run; or a CSV or report with predictions.")
    ] = None,
    store: Annotated[Path | None, typer.Option(help="A store prepared as the bundle requires.")] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="CSV of any model's predictions, or a report, instead of a bundle.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="NIH's label file, a CSV as prepare takes it, or readers' assessments, for --predictions."
        ),
    ] = None,
    validation: Annotated[
        Path | None,
        typer.Option(help="CSV of predictions on validation images, for thresholds and calibration."),
    ] = None,
    logits: Annotated[bool, typer.Option("--logits", help="The CSVs contain logits.")] = False,
    split: Annotated[str, typer.Option(help="Name of the split; default: the bundle's.")] = "",
    part: Annotated[str, typer.Option(help="Part of the split: train, val or test.")] = "test",
    view: Annotated[
        Literal["PA", "AP"] | None, typer.Option(help="Use only images of this view position.")
    ] = None,
    findings: Annotated[
        str, typer.Option(help="Findings to evaluate, in this order, with commas; default: all.")
    ] = "",
    thresholds: Annotated[Path | None, typer.Option(help="JSON of thresholds with their origin.")] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(help="Choose thresholds on validation: youden, sensitivity-90, specificity-95, 0.3..."),
    ] = None,
    allow_test_tuning: Annotated[
        bool,
        typer.Option(
            "--allow-test-tuning", help="Choose thresholds on the reported images, and mark the results."
        ),
    ] = False,
    prevalence: Annotated[
        list[str] | None, typer.Option(help="Prevalence for PPV and NPV, e.g. Edema=0.05. May be repeated.")
    ] = None,
    radiologists: Annotated[
        Path | None, typer.Option(help="CSV of radiologists' labels, as a second reference.")
    ] = None,
    gallery: Annotated[
        bool, typer.Option(help="Show examples of each outcome in report.html, with the bundle's maps.")
    ] = True,
    pixels: Annotated[
        bool, typer.Option(help="Let the audit search for identical and nearly identical images.")
    ] = True,
    figures: Annotated[
        str, typer.Option(help="Write each figure to OUT/figures too: png, svg, pdf, or several with commas.")
    ] = "",
    resamples: Annotated[int, typer.Option(min=1, help="Bootstrap resamples of the patients.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the resamples.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    engine: Annotated[EngineName, typer.Option(help="What computes the bundle's logits.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing report.")] = False,
    track: Annotated[
        str | None, typer.Option(help="Send the report to the run's own MLflow run: mlflow:URI, or mlflow.")
    ] = None,
) -> None:
    """Evaluate a bundle or predictions. Patients used for training or selection are refused.

    Exit code 1 if the audit finds an error; everything is written before.
    """
    one_blas_thread()
    from thorax.cli.progress_lines import bars_or_lines
    from thorax.outputs import check_output, report_size
    from thorax.reporting.plotting import figure_kinds
    from thorax.tracking.report import tracked_report
    from thorax.workflows.evaluate import evaluate as measure

    kinds = figure_kinds(figures)
    model, data = model_and_data(bundle, store, predictions, labels)
    check_output(out, overwrite=overwrite, folder=True, needed=report_size(data))
    tracked = tracked_report(track, bundle) if track else None
    with bars_or_lines() as progress:
        result = measure(
            model, data, validation=validation, logits=logits, split=split, part=part, view=view,
            findings=[name.strip() for name in findings.split(",") if name], rules=rule or (),
            thresholds=thresholds, allow_test_tuning=allow_test_tuning, engine=engine, progress=progress,
            prevalence=_prevalence(prevalence or ()), radiologists=radiologists, gallery=gallery,
            pixels=pixels, resamples=resamples, seed=seed, device=device,
        )  # fmt: skip
    written = result.write(out, figures=kinds, overwrite=overwrite)
    _print(result)
    if tracked is not None:
        tracked.send(out, result.evaluation, part=part)
    say(f"report: {written.html}" + (f"\nfigures: {out / 'figures'}" if kinds else ""))
    if result.failed:
        raise typer.Exit(1)


def _print(result: "EvaluationResult") -> None:
    from thorax.cli.console import print_table
    from thorax.reporting.abstention import abstention_tables
    from thorax.reporting.reading_notes import reading_notes
    from thorax.reporting.summary import summary_tables

    for severity, text in result.audit:
        if severity != "note":
            say(f"audit, {severity}: {text}", err=True)
    evaluation = result.evaluation
    for title, header, rows in (*summary_tables(evaluation, result.context), *abstention_tables(evaluation)):
        print_table(header, rows, title=title)
    say("\n".join(f"{note}." for note in reading_notes(evaluation, result.audit)), prose=True)
    if evaluation.abstention is not None:
        say(f"note: {evaluation.abstention.bands.promise}", err=True)
    for warning in result.context.notes:
        say(f"note: {warning}", err=True)


def model_and_data(
    bundle: Path | None, store: Path | None, predictions: Path | None, labels: Path | None
) -> tuple[Path, Path]:
    """Return either a bundle with a store, or predictions with labels; refuse a mixture of options."""
    from thorax.workflows.prediction_files import has_predictions

    if bundle is not None and predictions is None and has_predictions(bundle):
        bundle, predictions = None, bundle
    if (bundle is None) == (predictions is None):
        raise typer.BadParameter("give a bundle with --store, or --predictions with --labels")
    if predictions is not None:
        if (store is None) == (labels is None):
            raise typer.BadParameter("--predictions needs --labels, or a --store that has them")
        return predictions, cast("Path", store or labels)
    if store is None or labels is not None:
        raise typer.BadParameter("a bundle needs --store, which also has the labels; leave out --labels")
    return cast("Path", bundle), store


def _prevalence(texts: Sequence[str]) -> dict[str, float]:
    """Read "Edema=0.05"."""
    from thorax.errors import DataError

    stated = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            stated[name] = float(number)
        except ValueError:
            raise DataError(
                f"--prevalence {text!r} is not a finding with its prevalence; write e.g. Edema=0.05"
            ) from None
    return stated
