"""`thorax export`: export a bundle to onnxruntime or OpenVINO behind a parity gate, or as a web site."""

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
    to: Annotated[
        Literal["onnx", "openvino", "web"],
        typer.Option(help="The engine to add; or web: a folder of files that predicts in any browser."),
    ] = "onnx",
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
        Path | None,
        typer.Option(
            help="Write a copy of the bundle to this folder instead of changing it; with --to web, the site."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what an earlier export wrote to --out.")
    ] = False,
    runtime: Annotated[
        Path | None,
        typer.Option(
            help="With --to web: onnxruntime-web as npm packs it; without it, the command is shown."
        ),
    ] = None,
    decoders: Annotated[
        Path | None,
        typer.Option(
            help="With --to web: folder with the decoders that docs/web.md names, as npm packs them."
        ),
    ] = None,
) -> None:
    """Add an exported engine to a bundle, if it agrees with torch on validation images.

    A quantized engine is added only if it agrees well enough with the exact one (exit code 5 if not). It is
    used only if --engine names it.

    With --to web, write a site instead: the page of `thorax serve` as static files. The browser computes with
    the bundle's ONNX graphs, and no image leaves it.
    """
    if to == "web":
        if store or int8 or gated or split or on_phantoms:
            raise typer.BadParameter("--to web takes --out, --runtime, --decoders and --overwrite alone")
        _write_site(bundle, out, runtime, decoders, overwrite=overwrite)
        return
    if runtime is not None or decoders is not None:
        raise typer.BadParameter("--runtime and --decoders belong to --to web")
    from thorax.cli.progress_lines import bars_or_lines
    from thorax.workflows.bundles import export as export_bundle

    with bars_or_lines() as progress:
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


def _write_site(
    bundle: Path, out: Path | None, runtime: Path | None, decoders: Path | None, *, overwrite: bool
) -> None:
    """Write a site, and say how large it is."""
    if out is None:
        raise typer.BadParameter("--to web needs --out, the folder of the site")
    from thorax.web import write_site

    site = write_site(bundle, out, runtime=runtime, decoders=decoders, overwrite=overwrite)
    say(f"site: {site.folder}, {site}")
    say(f"try it: python3 -m http.server --bind 127.0.0.1 --directory {site.folder}")


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
