"""`thorax explain`: attribution maps of radiographs."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from thorax.bundle.files import model_and_images
from thorax.cli.output import say
from thorax.errors import ImageError
from thorax.hardware import one_blas_thread

__all__ = ["explain"]


def explain(
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
    findings: Annotated[
        str,
        typer.Option(
            help="Only these findings, separated by commas; default: all positive, or the most probable."
        ),
    ] = "",
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="Map; default: cam if the network has an exact one, otherwise grad-cam. May be repeated."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Picture to write: .png, .jpg, .svg or .pdf. Of several images: a folder, or a .pdf with a "
            "page of each."
        ),
    ] = None,
    kind: Annotated[
        Literal["png", "jpeg", "svg", "pdf"],
        typer.Option("--format", help="Kind of the pictures in a folder."),
    ] = "png",
    opacity: Annotated[
        float, typer.Option(min=0, max=1, help="Opacity of the overlay at the map's maximum.")
    ] = 0.6,
    level: Annotated[
        float,
        typer.Option(
            min=0.01, max=1, help="Fraction of the map's maximum at which box and contour are drawn."
        ),
    ] = 0.5,
    contour: Annotated[bool, typer.Option("--contour", help="Draw the contour at that level.")] = False,
    box: Annotated[bool, typer.Option("--box", help="Draw the box at that level.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per image and line instead of a table.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the random methods smooth-grad and rise.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing pictures.")] = False,
    no_gate: Annotated[
        bool, typer.Option("--no-gate", help="Explain also what the model's input gate would hold back.")
    ] = False,
) -> None:
    """Locate findings: the maximum and a box of each map, in pixels, and optionally pictures.

    Without a bundle it is the starter, a small model to try Thorax with. Of several images, those that cannot
    be read, or are held back by the model's input gate, are reported and skipped; the exit code is then 4.
    """
    one_blas_thread()
    from thorax.cli.explanations import explain_all, print_one
    from thorax.cli.progress_lines import bars_or_lines
    from thorax.workflows.explain import explain as explain_image
    from thorax.workflows.explain import explain_files
    from thorax.workflows.image_list import is_folder
    from thorax.workflows.predicting import Tally

    bundle, images = model_and_images(paths, model=model)
    named = tuple(name.strip() for name in findings.split(",")) if findings else ()
    asked: dict[str, Any] = {
        "findings": named, "methods": method or (), "level": level, "seed": seed, "device": device,
        "out": out, "opacity": opacity, "contour": contour, "box": box, "overwrite": overwrite,
        "gate": not no_gate,
    }  # fmt: skip
    if len(images) == 1 and not is_folder(images[0]):
        print_one(explain_image(bundle, images[0], **asked), as_json=as_json)
        return
    tally = Tally()
    with bars_or_lines() as progress:
        results = explain_files(
            bundle, images, **asked, kind=kind, progress=progress, left_out=tally.add_other
        )
        print_overview = explain_all(results, tally, as_json=as_json)
    print_overview()
    if out is not None and tally.predicted:
        say(f"pictures: {out}", err=as_json)
    advice = ["--no-gate explains also what is held back"] if tally.held_back else []
    for line in (*tally.lines(done="explained"), *advice):
        say(line, err=True)
    if tally.failed:
        raise typer.Exit(ImageError.exit_code)
