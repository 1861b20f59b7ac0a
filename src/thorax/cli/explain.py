"""`thorax explain`: attribution maps of radiographs."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from thorax.cli.output import say, say_json
from thorax.errors import ImageError
from thorax.quoting import cut

if TYPE_CHECKING:
    from thorax.inference.predictor import Failure
    from thorax.workflows.explain import ExplainedRadiograph

__all__ = ["explain"]

_NAME: Final = 24
"""Letters of a file's name in the table of several images."""


def explain(
    bundle: Annotated[Path, typer.Argument(help="A bundle, or the run that made it.")],
    images: Annotated[list[Path], typer.Argument(help="PNG, JPEG or DICOM files, or folders of them.")],
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
) -> None:
    """Locate findings: the maximum and a box of each map, in pixels, and optionally pictures.

    Of several images, those that cannot be read are reported and skipped; the exit code is then 4.
    """
    from thorax.cli.console import progress_bars
    from thorax.workflows.explain import explain as explain_image
    from thorax.workflows.explain import explain_files

    asked: dict[str, Any] = {
        "findings": finding or (), "methods": method or (), "level": level, "seed": seed, "device": device,
        "out": out, "opacity": opacity, "contour": contour, "box": box, "overwrite": overwrite,
    }  # fmt: skip
    if len(images) == 1 and not images[0].is_dir():
        _print_one(explain_image(bundle, images[0], **asked), as_json=as_json)
        return
    with progress_bars() as progress:
        results = explain_files(bundle, images, **asked, kind=kind, progress=progress)
        num_failed, num_images = _print_all(results, as_json=as_json)
    if out is not None and num_failed < num_images:
        say(f"pictures: {out}", err=as_json)
    if num_failed:
        say(f"{num_failed:,} of {num_images:,} files could not be explained", err=True)
        raise typer.Exit(ImageError.exit_code)


def _print_one(result: "ExplainedRadiograph", *, as_json: bool) -> None:
    from thorax.cli.console import print_table

    if as_json:
        say_json(result.as_json())
    else:
        header = ("finding", "probability", "method", "highest", "place (x, y)", "box (x, y, width, height)")
        print_table(header, _rows(result), title=result.prediction.source)
    for note in result.notes:
        say(f"note: {note}", err=True)
    if result.picture is not None:
        say(f"picture: {result.picture}", err=as_json)


def _print_all(results: "Iterable[ExplainedRadiograph | Failure]", *, as_json: bool) -> tuple[int, int]:
    """Print the results of several images; return how many failed, and how many there were."""
    from thorax.cli.console import print_table
    from thorax.inference.predictor import Failure

    rows: list[tuple[str, ...]] = []
    notes: dict[str, None] = {}
    num_failed = num_images = num_silent = 0
    for result in results:
        num_images += 1
        if isinstance(result, Failure):
            num_failed += 1
            say(f"{result.source}: {result.reason}", err=True)
            continue
        if as_json:
            say_json(result.as_json())
        rows += [(result.prediction.source, *row[:-1]) for row in _rows(result)]
        num_silent += sum(entry.place is None for entry in result.maps)
        notes |= dict.fromkeys(
            f"{result.prediction.source}: {warning}" for warning in result.prediction.warnings
        )
        notes |= dict.fromkeys(result.model_notes)
    if rows and not as_json:
        print_table(*_overview(rows))
    if num_silent:
        notes[
            f"{num_silent:,} of {len(rows):,} maps have no value above 0: no location supports the finding"
        ] = None
    for note in notes:
        say(f"note: {note}", err=True)
    return num_failed, num_images


def _overview(rows: Sequence[tuple[str, ...]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the table of several images: each name once, and the method only if there are several."""
    header = ("image", "finding", "probability", "method", "highest", "place (x, y)")
    several = len({row[3] for row in rows}) > 1
    shown = []
    for before, row in zip([None, *rows], rows, strict=False):
        name = "" if before is not None and before[0] == row[0] else cut(Path(row[0]).name, _NAME)
        shown.append((name, *row[1:3], *row[3 if several else 4 :]))
    return (*header[:3], *header[3 if several else 4 :]), shown


def _rows(result: "ExplainedRadiograph") -> list[tuple[str, ...]]:
    probability = {entry.finding: entry.as_texts()[1] for entry in result.prediction.findings}
    return [
        (
            entry.finding.label,
            probability[entry.finding],
            entry.method,
            f"{entry.highest:.3g}",
            _in_pixels(entry.place),
            _in_pixels(entry.box),
        )
        for entry in result.maps
    ]


def _in_pixels(numbers: tuple[float, ...] | None) -> str:
    return "n/a" if numbers is None else ", ".join(f"{number:.0f}" for number in numbers)
