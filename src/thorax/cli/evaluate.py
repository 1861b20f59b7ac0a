"""`thorax evaluate`: a bundle, or anybody's predictions, on one part of a split, with a whole report."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from thorax.hardware import one_blas_thread
from thorax.recipe.literals import EngineName

if TYPE_CHECKING:
    from thorax.evaluation.evaluate import Context, Evaluation, StatedPrevalence
    from thorax.findings import Finding
    from thorax.reporting.report import ReportFiles

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
) -> None:
    """Evaluate a bundle or predictions. Patients that training or selection saw are refused."""
    one_blas_thread()
    from thorax.cli.chosen import with_points, with_recalibration
    from thorax.cli.subject import PartChoice, predicted_subject, store_subject
    from thorax.evaluation.evaluate import Plan, evaluate
    from thorax.evaluation.inputs.radiologists import read_radiologist_labels
    from thorax.reporting.report import refuse_file, write_report

    refuse_file(out)
    _refuse_mixture(bundle, store, predictions, labels)
    if validation is not None and predictions is None:
        raise typer.BadParameter("--validation goes with --predictions; a bundle has its store")
    choice = PartChoice(split=split, part=part, view=view)
    stated = _prevalence(prevalence or [])
    readers = read_radiologist_labels(radiologists) if radiologists else None
    if bundle is not None and store is not None:
        subject = store_subject(bundle, store, choice, device=device, engine=engine)
    else:
        assert predictions is not None
        subject = predicted_subject(predictions, labels, store, choice, logits=logits, validation=validation)
    points = with_points(subject, rules=rule or [], file=thresholds, allow=allow_test_tuning)
    recalibrated, why_not = with_recalibration(subject, allow=allow_test_tuning)
    plan = Plan(
        points=points,
        prevalence={**subject.prevalence, **stated},
        trained=subject.trained,
        radiologists=readers,
        recalibrated=recalibrated,
        not_recalibrated=why_not,
        resamples=resamples,
        seed=seed,
    )
    assessment = evaluate(subject.cohort, subject.probabilities, subject.context, plan=plan)
    audit = subject.audit()
    for severity, text in audit:
        if severity == "error":
            typer.echo(f"audit: {text}", err=True)
    shown = subject.gallery(assessment.primary.points) if gallery and subject.gallery else None
    written = write_report(assessment, subject.context, out=out, audit=audit, gallery=shown)
    _told(assessment, subject.context, written)


def _told(assessment: "Evaluation", context: "Context", written: "ReportFiles") -> None:
    from thorax.cli.console import print_table
    from thorax.reporting.summary import (
        ACCURACY_HEADER,
        CALLS_HEADER,
        SUMMARY_HEADER,
        accuracy_rows,
        call_rows,
        calls_title,
        headline,
        summary_rows,
    )

    ranking, primary = assessment.ranking, assessment.primary
    print_table(SUMMARY_HEADER, summary_rows(ranking), title=headline(ranking, context))
    print_table(CALLS_HEADER, call_rows(primary), title=calls_title(primary))
    print_table(ACCURACY_HEADER, accuracy_rows(primary), title=f"At {primary.points.name}")
    for warning in context.warnings:
        typer.echo(f"note: {warning}", err=True)
    typer.echo(f"report: {written.html}")


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


def _prevalence(texts: Sequence[str]) -> "dict[Finding, StatedPrevalence]":
    """Read "Edema=0.05"."""
    from thorax.errors import DataError
    from thorax.evaluation.evaluate import StatedPrevalence
    from thorax.findings import finding_or_new

    stated = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not 0 <= value <= 1:
            raise DataError(f"--prevalence {text!r} is no share of a finding; write it as Edema=0.05")
        stated[finding_or_new(name)] = StatedPrevalence(value, "stated with --prevalence")
    return stated
