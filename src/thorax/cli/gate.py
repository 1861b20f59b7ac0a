"""`thorax gate`: fit the input gate of a bundle."""

from pathlib import Path
from typing import Annotated

import typer

from thorax.cli.output import say

__all__ = ["gate"]


def gate(
    bundle: Annotated[Path, typer.Argument(help="A bundle, or the run that made it.")],
    store: Annotated[Path, typer.Option(help="A store prepared as the bundle requires.")],
    split: Annotated[str, typer.Option(help="Name of the split; default: the bundle's.")] = "",
    out: Annotated[
        Path | None, typer.Option(help="Folder of a copy with the gate; default: the bundle itself.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the bundle's gate, or an existing bundle.")
    ] = False,
) -> None:
    """Fit the gate that refuses what is not a chest radiograph like those of training."""
    from thorax.cli.progress_lines import bars_or_lines
    from thorax.workflows.gate import gate as fit_gate

    with bars_or_lines() as progress:
        written = fit_gate(
            bundle, store, split=split or None, out=out, overwrite=overwrite, progress=progress
        )
    section = written.bundle.manifest.gate
    assert section is not None
    say(
        f"input gate, fitted on the {section.fitted_on}\n"
        f"on the {section.chosen_on}, which set its limits: {section.held_back} held back, "
        f"{section.turned_caught} turned and {section.inverted_caught} inverted copies caught, "
        f"{section.mirrored_caught} mirrored ones ({section.mirrored_called} as they are); "
        f"{section.pictures_caught} drawn pictures refused\n"
        f"bundle: {written.bundle.folder}"
    )
