"""`thorax train`: from a recipe and a store to a bundle."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from thorax.training import RunSummary
    from thorax.training.selection_bias import SelectionBias
    from thorax.workflows.train import SeedsSummary

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
    from thorax.cli.console import progress_bars
    from thorax.hardware import keep_freed_memory
    from thorax.workflows.train import train as train_run
    from thorax.workflows.train import train_seeds

    keep_freed_memory()
    options: dict[str, Any] = {
        "settings": settings or (),
        "resume": resume,
        "device": device,
        "record_test_curve": record_test_curve,
    }
    with progress_bars() as progress:
        if seeds == 1:
            _print_run(train_run(recipe, store, out, **options, progress=progress))
            return
        runs = train_seeds(recipe, store, out, seeds=seeds, **options, progress=progress, finished=_print_run)
    typer.echo(_describe_seeds(runs))


def _print_run(run: "RunSummary") -> None:
    for notice in run.notices:
        typer.echo(notice, err=True)
    if run.premium is not None:
        typer.echo(_describe_bias(run.premium), err=True)
    metric = "n/a" if run.macro_auc is None else f"{run.macro_auc:.3f}"
    early = ", stopped early" if run.stopped_early else ""
    typer.echo(
        f"epoch {run.selected_epoch} of {run.epochs}{early}: mean AUC {metric} on validation, "
        "which calibrated it: no result (thorax evaluate gives one)\n"
        f"bundle: {run.bundle}"
    )


def _describe_bias(bias: "SelectionBias") -> str:
    return (
        f"warning: mean AUC on the test part {bias.macro_auc:.3f} (epoch {bias.epoch}, by validation)."
        f" Choosing the checkpoint on the test part would have reported {bias.best_macro_auc:.3f} (epoch "
        f"{bias.best_epoch}), {bias.excess:.3f} too much; nothing was chosen by it"
    )


def _describe_seeds(summary: "SeedsSummary") -> str:
    if summary.macro_auc is None:
        return f"{len(summary.runs)} seeds: mean AUC n/a on validation"
    mean, sd = summary.macro_auc
    return (
        f"{len(summary.runs)} seeds: mean AUC on validation {mean:.3f} (sd {sd:.3f}); "
        "each has its own bundle, and thorax ensemble makes one of them"
    )
