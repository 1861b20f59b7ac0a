"""`thorax import`: convert another project's checkpoint into a bundle."""

from pathlib import Path
from typing import Annotated

import typer

from thorax.cli.output import say
from thorax.recipe.literals import Fit, ForeignKind

__all__ = ["import_"]


def import_(
    file: Annotated[Path, typer.Argument(help="The checkpoint: safetensors, torch.save or .h5 of Keras.")],
    kind: Annotated[ForeignKind, typer.Option("--as", help="The project that it comes from.")],
    out: Annotated[Path, typer.Option(help="Folder of the bundle.")],
    name: Annotated[str, typer.Option(help="Name of the model; default: the file's.")] = "",
    findings: Annotated[
        str,
        typer.Option(
            help="Findings of the outputs, in order, separated by commas (nothing between two commas leaves "
            "an output out); or NIH14 or NIH15."
        ),
    ] = "",
    backbone: Annotated[
        str,
        typer.Option(
            help="The network's name in its project, e.g. resnet50 or densenet121-res224-nih (short: nih)."
        ),
    ] = "",
    input_size: Annotated[int | None, typer.Option(help="Side of the network's input in pixels.")] = None,
    mean: Annotated[
        list[float] | None, typer.Option(help="Mean of a channel, for pixels in [0, 1]. May be repeated.")
    ] = None,
    std: Annotated[
        list[float] | None, typer.Option(help="Standard deviation of a channel. May be repeated.")
    ] = None,
    fit: Annotated[Fit | None, typer.Option(help="How its training images became square.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing bundle.")] = False,
) -> None:
    """Convert a foreign checkpoint into a bundle, without running its code; every tensor must match."""
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
    say(
        f"{provenance.source}: {len(labels)} findings ({', '.join(labels)})\n"
        f"self-test: logits differ by at most {provenance.self_test:.1e} from {provenance.compared_with}\n"
        "not calibrated: thorax calibrate fits calibration and thresholds on a validation part"
    )
    for notice in written.notices:
        say(f"note: {notice}", err=True)
    say(f"bundle: {written.bundle.folder}")
