"""`thorax train`: train a recipe on a store."""

from collections.abc import Iterator
from contextlib import contextmanager
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
    store: Annotated[Path, typer.Option(help="A store prepared as the recipe requires, also at s3://.")],
    out: Annotated[Path, typer.Option(help="Folder of the run, also at s3://.")],
    recipe: Annotated[
        str | None,
        typer.Argument(help="Name of a shipped recipe, or a TOML file; not needed with --resume."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a setting, e.g. optim.lr=3e-4. May be repeated."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume an interrupted run, with its own recipe.")
    ] = False,
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
    processes: Annotated[
        int, typer.Option(min=1, help="Processes of this machine that share each batch: one per GPU.")
    ] = 1,
    track: Annotated[
        str | None, typer.Option(help="mlflow:URI, or mlflow, whose address is then MLFLOW_TRACKING_URI.")
    ] = None,
) -> None:
    """Train a recipe on the training part of its split; only validation selects the checkpoint."""
    from thorax.hardware import keep_freed_memory
    from thorax.reporting.next_commands import ensemble_command, evaluate_command
    from thorax.training.launched import launched
    from thorax.workflows.run_at import run_at
    from thorax.workflows.train import moved, train_seeds
    from thorax.workflows.train import train as train_run
    from thorax.workflows.train_processes import train_processes

    options: dict[str, Any] = {"settings": settings or (), "resume": resume, "device": device}
    options |= {"record_test_curve": record_test_curve, "track": track}
    first, code = (started := launched()) is None or started.is_first, 0
    place = Path(started.place or out) if started else out
    with run_at(out, resume=resume) as folder:
        if processes > 1:
            options |= {"processes": processes, "seeds": seeds, "place": out}
            code = train_processes(recipe, store, folder, **options)
        else:
            keep_freed_memory()
            with _progress(silent=not first) as shown:
                if seeds == 1:
                    run = moved(train_run(recipe, store, folder, **options, **shown), place)
                else:
                    shown["finished"] = lambda run: _print_run(moved(run, place / run.folder.name))
                    runs = train_seeds(recipe, store, folder, seeds=seeds, **options, **shown)
    if processes > 1 or not first:
        raise typer.Exit(code)
    if seeds == 1:
        _print_run(run)
        say(f"next: {evaluate_command(run.folder, store)}")
    else:
        say(f"\n{_describe_seeds(runs)}\nnext: {ensemble_command(runs.folders_in(place), store, place)}")


@contextmanager
def _progress(*, silent: bool) -> Iterator[dict[str, Any]]:
    """Yield the callbacks that show how training goes; none in a process beside the one that shows it."""
    from thorax.cli.progress_lines import bars_or_lines
    from thorax.progress import epoch_lines

    if silent:
        yield {}
        return
    with bars_or_lines(every=60, latest_only=True) as progress:
        yield {"progress": progress, "watch": epoch_lines(say)}


def _print_run(run: "RunSummary") -> None:
    for notice in run.notices:
        say(notice, err=True)
    if run.premium is not None:
        say(_describe_bias(run.premium), err=True)
    metric = "n/a" if run.macro_auc is None else f"{run.macro_auc:.3f}"
    early = ", stopped early" if run.stopped_early else ""
    say(
        f"\nkept epoch {run.selected_epoch} of {run.epochs}{early}: mean AUC {metric} on validation\n"
        "(not a result, because validation images chose and calibrated the model)\n"
        f"bundle: {run.bundle}, curves and settings: {run.folder / 'report.html'}"
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
    return f"{len(summary.runs)} seeds: mean AUC on validation {mean:.3f} (sd {sd:.3f})"
