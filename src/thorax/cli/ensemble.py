"""`thorax ensemble`: combine several bundles into one."""

from pathlib import Path
from typing import Annotated

import typer

from thorax.cli.output import say
from thorax.recipe.literals import MeanOf, MemberWeights, OperatingPointRule

__all__ = ["ensemble"]


def ensemble(
    bundles: Annotated[list[Path], typer.Argument(help="Two or more bundles, or the runs that made them.")],
    out: Annotated[Path, typer.Option(help="Folder of the ensemble's bundle.")],
    name: Annotated[str, typer.Option(help="Name of the ensemble.")] = "ensemble",
    mean_of: Annotated[MeanOf, typer.Option("--mean", help="What is averaged.")] = "probabilities",
    store: Annotated[
        Path | None, typer.Option(help="A store to calibrate it on; default: not calibrated.")
    ] = None,
    split: Annotated[str, typer.Option(help="Name of the split; default: the members'.")] = "",
    weights: Annotated[MemberWeights, typer.Option(help="Equal weights, or fitted on validation.")] = "equal",
    rule: Annotated[
        OperatingPointRule, typer.Option(help="Rule that chooses the thresholds.")
    ] = "f1-optimal",
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing bundle.")] = False,
) -> None:
    """Average the outputs of several bundles; weights and calibration are fitted on validation."""
    from thorax.cli.calibrate import print_calibrated
    from thorax.cli.progress_lines import bars_or_lines
    from thorax.workflows.bundles import ensemble as average_bundles

    with bars_or_lines() as progress:
        written = average_bundles(
            bundles,
            out,
            name=name,
            mean_of=mean_of,
            store=store,
            split=split or None,
            weights=weights,
            rule=rule,
            device=device,
            overwrite=overwrite,
            progress=progress,
        )
    if store is None:
        say(f"not calibrated: run thorax calibrate {out} --store ... --out ...\nbundle: {out}")
        return
    averaged = written.bundle.manifest.ensemble
    assert averaged is not None
    weight_texts = ", ".join(f"{weight:.3f}" for weight in averaged.weights)
    say(f"{len(averaged.weights)} members, mean of {averaged.mean_of}, weights {weight_texts}")
    print_calibrated(written)
