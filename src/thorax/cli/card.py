"""`thorax card`: write a bundle's model card."""

from pathlib import Path
from typing import Annotated

import typer

from thorax.cli.output import say
from thorax.recipe.literals import Checklist

__all__ = ["card"]


def card(
    bundle: Annotated[Path, typer.Argument(help="A bundle, or the run that made it.")],
    out: Annotated[Path, typer.Option(help="The Markdown file to write.")],
    metrics: Annotated[
        Path | None, typer.Option(help="metrics.json of `thorax evaluate` for this bundle.")
    ] = None,
    checklist: Annotated[
        Checklist | None, typer.Option(help="Add this checklist for studies, filled as far as known.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Write a model card: intended use, training data, results and limits."""
    from thorax.reporting.model_card import model_card

    model_card(bundle, out, metrics=metrics, checklist=checklist, overwrite=overwrite)
    say(f"card: {out}")
