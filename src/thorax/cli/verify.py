"""`thorax verify`: check the files of a bundle, and its signature."""

from pathlib import Path
from typing import Annotated

import typer

from thorax.cli.output import say

__all__ = ["verify"]


def verify(
    bundle: Annotated[Path, typer.Argument(help="A bundle, or the run that made it.")],
    key: Annotated[
        Path | None, typer.Option(help="PEM file of the public key that must have signed it.")
    ] = None,
) -> None:
    """Verify that a bundle's files are those of its manifest, and with --key who signed it."""
    from thorax.workflows.signing import verify as verify_bundle

    verified = verify_bundle(bundle, key)
    opened = verified.bundle
    manifest = opened.folder / "bundle.json"
    say(f"{opened.manifest.name}: {verified.num_files} files are as {manifest} describes them")
    if verified.others:
        say(f"not part of it, and not verified: {', '.join(verified.others)}", err=True)
    match verified.signature:
        case "right":
            say(f"signed with {key}")
        case "not checked":
            say("it has a signature, which was not checked: name the public key with --key", err=True)
        case _:
            say("it has no signature, so that who made it is not known", err=True)
