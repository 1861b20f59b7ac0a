"""`thorax explain`: attribution maps of a radiograph."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thorax.cli.output import say, say_json

if TYPE_CHECKING:
    from thorax.workflows.explain import ExplainedRadiograph

__all__ = ["explain"]


def explain(
    bundle: Annotated[Path, typer.Argument(help="A bundle, or the run that made it.")],
    image: Annotated[Path, typer.Argument(help="A PNG, JPEG or DICOM file.")],
    finding: Annotated[
        list[str] | None,
        typer.Option(
            help="Finding to explain; default: all positive, or the most probable. May be repeated."
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="Map; default: cam if the network has an exact one, otherwise grad-cam. May be repeated."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Picture to write: .png, .jpg, .svg or .pdf.")] = None,
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
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the random methods smooth-grad and rise.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing picture.")] = False,
) -> None:
    """Locate findings: the maximum and a box of each map, in pixels, and optionally a picture."""
    from thorax.workflows.explain import explain as explain_image

    found = explain_image(
        bundle,
        image,
        findings=finding or (),
        methods=method or (),
        level=level,
        seed=seed,
        device=device,
        out=out,
        opacity=opacity,
        contour=contour,
        box=box,
        overwrite=overwrite,
    )
    if as_json:
        say_json(found.as_json())
    else:
        _print_table(found)
    for note in found.notes:
        say(f"note: {note}", err=True)
    if out is not None:
        say(f"picture: {out}", err=as_json)


def _print_table(found: "ExplainedRadiograph") -> None:
    from thorax.cli.console import print_table

    probability = {each.finding: each.probability for each in found.prediction.findings}
    rows = [
        (
            each.finding.label,
            f"{probability[each.finding]:.1%}",
            each.method,
            f"{each.highest:.3g}",
            _in_pixels(each.place),
            _in_pixels(each.box),
        )
        for each in found.maps
    ]
    header = ("finding", "probability", "method", "highest", "place (x, y)", "box (x, y, width, height)")
    print_table(header, rows, title=found.prediction.source)


def _in_pixels(numbers: tuple[float, ...] | None) -> str:
    return "n/a" if numbers is None else ", ".join(f"{number:.0f}" for number in numbers)
