"""`thorax export`: a bundle's nets for onnxruntime or OpenVINO, behind a parity gate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from thorax.bundle.manifest import Exported

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
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a bundle where the copy goes.")
    ] = False,
) -> None:
    """Add an exported engine to a bundle, if it agrees with torch on validation images.

    The quantised one is added only if it agrees well enough with the exact one (exit code 5 if not); it is
    used with --engine, never by itself.
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
            out=out,
            overwrite=overwrite,
            progress=progress,
        )
    for engine in written.bundle.manifest.engines[-2 if int8 else -1 :]:
        typer.echo(_describe_engine(engine))
    typer.echo(f"bundle: {written.bundle.folder}")


def _describe_engine(exported: "Exported") -> str:
    """Say what the gate found for an engine."""
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
