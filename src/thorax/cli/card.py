"""`thorax card`: a model card of a bundle."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["card"]


def card(
    bundle: Annotated[Path, typer.Argument(help="A bundle, or the run that made it.")],
    out: Annotated[Path, typer.Option(help="The Markdown file to write.")],
    metrics: Annotated[
        Path | None, typer.Option(help="A metrics.json of `thorax evaluate` for this bundle.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Write a model card: what the bundle is for, what it was made of, and how well it does."""
    from thorax.reporting.model_card import model_card

    model_card(bundle, out, metrics=metrics, overwrite=overwrite)
    typer.echo(f"card: {out}")
