"""`thorax explain`: where in a radiograph findings come from."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from thorax.workflows.explain import ExplainedRadiograph

__all__ = ["explain"]


def explain(
    bundle: Annotated[Path, typer.Argument(help="A bundle, or the run that made it.")],
    image: Annotated[Path, typer.Argument(help="A PNG, JPEG or DICOM file.")],
    finding: Annotated[
        list[str] | None,
        typer.Option(help="What to explain; else what is positive, or what is likeliest. May be repeated."),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help="cam where the net has an exact one, else grad-cam. May be repeated."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Picture to draw, .png or .svg.")] = None,
    opacity: Annotated[float, typer.Option(min=0, max=1, help="Of the map where it is highest.")] = 0.6,
    level: Annotated[
        float, typer.Option(min=0.01, max=1, help="Part of a map's height that its box and contour are at.")
    ] = 0.5,
    contour: Annotated[bool, typer.Option("--contour", help="Draw the contour at that level.")] = False,
    box: Annotated[bool, typer.Option("--box", help="Draw the box at that level.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
    seed: Annotated[int, typer.Option(help="Of the methods that draw: smooth-grad and rise.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a picture that is there.")] = False,
) -> None:
    """Show where findings come from: the highest place and a box for each, in pixels, and a picture."""
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
        typer.echo(json.dumps(found.as_json(), ensure_ascii=False, allow_nan=False))
    else:
        _print_table(found)
    for note in found.notes:
        typer.echo(f"note: {note}", err=True)
    if out is not None:
        typer.echo(f"picture: {out}", err=as_json)


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
