"""`thorax sign`: sign a bundle with a key of one's own, or make such a key."""

from pathlib import Path
from typing import Annotated

import typer

from thorax.cli.output import say

__all__ = ["sign"]


def sign(
    bundle: Annotated[Path | None, typer.Argument(help="A bundle, or the run that made it.")] = None,
    key: Annotated[Path | None, typer.Option(help="PEM file of an ed25519 private key.")] = None,
    new_key: Annotated[
        Path | None, typer.Option(help="Make a key: this file, and the public one beside it, .pub.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing signature.")] = False,
) -> None:
    """Sign a bundle, so that others can verify who vouches for it."""
    if (bundle is None) != (key is None) or (bundle is None) == (new_key is None):
        raise typer.BadParameter("give a bundle with --key, or --new-key alone")
    if new_key is not None:
        from thorax.bundle.signature import new_key as make_key

        made = make_key(new_key)
        say(f"private key: {made.private} (keep it to yourself)\npublic key: {made.public}")
    if bundle is not None and key is not None:
        from thorax.workflows.signing import sign as sign_bundle

        say(f"signature: {sign_bundle(bundle, key, overwrite=overwrite)}")
