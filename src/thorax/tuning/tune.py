"""`tune`: search the settings with which a recipe does best on validation."""

import os
from collections.abc import Callable
from pathlib import Path

from thorax.atomic_io import StrPath
from thorax.cluster import Cluster
from thorax.errors import RecipeError
from thorax.packages import require
from thorax.progress import ProgressCallback
from thorax.recipe.load import Settings, changed_recipe, load_recipe
from thorax.recipe.schema import Recipe
from thorax.store import open_store
from thorax.tracking.service import parse_target
from thorax.training.checks import refuse_mistakes
from thorax.tuning.space import SearchSpace, load_space
from thorax.tuning.study_checks import refuse_used_study
from thorax.tuning.trials import StudyResult, Trial

__all__ = ["tune"]


def tune(  # noqa: PLR0913  (the settings of a study)
    recipe: StrPath,
    store: StrPath,
    out: StrPath,
    *,
    space: StrPath | None = None,
    trials: int = 30,
    settings: Settings = (),
    seed: int = 0,
    prune: bool = True,
    resume: bool = False,
    device: str = "auto",
    cluster: Cluster | None = None,
    track: str | None = None,
    progress: ProgressCallback | None = None,
    finished: Callable[[Trial], None] | None = None,
) -> StudyResult:
    """Search the settings with which a recipe does best on the validation part of its split.

    Settings are drawn by a tree-structured Parzen estimator. The first trial has the recipe's own settings if
    the space contains them. A trial whose curve is worse than the median of earlier ones is pruned; one that
    fails is recorded, and the study continues. Only the best trial keeps its bundle and checkpoints.

    Args:
        recipe: Name of a shipped recipe, or a TOML file.
        store: A store prepared as the recipe requires.
        out: The study's folder: a new or empty one, unless `resume`.
        space: A TOML file with a search space; None takes the one shipped for the recipe.
        trials: Number of trials, with pruned and failed ones. A finished study is extended by a larger number
            and `resume`.
        settings: Settings of the recipe to change in every trial.
        seed: Seed of the search. All trials train with the recipe's own seed.
        prune: Whether trials are pruned.
        resume: Resume the study in `out`; a trial that was interrupted continues from its checkpoint.
        device: "auto", "cpu", "cuda" or "cuda:N".
        cluster: A Ray cluster that trains several trials at once, each on one node. Every node must see the
            store and `out` under the same paths.
        track: Where to track the study and its trials: "mlflow:URI", or "mlflow", whose address is then
            MLFLOW_TRACKING_URI. A service that fails is a warning; the study continues.
        progress: Receives the number of finished images of each epoch of each trial.
        finished: Receives each trial when it ends.

    Raises:
        RecipeError: The recipe, the space or their values are wrong.
        DataError: The store is not what the recipe requires, or `out` holds something else.
        ThoraxError: No trial finished.
        ServiceError: There is no such cluster, or it has no room.
        TrainingInterrupted: Ctrl-C or SIGTERM stopped the study; it can be resumed.

    Example:
        settings = ["data.split=folder-official", "training.epochs=5"]
        study = thorax.tune("small-cpu", store, "study", trials=2, settings=settings)
        study.best
    """
    if trials < 1 or not 0 <= seed < 2**31:
        raise RecipeError(
            f"a study needs at least 1 trial and a seed from 0 to 2147483647, but `trials` is {trials} and "
            f"`seed` is {seed}; change them"
        )
    for package in ("torch", "optuna"):
        require(package, "thorax tune")
    target = parse_target(track) if track else None
    shipped = load_recipe(os.fspath(recipe), settings)
    searched = load_space(
        shipped, None if space is None else Path(space), fixed=[key.partition("=")[0] for key in settings]
    )
    _refuse_unlike_losses(shipped, searched)
    base = _tuned(shipped)
    folder = Path(out)
    refuse_used_study(folder, resume=resume)
    images = open_store(store)
    refuse_mistakes(base, images, folder, device=device)
    images.verify()
    # Only now: torch and optuna take seconds to import, and the errors above are reported at once.
    from thorax.tuning.search import run_study  # noqa: PLC0415

    return run_study(
        base,
        searched,
        images,
        folder,
        trials=trials,
        seed=seed,
        prune=prune,
        resume=resume,
        device=device,
        target=target,
        cluster=cluster,
        progress=progress,
        finished=finished,
    )


def _refuse_unlike_losses(recipe: Recipe, space: SearchSpace) -> None:
    keys = [dimension.key for dimension in space.dimensions if dimension.key.split(".")[0] == "loss"]
    if recipe.selection.metric == "loss" and keys:
        raise RecipeError(
            f"space {space.name} varies {keys[0]}, and recipe {recipe.name} is selected by the loss itself, "
            "so its trials could not be compared; set `selection.metric=macro-auc`, or remove it from the "
            "space"
        )


def _tuned(recipe: Recipe) -> Recipe:
    """Return the recipe under the name of its tuned variants, with texts that hold for all of them."""
    name = recipe.name.removesuffix("-tuned")
    texts = {
        "name": f"{name}-tuned",
        "summary": f"{name} with settings from a search on validation",
        "source": f"thorax tune, from {name}. {recipe.source}".strip(),
        "cost": "Not measured.",
    }
    return changed_recipe(recipe, texts)
