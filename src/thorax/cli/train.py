"""`thorax train`: from a recipe and a store to a bundle."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from thorax.training import Progress, ProgressCallback, RunSummary
    from thorax.training.selection_bias import SelectionBias

__all__ = ["train"]


def train(
    recipe: Annotated[str, typer.Argument(help="Name of a shipped recipe, or a TOML file.")],
    store: Annotated[Path, typer.Option(help="A store prepared as the recipe wants it.")],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting to change, such as optim.lr=3e-4.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a stopped run was.")] = False,
    seeds: Annotated[
        int, typer.Option(min=1, help="Train so many times, with seeds that follow the recipe's.")
    ] = 1,
    record_test_curve: Annotated[
        bool,
        typer.Option(
            "--record-test-curve",
            help="Measure each epoch on the test part too, to see what choosing by it would have pretended.",
        ),
    ] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
) -> None:
    """Train a recipe on the training part of its split; validation alone chooses."""
    from thorax.hardware import keep_freed_memory
    from thorax.recipe.load import load_recipe
    from thorax.store import open_store

    keep_freed_memory()
    loaded = load_recipe(recipe, settings or ())
    images = open_store(store)
    images.verify()
    # Only now: torch takes two seconds to import, and a wrong setting is told at once.
    from thorax.training import train as run

    summaries = []
    for seed in range(loaded.training.seed, loaded.training.seed + seeds):
        training = loaded.training.model_copy(update={"seed": seed})
        folder = out if seeds == 1 else out / f"seed-{seed}"
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _progress() as progress:
            summary = run(
                loaded.model_copy(update={"training": training}),
                images,
                folder,
                resume=resume,
                device=device,
                record_test_curve=record_test_curve,
                progress=progress,
            )
        _tell(summary)
        summaries.append(summary)
    if seeds > 1:
        typer.echo(_told_together(summaries))


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


def _tell(summary: "RunSummary") -> None:
    for notice in summary.notices:
        typer.echo(notice, err=True)
    if summary.premium is not None:
        typer.echo(_told_premium(summary.premium), err=True)
    typer.echo(_told(summary))


def _told(summary: "RunSummary") -> str:
    metric = "n/a" if summary.macro_auc is None else f"{summary.macro_auc:.3f}"
    early = ", stopped early" if summary.stopped_early else ""
    return (
        f"epoch {summary.selected_epoch} of {summary.epochs}{early}: mean AUC {metric} on validation, "
        "which calibrated it: no result (thorax evaluate gives one)\n"
        f"bundle: {summary.bundle}"
    )


def _told_premium(found: "SelectionBias") -> str:
    return (
        f"warning: mean AUC on the test part {found.macro_auc:.3f} (epoch {found.epoch}, by validation)."
        f" Choosing the checkpoint on the test part would have reported {found.best_macro_auc:.3f} (epoch "
        f"{found.best_epoch}), {found.excess:.3f} too much; nothing was chosen by it"
    )


def _told_together(summaries: "list[RunSummary]") -> str:
    """Say the mean and the standard deviation over seeds of what each run reached on validation."""
    from statistics import mean, stdev

    scores = [summary.macro_auc for summary in summaries if summary.macro_auc is not None]
    if len(scores) < len(summaries):
        return f"{len(summaries)} seeds: mean AUC n/a on validation"
    return (
        f"{len(scores)} seeds: mean AUC on validation {mean(scores):.3f} (sd {stdev(scores):.3f}); "
        "each has its own bundle, and thorax ensemble makes one of them"
    )
