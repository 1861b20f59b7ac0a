"""`thorax export`: a bundle's nets for onnxruntime or OpenVINO, behind a parity gate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from thorax.bundle import Bundle

__all__ = ["export"]


def export(
    bundle: Annotated[Path, typer.Argument(help="A bundle, or the run that made it.")],
    store: Annotated[Path, typer.Option(help="A store prepared as the bundle wants it, to compare on.")],
    to: Annotated[Literal["onnx", "openvino"], typer.Option(help="Which engine.")] = "onnx",
    int8: Annotated[bool, typer.Option("--int8", help="A quantised engine too.")] = False,
    gated: Annotated[
        list[str] | None, typer.Option(help="Judge the quantised engine by this finding only; repeatable.")
    ] = None,
    split: Annotated[str, typer.Option(help="Name of the split; the bundle's own if not given.")] = "",
    out: Annotated[Path | None, typer.Option(help="Write a copy of the bundle there.")] = None,
) -> None:
    """Add an exported engine to a bundle, if it agrees with torch on validation images.

    The quantised one is added only if it agrees well enough with the exact one (exit code 5 if not); it is
    used with --engine, never by itself.
    """
    from thorax.bundle import load_bundle, refuse_used_folder
    from thorax.bundle.folder import copy_bundle
    from thorax.cli.console import progress_bars
    from thorax.inference.ensemble import validation_part
    from thorax.store import open_store

    if gated and not int8:
        raise typer.BadParameter("--gated says what a quantised engine is judged by; give --int8 too")
    opened, images = load_bundle(bundle), open_store(store)
    part = validation_part(opened, images, split or None)
    images.verify()
    if out is not None:
        refuse_used_folder(out)
        opened = copy_bundle(opened, out)
    # Only now: torch takes seconds to import, and what is wrong above is said at once.
    from thorax.exporting import CHECKED_IMAGES, export_float32, export_int8, spread

    reference = part.split.image_set("val", part.rows, dataset=images.dataset)
    pixels = images.pixels(spread(part.rows, CHECKED_IMAGES))
    opened = export_float32(opened, pixels, to=to, compared_on=reference)
    typer.echo(_told(opened))
    if int8:
        with progress_bars() as progress:
            opened = export_int8(opened, part, to=to, gated=gated or (), progress=progress)
        typer.echo(_told(opened))
    typer.echo(f"bundle: {opened.folder}")


def _told(bundle: "Bundle") -> str:
    """Say what the gate found for the engine that was added last."""
    exported = bundle.manifest.engines[-1]
    parity, on = exported.parity, exported.parity.compared_on
    figures = {
        "99th percentile": parity.percentile_99,
        "macro AUC": parity.macro_auc_change,
        "sensitivity or specificity": parity.operating_point_change,
    }
    further = "".join(f", {name} by {value:g}" for name, value in figures.items() if value is not None)
    return (
        f"{exported.kind} {exported.precision}: probabilities differ from {parity.compared_with} by at most "
        f"{parity.largest_difference:g}{further} ({parity.num_images:,} images of the {on.part} part of "
        f"{on.split})"
    )
