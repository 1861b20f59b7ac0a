"""`thorax download`: download a public data set."""

from pathlib import Path
from typing import Annotated

import typer

from thorax.cli.output import say

__all__ = ["download"]


def download(
    source: Annotated[str, typer.Argument(help="nih, nih-sample or nih-kaggle.")],
    dest: Annotated[Path, typer.Argument(help="Folder of the data set, which `thorax prepare` then reads.")],
    only: Annotated[
        list[str] | None,
        typer.Option(help="Only this archive, such as images_001, and the labels; repeat it for more."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=16, help="Files at once.")] = 3,
    keep_archives: Annotated[
        bool, typer.Option("--keep-archives", help="Keep archives after unpacking them.")
    ] = False,
    addresses: Annotated[
        Path | None, typer.Option(help="TOML with addresses that replace the shipped ones.")
    ] = None,
) -> None:
    """Download a public data set and unpack it. If interrupted, the same command resumes."""
    from thorax.cli.main import with_flags
    from thorax.cli.progress_lines import bars_or_lines
    from thorax.datasets.download import download_data_set, load_source, terms_of
    from thorax.outputs import refuse_unwritable

    chosen = load_source(source, addresses)
    flags = {"addresses": "--addresses", "only": "--only"}
    refuse_unwritable(dest)
    say(with_flags(terms_of(chosen), flags), err=True)
    with bars_or_lines() as progress:
        summary = download_data_set(
            chosen, dest, only=only or (), workers=workers, keep_archives=keep_archives, progress=progress
        )
    for notice in summary.notices:
        say(notice, err=True)
    for name in summary.by_hand:
        say(f"{name} has no known address; get it from {chosen.page} and put it into {dest}", err=True)
    for name, reason in summary.failed.items():
        say(with_flags(f"{name}: {reason}", flags), err=True)
    if summary.downloaded or summary.failed:
        say(f"{len(summary.downloaded)} files are new in {dest}, with {summary.num_images:,} images")
    else:
        say(
            f"{dest} is complete: {len(summary.unchanged)} files are unchanged, {summary.num_images:,} images"
        )
    if summary.failed:
        raise typer.Exit(3)
    say(f"Next: thorax prepare {dest} --recipe small-cpu --out store")
