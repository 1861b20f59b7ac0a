"""`thorax evaluate`: a bundle, or any model's predictions, on one part of a split, with a whole report."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from thorax.hardware import one_blas_thread
from thorax.recipe.literals import EngineName

if TYPE_CHECKING:
    from thorax.workflows.results import EvaluationResult

__all__ = ["evaluate"]


def evaluate(
    out: Annotated[Path, typer.Option(help="Folder for metrics.json, report.html and report.md.")],
    bundle: Annotated[Path | None, typer.Argument(help="A bundle, or the run that made it.")] = None,
    store: Annotated[Path | None, typer.Option(help="A store prepared as the bundle wants it.")] = None,
    predictions: Annotated[Path | None, typer.Option(help="CSV of any model's probabilities.")] = None,
    labels: Annotated[Path | None, typer.Option(help="NIH's label file, for --predictions.")] = None,
    validation: Annotated[
        Path | None,
        typer.Option(help="CSV of validation predictions: thresholds, calibration."),
    ] = None,
    logits: Annotated[bool, typer.Option("--logits", help="The predictions are logits.")] = False,
    split: Annotated[str, typer.Option(help="Name of the split; the bundle's own if not given.")] = "",
    part: Annotated[str, typer.Option(help="Part of the split.")] = "test",
    view: Annotated[Literal["PA", "AP"] | None, typer.Option(help="Only images of this view.")] = None,
    thresholds: Annotated[Path | None, typer.Option(help="JSON of thresholds with their origin.")] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(help="Choose thresholds on validation: youden, sensitivity-90, specificity-95, 0.3..."),
    ] = None,
    allow_test_tuning: Annotated[
        bool, typer.Option("--allow-test-tuning", help="Choose on the reported part, and mark it so.")
    ] = False,
    prevalence: Annotated[
        list[str] | None, typer.Option(help="Predictive values at it, such as Edema=0.05.")
    ] = None,
    radiologists: Annotated[Path | None, typer.Option(help="CSV of radiologists' labels.")] = None,
    gallery: Annotated[
        bool, typer.Option(help="Show images of each kind of call in report.html, with the bundle's maps.")
    ] = True,
    resamples: Annotated[int, typer.Option(min=1, help="Bootstrap resamples of the patients.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the resamples.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    engine: Annotated[EngineName, typer.Option(help="What computes a bundle's logits.")] = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the files of an earlier report.")
    ] = False,
) -> None:
    """Evaluate a bundle or predictions. Patients that training or selection saw are refused."""
    one_blas_thread()
    from thorax.atomic_io import refuse_existing
    from thorax.cli.console import progress_bars
    from thorax.workflows.evaluate import evaluate_bundle, evaluate_predictions

    refuse_existing(out, overwrite=overwrite, folder=True)
    _refuse_mixture(bundle, store, predictions, labels)
    if validation is not None and predictions is None:
        raise typer.BadParameter("--validation goes with --predictions; a bundle has its store")
    with progress_bars() as progress:
        if bundle is not None and store is not None:
            result = evaluate_bundle(
                bundle, store, split=split, part=part, view=view, rules=rule or (), thresholds=thresholds,
                allow_test_tuning=allow_test_tuning, prevalence=_prevalence(prevalence or ()),
                radiologists=radiologists, gallery=gallery, resamples=resamples, seed=seed, device=device,
                engine=engine, progress=progress,
            )  # fmt: skip
        else:
            assert predictions is not None
            result = evaluate_predictions(
                predictions, labels=labels, store=store, validation=validation, logits=logits, split=split,
                part=part, view=view, rules=rule or (), thresholds=thresholds,
                allow_test_tuning=allow_test_tuning, prevalence=_prevalence(prevalence or ()),
                radiologists=radiologists, resamples=resamples, seed=seed,
            )  # fmt: skip
    written = result.write(out, overwrite=overwrite)
    _print(result)
    typer.echo(f"report: {written.html}")


def _print(result: "EvaluationResult") -> None:
    from thorax.cli.console import print_table
    from thorax.reporting.summary import summary_tables

    for severity, text in result.audit:
        if severity == "error":
            typer.echo(f"audit: {text}", err=True)
    for title, header, rows in summary_tables(result.evaluation, result.context):
        print_table(header, rows, title=title)
    for warning in result.context.warnings:
        typer.echo(f"note: {warning}", err=True)


def _refuse_mixture(
    bundle: Path | None, store: Path | None, predictions: Path | None, labels: Path | None
) -> None:
    """Refuse what names neither a bundle with a store nor predictions with labels, or both."""
    if (bundle is None) == (predictions is None):
        raise typer.BadParameter("give a bundle with --store, or --predictions with --labels")
    if bundle is not None and (store is None or labels is not None):
        raise typer.BadParameter("a bundle needs --store, which has the labels too")
    if predictions is not None and (store is None) == (labels is None):
        raise typer.BadParameter("--predictions needs --labels, or a --store that has them")


def _prevalence(texts: Sequence[str]) -> dict[str, float]:
    """Read "Edema=0.05"."""
    from thorax.errors import DataError

    stated = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            stated[name] = float(number)
        except ValueError:
            raise DataError(f"--prevalence {text!r} is not a share of a finding; write Edema=0.05") from None
    return stated
