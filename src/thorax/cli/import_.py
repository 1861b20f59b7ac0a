"""`thorax import`: other projects' checkpoints as bundles."""

from pathlib import Path
from typing import Annotated

import typer

from thorax.recipe.literals import Fit, ForeignKind

__all__ = ["import_"]


def import_(
    file: Annotated[Path, typer.Argument(help="The checkpoint: safetensors, or what torch.save wrote.")],
    kind: Annotated[ForeignKind, typer.Option("--as", help="Where it comes from.")],
    out: Annotated[Path, typer.Option(help="Folder of the bundle.")],
    name: Annotated[str, typer.Option(help="What the model is called; the file's name if not given.")] = "",
    findings: Annotated[
        str, typer.Option(help="What the outputs mean, in order, with commas between; or NIH14, NIH15.")
    ] = "",
    backbone: Annotated[
        str, typer.Option(help="What the source calls the net, such as densenet121-res224-nih or resnet50.")
    ] = "",
    input_size: Annotated[int | None, typer.Option(help="Side of the net's input in pixels.")] = None,
    mean: Annotated[list[float] | None, typer.Option(help="Mean of a channel, for pixels in [0, 1].")] = None,
    std: Annotated[list[float] | None, typer.Option(help="Standard deviation of a channel.")] = None,
    fit: Annotated[Fit | None, typer.Option(help="What was done to images that are not square.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle that is there.")] = False,
) -> None:
    """Make a bundle of a foreign checkpoint: nothing in it is run, every tensor is matched or refused."""
    from thorax.bundle.manifest import Imported
    from thorax.workflows.bundles import import_checkpoint

    names = findings if findings in {"NIH14", "NIH15"} else findings.split(",")
    written = import_checkpoint(
        file,
        kind,
        out,
        name=name or None,
        findings=names if findings else None,
        backbone=backbone or None,
        input_size=input_size,
        mean=mean or None,
        std=std or None,
        fit=fit,
        overwrite=overwrite,
    )
    provenance = written.bundle.manifest.members[0].provenance
    assert isinstance(provenance, Imported)
    labels = [finding.label for finding in written.bundle.findings]
    typer.echo(
        f"{provenance.source}: {len(labels)} findings ({', '.join(labels)})\n"
        f"self-test: logits differ by {provenance.self_test:.1e} at most from {provenance.compared_with}\n"
        "not calibrated: thorax calibrate fits temperature and thresholds on a validation part"
    )
    for notice in written.notices:
        typer.echo(f"note: {notice}", err=True)
    typer.echo(f"bundle: {written.bundle.folder}")
