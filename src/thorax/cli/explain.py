"""`thorax explain`: where in a radiograph findings come from."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from thorax.explain.radiograph import Explained
    from thorax.findings import Findings
    from thorax.prediction import Prediction
    from thorax.radiograph import Radiograph

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
) -> None:
    """Show where findings come from: the highest place and a box for each, in pixels, and a picture."""
    from thorax.bundle import load_bundle
    from thorax.explain import open_explainer, reading_notes
    from thorax.explain.methods import methods_named
    from thorax.explain.overlay import picture_kind
    from thorax.explain.radiograph import explain_radiograph
    from thorax.imaging import read_radiograph
    from thorax.inference.engines import open_predictor

    if out is not None:
        picture_kind(out)  # a wrong name is better found before minutes of computing
    opened, radiograph = load_bundle(bundle), read_radiograph(image)
    methods = methods_named(method or (), opened)
    explainer = open_explainer(opened, methods=methods, device=device)
    (prediction,) = open_predictor(opened, device=device).predict([radiograph], [str(image)])
    found = explain_radiograph(
        explainer, radiograph, _chosen_findings(finding, prediction), methods=methods, level=level, seed=seed
    )
    if out is not None:
        _draw(out, radiograph, found, opacity=opacity, contour=level if contour else None, box=box)
    (_print_json if as_json else _print_table)(found, prediction)
    for note in (*prediction.warnings, *reading_notes(opened, methods), *_silent(found)):
        typer.echo(f"note: {note}", err=True)
    if out is not None:
        typer.echo(f"picture: {out}", err=as_json)


def _chosen_findings(names: Sequence[str] | None, prediction: "Prediction") -> "Findings":
    from thorax.findings import finding_or_new

    if names:
        return tuple(dict.fromkeys(finding_or_new(name) for name in names))
    positive = tuple(each.finding for each in prediction.findings if each.positive)
    return positive or (max(prediction.findings, key=lambda each: each.probability).finding,)


def _silent(found: "Sequence[Explained]") -> list[str]:
    """Say which maps have nothing above 0, and what may show more."""
    silent = [each for each in found if each.place is None]
    names = dict.fromkeys(f"{each.finding.label} ({each.method})" for each in silent)
    advice = "" if any(each.method == "layer-cam" for each in found) else "; try --method layer-cam"
    return [f"nothing in the image speaks for {', '.join(names)}{advice}"] if names else []


def _draw(
    out: Path,
    radiograph: "Radiograph",
    found: "Sequence[Explained]",
    *,
    opacity: float,
    contour: float | None,
    box: bool,
) -> None:
    from thorax.explain.overlay import Drawing, write_picture
    from thorax.explain.radiograph import side_by_side

    panels, columns = side_by_side(found)
    drawing = Drawing(opacity=opacity, contour=contour, boxes=box, columns=columns)
    write_picture(out, radiograph.pixels, panels, drawing=drawing)


def _print_table(found: "Sequence[Explained]", prediction: "Prediction") -> None:
    from thorax.cli.console import print_table

    probability = {each.finding: each.probability for each in prediction.findings}
    rows = [
        (
            each.finding.label,
            f"{probability[each.finding]:.1%}",
            each.method,
            f"{each.highest:.3g}",
            _in_pixels(each.place),
            _in_pixels(each.box),
        )
        for each in found
    ]
    header = ("finding", "probability", "method", "highest", "place (x, y)", "box (x, y, width, height)")
    print_table(header, rows, title=prediction.source)


def _in_pixels(numbers: tuple[float, ...] | None) -> str:
    return "n/a" if numbers is None else ", ".join(f"{number:.0f}" for number in numbers)


def _print_json(found: "Sequence[Explained]", prediction: "Prediction") -> None:
    probability = {each.finding: each.probability for each in prediction.findings}
    maps = [
        {
            "finding": each.finding.name,
            "probability": probability[each.finding],
            "method": each.method,
            "highest": each.highest,
            "place": None if each.place is None else list(each.place),
            "box": None if each.box is None else list(each.box),
        }
        for each in found
    ]
    typer.echo(json.dumps({"source": prediction.source, "maps": maps}, ensure_ascii=False, allow_nan=False))
