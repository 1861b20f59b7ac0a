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
) -> None:
    """Write a model card: what the bundle is for, what it was made of, and how well it does."""
    from thorax.atomic_io import write_text
    from thorax.bundle import load_bundle
    from thorax.errors import DataError
    from thorax.reporting.model_card import read_card_metrics, render_card

    opened = load_bundle(bundle)
    if out.is_dir():
        raise DataError(f"{out} is a folder; name the file of the card, such as {out / 'card.md'}")
    results = read_card_metrics(metrics, opened) if metrics else None
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, render_card(opened, results))
    typer.echo(f"card: {out}")
