"""`thorax export`: export a bundle to onnxruntime or OpenVINO, behind a parity gate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from thorax.cli.output import say

if TYPE_CHECKING:
    from thorax.bundle.manifest import Exported

__all__ = ["export"]


def export(
    bundle: Annotated[Path, typer.Argument(help="A bundle, or the run that made it.")],
    store: Annotated[
        Path | None, typer.Option(help="A store prepared as the bundle requires, for the comparison.")
    ] = None,
    to: Annotated[Literal["onnx", "openvino"], typer.Option(help="The engine to add.")] = "onnx",
    int8: Annotated[bool, typer.Option("--int8", help="Also add a quantized engine.")] = False,
    gated: Annotated[
        list[str] | None,
        typer.Option(help="Judge the quantized engine by this finding only. May be repeated."),
    ] = None,
    split: Annotated[str, typer.Option(help="Name of the split; default: the bundle's.")] = "",
    on_phantoms: Annotated[
        bool,
        typer.Option("--on-phantoms", help="Compare on drawn radiographs alone, without a store."),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write a copy of the bundle to this folder instead of changing it.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing bundle in the folder of the copy.")
    ] = False,
) -> None:
    """Add an exported engine to a bundle, if it agrees with torch on validation images.

    A quantized engine is added only if it agrees well enough with the exact one (exit code 5 if not). It is
    used only if --engine names it.
    """
    from thorax.cli.console import progress_bars
    from thorax.workflows.bundles import export as export_bundle

    with progress_bars() as progress:
        written = export_bundle(
            bundle,
            store,
            to=to,
            int8=int8,
            gated=gated or (),
            split=split or None,
            on_phantoms=on_phantoms,
            out=out,
            overwrite=overwrite,
            progress=progress,
        )
    for engine in written.bundle.manifest.engines[-2 if int8 else -1 :]:
        say(_describe_engine(engine))
    say(f"bundle: {written.bundle.folder}")


def _describe_engine(exported: "Exported") -> str:
    """Return how much an engine's results differ, as the gate measured it."""
    parity, on = exported.parity, exported.parity.compared_on
    figures = {
        "99th percentile": parity.percentile_99,
        "macro AUC": parity.macro_auc_change,
        "sensitivity or specificity": parity.operating_point_change,
    }
    further = "".join(f", {name} by {value:g}" for name, value in figures.items() if value is not None)
    images = f"{parity.num_images:,} images of the {on.part} part of {on.split}"
    if not on.split:
        images = f"{parity.num_images:,} drawn radiographs: NOT COMPARED ON REAL IMAGES"
    return (
        f"{exported.kind} {exported.precision}: probabilities differ from {parity.compared_with} by at most "
        f"{parity.largest_difference:g}{further} ({images})"
    )
