"""`thorax train`: train a recipe on a store."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thorax.cli.output import say

if TYPE_CHECKING:
    from thorax.training import RunSummary
    from thorax.training.selection_bias import SelectionBias
    from thorax.workflows.train import SeedsSummary

__all__ = ["train"]


def train(
    recipe: Annotated[str, typer.Argument(help="Name of a shipped recipe, or a TOML file.")],
    store: Annotated[Path, typer.Option(help="A store prepared as the recipe requires.")],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a setting, e.g. optim.lr=3e-4. May be repeated."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume an interrupted run.")] = False,
    seeds: Annotated[
        int, typer.Option(min=1, help="Number of runs, with consecutive seeds from the recipe's.")
    ] = 1,
    record_test_curve: Annotated[
        bool,
        typer.Option(
            "--record-test-curve",
            help="Also evaluate each epoch on the test part, to record the bias of test-set selection.",
        ),
    ] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    track: Annotated[
        str | None, typer.Option(help="mlflow:URI, or mlflow, whose address is then MLFLOW_TRACKING_URI.")
    ] = None,
) -> None:
    """Train a recipe on the training part of its split; only validation selects the checkpoint."""
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
        "track": track,
        "watch": _print_epoch,
    }
    with progress_bars() as progress:
        if seeds == 1:
            _print_run(train_run(recipe, store, out, **options, progress=progress))
            return
        runs = train_seeds(recipe, store, out, seeds=seeds, **options, progress=progress, finished=_print_run)
    say(_describe_seeds(runs))


def _print_epoch(event: Mapping[str, Any]) -> None:
    if event["event"] == "epoch":
        say(_describe_epoch(event))


def _describe_epoch(epoch: Mapping[str, Any]) -> str:
    """Return the line of an epoch; what does not exist is n/a."""

    def number(name: str, digits: int) -> str:
        return "n/a" if epoch[name] is None else f"{epoch[name]:.{digits}f}"

    left = epoch["seconds_left"]
    return (
        f"epoch {epoch['epoch']}/{epoch['epochs']}: train loss {number('train_loss', 4)}, "
        f"val loss {number('val_loss', 4)}, AUC {number('macro_auc', 3)}, "
        f"accuracy {number('macro_accuracy', 3)}, best epoch {epoch['best_epoch'] or 'n/a'}, "
        f"{epoch['images_per_second']:,.0f} images/s, "
        f"{'n/a' if left is None else timedelta(seconds=round(left))} left"
    )


def _print_run(run: "RunSummary") -> None:
    for notice in run.notices:
        say(notice, err=True)
    if run.premium is not None:
        say(_describe_bias(run.premium), err=True)
    metric = "n/a" if run.macro_auc is None else f"{run.macro_auc:.3f}"
    early = ", stopped early" if run.stopped_early else ""
    say(
        f"epoch {run.selected_epoch} of {run.epochs}{early}: mean AUC {metric} on validation, "
        "which also calibrated it, so it is not a result (run thorax evaluate)\n"
        f"bundle: {run.bundle}"
    )


def _describe_bias(bias: "SelectionBias") -> str:
    return (
        f"warning: mean AUC on the test part {bias.macro_auc:.3f} (epoch {bias.epoch}, by validation)."
        f" Choosing the checkpoint on the test part would have reported {bias.best_macro_auc:.3f} (epoch "
        f"{bias.best_epoch}), {bias.excess:.3f} too high; it did not affect selection"
    )


def _describe_seeds(summary: "SeedsSummary") -> str:
    if summary.macro_auc is None:
        return f"{len(summary.runs)} seeds: mean AUC n/a on validation"
    mean, sd = summary.macro_auc
    return (
        f"{len(summary.runs)} seeds: mean AUC on validation {mean:.3f} (sd {sd:.3f}); "
        "each run has its own bundle; thorax ensemble combines them"
    )
