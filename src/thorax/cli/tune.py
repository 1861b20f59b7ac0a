"""`thorax tune`: search the settings with which a recipe does best on validation."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thorax.cli.cluster_options import Address, Cores, Memory, Place, cluster_of, gpus_of
from thorax.cli.output import say

if TYPE_CHECKING:
    from thorax.tuning.trials import StudyResult, Trial

__all__ = ["tune"]


def tune(
    recipe: Annotated[str, typer.Argument(help="Name of a shipped recipe, or a TOML file.")],
    store: Annotated[Path, typer.Option(help="A store prepared as the recipe requires.")],
    out: Annotated[Path, typer.Option(help="Folder of the study.")],
    space: Annotated[
        Path | None,
        typer.Option(help="TOML file with the ranges to search; default: those shipped for the recipe."),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Number of trials, with pruned and failed ones.")] = 30,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a setting in every trial, e.g. training.epochs=10."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the search.")] = 0,
    prune: Annotated[
        bool,
        typer.Option("--prune/--no-prune", help="End trials whose curve is worse than the median."),
    ] = True,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume an interrupted study, or extend a finished one.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    track: Annotated[
        str | None, typer.Option(help="mlflow:URI, or mlflow, whose address is then MLFLOW_TRACKING_URI.")
    ] = None,
    engine: Place = "local",
    address: Address = None,
    cores: Cores = None,
    memory: Memory = None,
) -> None:
    """Search the settings with which a recipe does best on validation; the test part is never looked at.

    With --engine ray, nodes train several trials at once; they need the store and the study's folder under
    the same paths.
    """
    from thorax.cli.progress_lines import bars_or_lines
    from thorax.hardware import keep_freed_memory
    from thorax.reporting.next_commands import train_command
    from thorax.tuning.tune import tune as tune_recipe

    cluster = cluster_of(engine, address, cores, memory, default=4, gpus=gpus_of(device))
    keep_freed_memory()
    with bars_or_lines(every=60, latest_only=True) as progress:
        study = tune_recipe(
            recipe,
            store,
            out,
            space=space,
            trials=trials,
            settings=settings or (),
            seed=seed,
            prune=prune,
            resume=resume,
            device=device,
            cluster=cluster,
            track=track,
            progress=progress,
            finished=_print_trial,
        )
    say(f"{_describe(study)}\nnext: {train_command(study.best_recipe, store, out)}")


def _print_trial(trial: "Trial") -> None:
    value = "" if trial.value is None else f" {trial.value:.4f}"
    reason = f": {trial.reason}" if trial.reason else ""
    say(f"trial {trial.number} {trial.outcome}{value}{reason}")


def _describe(study: "StudyResult") -> str:
    flattery = study.flattery
    chance = (
        f"\nif all were equally good, the best would be about {flattery.excess:.3f} from their mean by "
        "chance (an estimate)"
        if flattery
        else ""
    )
    return (
        f"{study.headline()}, which chose it, so it is not a result{chance}\n"
        f"recipe: {study.best_recipe}\npage: {study.folder / 'study.html'}"
    )
