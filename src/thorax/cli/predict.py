"""`thorax predict`: predict radiographs."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thorax.bundle.files import model_and_images
from thorax.cli.output import say
from thorax.cli.prediction_formats import print_csv, print_json, print_tables
from thorax.errors import ImageError
from thorax.hardware import gc_frozen
from thorax.prediction import Prediction
from thorax.quoting import visible
from thorax.recipe.literals import EngineName

if TYPE_CHECKING:
    from thorax.inference.predictor import Predictor

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
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per image and line.")
    ] = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV, with one line per image and finding.")
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
    if as_json and as_csv:
        raise typer.BadParameter("choose one of --json and --csv")
    with gc_frozen():
        bundle, images = model_and_images(paths, model=model)
        predictor = _open(bundle, images, site=site, device=device, engine=engine)
    from thorax.imaging import image_files

    for said in filter(None, (predictor.identity.statement, predictor.promise)):
        say(said, err=as_json or as_csv)

    num_predicted = num_failed = 0

    def failed(source: object, reason: str) -> None:
        nonlocal num_failed
        num_failed += 1
        say(_naming_once(str(source), reason), err=True)

    def predicted() -> Iterator[Prediction]:
        nonlocal num_predicted
        for outcome in predictor.predict_files(image_files(images, failed=failed)):
            if isinstance(outcome, Prediction):
                num_predicted += 1
                yield outcome
            else:
                failed(outcome.source, outcome.reason)

    show = print_json if as_json else print_csv if as_csv else print_tables
    show(predicted())
    if num_failed:
        total = num_predicted + num_failed
        say(f"{num_failed:,} of {total:,} files could not be predicted", err=True)
        raise typer.Exit(ImageError.exit_code)


def _naming_once(source: str, reason: str) -> str:
    """Return what to print of a failure; most reasons begin with the file's name or path themselves."""
    shown, name = visible(source), visible(Path(source).name)
    if reason.startswith(f"{shown} "):
        return reason
    return f"{shown}: {visible(reason).removeprefix(f'{name}: ')}"


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
