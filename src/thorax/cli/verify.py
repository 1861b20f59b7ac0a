"""`thorax verify`: check the files of a bundle, and its signature, or those of a store."""

from pathlib import Path
from typing import Annotated

import typer

from thorax.cli.output import say

__all__ = ["verify"]


def verify(
    path: Annotated[Path, typer.Argument(help="A bundle, the run that made it, or a store.")],
    key: Annotated[
        Path | None, typer.Option(help="PEM file of the public key that must have signed the bundle.")
    ] = None,
) -> None:
    """Verify that the files of a bundle or store are those that it was written with.

    With --key also who signed a bundle.
    """
    from thorax.workflows.signing import is_store

    if is_store(path):
        _verify_store(path, key)
    else:
        _verify_bundle(path, key)


def _verify_store(path: Path, key: Path | None) -> None:
    from thorax.cli.progress_lines import bars_or_lines
    from thorax.workflows.signing import verify_store

    with bars_or_lines() as progress:
        verified = verify_store(path, key, progress=progress)
    store = verified.store
    say(
        f"{path}: {verified.num_files} files, with {len(store):,} images of {store.num_patients:,} patients, "
        f"are as {path / 'store.json'} describes them"
    )
    _list_others(verified.others)


def _verify_bundle(path: Path, key: Path | None) -> None:
    from thorax.workflows.signing import verify as verify_bundle

    verified = verify_bundle(path, key)
    opened = verified.bundle
    manifest = opened.folder / "bundle.json"
    say(f"{opened.manifest.name}: {verified.num_files} files are as {manifest} describes them")
    gate = opened.manifest.gate
    if gate is not None:
        say(f"its input gate was fitted on the {gate.fitted_on}")
    _list_others(verified.others)
    match verified.signature:
        case "right":
            say(f"signed with {key}")
        case "not checked":
            say("it has a signature, which was not checked: name the public key with --key", err=True)
        case _:
            say("it has no signature, so that who made it is not known", err=True)


def _list_others(names: tuple[str, ...]) -> None:
    if names:
        say(f"not part of it, and not verified: {', '.join(names)}", err=True)
