"""`thorax train`: from a recipe and a store to a bundle."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from thorax.training import Progress, ProgressCallback, RunSummary

__all__ = ["train"]


def train(
    recipe: Annotated[str, typer.Argument(help="Name of a shipped recipe, or a TOML file.")],
    store: Annotated[Path, typer.Option(help="A store prepared as the recipe wants it.")],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting to change, such as optim.lr=3e-4.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a stopped run was.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
) -> None:
    """Train a recipe on the training part of its split; validation alone chooses."""
    from thorax.recipe.load import load_recipe
    from thorax.store import open_store

    loaded = load_recipe(recipe, settings or ())
    images = open_store(store)
    images.verify()
    # Only now: torch takes two seconds to import, and a wrong setting is told at once.
    from thorax.training import train as run

    with _progress() as progress:
        summary = run(loaded, images, out, resume=resume, device=device, progress=progress)
    for notice in summary.notices:
        typer.echo(notice, err=True)
    typer.echo(_told(summary))


@contextmanager
def _progress() -> "Iterator[ProgressCallback]":
    """Show a bar with epoch, loss, images per second and the time left."""
    from datetime import timedelta

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("epoch {task.fields[epoch]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}  {task.fields[rate]:,.0f} images/s  {task.fields[left]} left"),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("training", total=None, epoch="1", loss="...", rate=0.0, left="...")

        def update(now: "Progress") -> None:
            left = "..." if now.seconds_left is None else str(timedelta(seconds=round(now.seconds_left)))
            bar.update(
                task,
                completed=now.step,
                total=now.steps,
                epoch=f"{now.epoch}/{now.epochs}",
                loss="..." if now.loss is None else f"{now.loss:.4f}",
                rate=now.images_per_second,
                left=left,
            )

        yield update


def _told(summary: "RunSummary") -> str:
    metric = "n/a" if summary.macro_auc is None else f"{summary.macro_auc:.3f}"
    early = ", stopped early" if summary.stopped_early else ""
    return (
        f"epoch {summary.selected_epoch} of {summary.epochs}{early}: mean AUC {metric} on validation, "
        "which calibrated it: no result (thorax evaluate gives one)\n"
        f"bundle: {summary.bundle}"
    )
