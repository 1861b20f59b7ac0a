"""`thorax import`: other projects' checkpoints as bundles."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thorax.recipe.literals import Fit, ForeignKind

if TYPE_CHECKING:
    from thorax.checkpoints.importer import ForeignNet

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
) -> None:
    """Make a bundle of a foreign checkpoint: nothing in it is run, every tensor is matched or refused."""
    from thorax.bundle import refuse_used_folder
    from thorax.checkpoints.foreign_net import ForeignOptions
    from thorax.checkpoints.importer import deliver_imported, read_foreign
    from thorax.findings import parse_findings

    refuse_used_folder(out)
    names = findings if findings in {"NIH14", "NIH15"} else findings.split(",")
    options = ForeignOptions(
        findings=parse_findings(names) if findings else None,
        backbone=backbone or None,
        input_size=input_size,
        mean=tuple(mean) if mean else None,
        std=tuple(std) if std else None,
        fit=fit,
    )
    checkpoint = read_foreign(file, kind, options)
    bundle = deliver_imported(checkpoint, out, name=name or file.stem.split(".")[0])
    typer.echo(_told(checkpoint))
    for note in checkpoint.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"bundle: {bundle.folder}")


def _told(checkpoint: "ForeignNet") -> str:
    findings = ", ".join(finding.label for finding in checkpoint.findings)
    return (
        f"{checkpoint.source}: {len(checkpoint.findings)} findings ({findings})\n"
        f"self-test: logits differ by {checkpoint.difference:.1e} at most from {checkpoint.compared_with}\n"
        "not calibrated: thorax calibrate fits temperature and thresholds on a validation part"
    )
