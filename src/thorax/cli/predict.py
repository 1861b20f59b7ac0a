"""`thorax predict`: predict radiographs."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thorax.bundle.files import model_and_images
from thorax.cli.interrupts import raise_again
from thorax.cli.output import say
from thorax.cli.prediction_formats import print_csv, print_json, print_text, print_wide
from thorax.errors import ImageError
from thorax.hardware import gc_frozen
from thorax.recipe.literals import EngineName

if TYPE_CHECKING:
    from thorax.inference.predictor import Predictor
    from thorax.workflows.predicting import FilePrediction, Tally

__all__ = ["predict"]


def predict(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="A bundle or the run that made it, if it is not the starter; then PNG, JPEG or DICOM files, "
            "or folders of them."
        ),
    ],
    model: Annotated[
        str | None, typer.Option(help="The bundle or run; starter: the small model in the package.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for predictions.csv; the same command continues after an interruption."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin again in a folder with other predictions.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per image and line.")
    ] = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV, with one line per image and finding.")
    ] = False,
    wide: Annotated[
        bool, typer.Option("--wide", help="Print CSV with one line per image and one column per finding.")
    ] = False,
    findings: Annotated[str, typer.Option(help="Only these findings, separated by commas.")] = "",
    ids: Annotated[
        bool,
        typer.Option(
            "--ids",
            help="Add patient id, accession number, study date and UIDs of DICOM files to the results.",
        ),
    ] = False,
    site: Annotated[
        str, typer.Option(help="Calibrate for this site, which `thorax site --save` added to the bundle.")
    ] = "",
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    engine: Annotated[
        EngineName, typer.Option(help="What computes the logits; auto: the fastest exact engine.")
    ] = "auto",
) -> None:
    """Predict radiographs with a bundle, or without one with the starter, a small model to try Thorax with.

    Unreadable files are reported and skipped; the exit code is then 4.
    """
    if (as_json, as_csv or wide, out is not None).count(True) > 1:
        raise typer.BadParameter("choose one of --json, --csv and --out")
    if out is not None:
        from thorax.workflows.predict_folder import refuse_unusable

        refuse_unusable(out, overwrite=overwrite)
    with gc_frozen():
        bundle, images = model_and_images(paths, model=model)
        predictor = _open(bundle, images, site=site, device=device, engine=engine)
    for said in filter(None, (predictor.identity.statement, predictor.promise)):
        say(said, err=as_json or as_csv or wide)
    raise_again()
    names = tuple(name.strip() for name in findings.split(",")) if findings else ()
    if out is not None:
        tally = _into_folder(predictor, images, out, findings=names, ids=ids, overwrite=overwrite)
    else:
        form = "json" if as_json else "wide" if wide else "csv" if as_csv else "text"
        tally = _print(predictor, images, form, findings=names, ids=ids)
    shown = not (as_json or as_csv or wide or out)
    for line in tally.lines(warnings=not shown):
        say(line, err=True)
    if tally.failed:
        raise typer.Exit(ImageError.exit_code)


def _into_folder(predictor: "Predictor", images: list[Path], out: Path, **settings: Any) -> "Tally":
    from thorax.cli.progress_lines import bars_or_lines
    from thorax.workflows.predict_folder import predict_folder

    with bars_or_lines() as progress:
        done = predict_folder(predictor, images, out, **settings, progress=progress, failed=_say_failure)
    earlier = f" ({done.earlier:,} files were done earlier)" if done.earlier else ""
    say(f"{done.tally.predicted:,} images predicted{earlier}: {done.folder / 'predictions.csv'}")
    return done.tally


def _print(
    predictor: "Predictor", images: list[Path], form: str, *, findings: tuple[str, ...], ids: bool
) -> "Tally":
    from thorax.cli.progress_lines import bars_or_lines
    from thorax.findings import select_findings
    from thorax.workflows.predicting import FEW, Tally, predictions_of

    chosen, tally = select_findings(findings, predictor.bundle.findings), Tally()
    with bars_or_lines() as progress:
        predictions: Iterator[FilePrediction[None]] = predictions_of(
            predictor, images, chosen, tally=tally, ids=ids, progress=progress, failed=_say_failure
        )
        match form:
            case "json":
                print_json(predictions)
            case "csv":
                print_csv(predictions, ids=ids)
            case "wide":
                print_wide(predictions, chosen, ids=ids)
            case _:
                print_text(predictions, few=FEW)
    return tally


def _say_failure(source: str, reason: str) -> None:
    from thorax.workflows.predicting import one_line

    say(one_line(source, reason), err=True)


def _open(bundle: Path, paths: list[Path], *, site: str, device: str, engine: EngineName) -> "Predictor":
    from thorax.inference.onnx_session import prefetch

    prefetch(bundle, paths, device=device, engine=engine)
    # Only now: importing these takes as long as opening a graph.
    from thorax.imaging.guarded import expect_to_read

    expect_to_read(paths[0])
    from thorax.bundle import load_bundle
    from thorax.inference.engines import open_predictor

    opened = load_bundle(bundle, check_nets=False)
    if site:
        from thorax.bundle.sites import at_site

        opened = at_site(opened, site)
    return open_predictor(opened, device=device, engine=engine)
