"""The folder of a study: its identity, its files, and which of them are kept."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import optuna
import tomli_w
import torch

import thorax
from thorax.atomic_io import parse_json, write_json, write_text
from thorax.errors import DataError
from thorax.recipe.load import load_recipe, recipe_as_toml, recipe_sha256, write_recipe
from thorax.recipe.schema import Recipe
from thorax.run_files import RECIPE, STUDY
from thorax.store import Store
from thorax.training.plan import TrainingPlan
from thorax.tuning.space import Choice, SearchSpace
from thorax.tuning.study_checks import refuse_used_study
from thorax.tuning.trials import StudyResult

__all__ = ["JOURNAL", "open_study", "remove_weights", "study_identity", "take_over", "write_best_recipe"]

JOURNAL: Final = "journal.log"
_HEAVY: Final = ("bundle", "checkpoints")
"""What is removed from the run folders of all trials but the best."""

_NAMES: Final = {
    "recipe_sha256": "the recipe (or its `settings`)",
    "space_sha256": "the search space",
    "store_fingerprint": "the store",
    "split_sha256": "the split",
    "train_images_sha256": "the list of training images",
    "val_images_sha256": "the list of validation images",
    "seed": "the seed",
    "prune": "whether trials are pruned (`prune`)",
    "device": "the kind of device",
    "thorax": "the version of Thorax",
    "torch": "the version of torch",
    "optuna": "the version of Optuna",
}


def study_identity(  # noqa: PLR0913  (each is part of it)
    recipe: Recipe,
    space: SearchSpace,
    store: Store,
    plan: TrainingPlan,
    *,
    device: str,
    seed: int,
    prune: bool,
) -> dict[str, Any]:
    """Return what must be unchanged to resume a study."""
    return {
        "recipe_sha256": recipe_sha256(recipe),
        "space_sha256": space.sha256,
        "store_fingerprint": store.fingerprint,
        "split_sha256": plan.selected_on.sha256,
        "train_images_sha256": plan.trained_on.images_sha256,
        "val_images_sha256": plan.selected_on.images_sha256,
        "seed": seed,
        "prune": prune,
        "device": device,
        "thorax": thorax.__version__,
        "torch": torch.__version__,
        "optuna": optuna.__version__,
    }


def open_study(
    path: Path, recipe: Recipe, space: SearchSpace, same: Mapping[str, Any], *, resume: bool
) -> None:
    """Prepare the folder of a new study, or check that the one in it is the same.

    Args:
        path: The folder, which must exist and be locked.
        recipe: Written into it.
        space: Written into it.
        same: The study's `study_identity`.
        resume: Whether a study in the folder may be resumed.

    Raises:
        DataError: The folder holds a study and `resume` is false, a different study, or something else.
    """
    refuse_used_study(path, resume=resume)
    if (path / STUDY).is_file():
        _refuse_other(path, same)
        return
    write_recipe(recipe, path / RECIPE)
    write_text(path / "space.toml", _space_as_toml(space))
    write_json(path / STUDY, {"format": 1, **same})


def _refuse_other(path: Path, same: Mapping[str, Any]) -> None:
    file = path / STUDY
    try:
        stored = parse_json(file.read_bytes())
    except ValueError as error:
        raise DataError(f"{file} is not JSON ({error}); start again in a new folder") from error
    if not isinstance(stored, dict):
        raise DataError(f"{file} is not a JSON object; start again in a new folder")
    for key, value in same.items():
        if stored.get(key) != value:
            raise DataError(
                f"{path} cannot be resumed: {_NAMES[key]} has changed ({_short(stored.get(key))} when it "
                f"started, now {_short(value)}); use the original one, or start again in another folder"
            )


def _short(value: Any) -> str:
    text = str(value)
    return f"{text[:12]}..." if len(text) == 64 else text  # noqa: PLR2004  (hexadecimal digits of a SHA-256)


def _space_as_toml(space: SearchSpace) -> str:
    table: dict[str, Any] = {}
    for dimension in space.dimensions:
        *sections, last = dimension.key.split(".")
        owner = table
        for section in sections:
            owner = owner.setdefault(section, {})
        if isinstance(dimension, Choice):
            owner[last] = {"choices": list(dimension.values)}
        else:
            owner[last] = {"low": dimension.low, "high": dimension.high, "log": dimension.log}
    return tomli_w.dumps(table)


def take_over(study: StudyResult, number: int) -> Path:
    """Return the run folder of a trial; one that continues an interrupted trial takes over its folder."""
    folder = study.trial_folder(number)
    continues = {trial.number: trial.continues for trial in study.trials}
    earlier = continues.get(number)
    while earlier is not None and not folder.exists():
        if study.trial_folder(earlier).exists():
            study.trial_folder(earlier).rename(folder)
        earlier = continues.get(earlier)
    folder.parent.mkdir(exist_ok=True)
    return folder


def remove_weights(study: StudyResult) -> None:
    """Remove bundles and checkpoints of all trials that ended, except those of the best."""
    best = study.best
    for trial in study.trials:
        if trial.outcome == "interrupted" or (best is not None and trial.number == best.number):
            continue
        for name in _HEAVY:
            shutil.rmtree(study.trial_folder(trial.number) / name, ignore_errors=True)


def write_best_recipe(study: StudyResult, same: Mapping[str, Any]) -> None:
    """Write the best trial's recipe as TOML, with its provenance as comments; nothing if none finished."""
    best = study.best
    if best is None or best.value is None:
        return
    recipe = load_recipe(str(study.trial_folder(best.number) / RECIPE))
    competed = study.count("finished") + study.count("pruned")
    lines = [
        f"The best of {competed} trials of a study of recipe {study.recipe.name.removesuffix('-tuned')}.",
        f"{study.metric} on validation: {best.value:.6f} (trial {best.number})",
        *([] if study.gain is None else [f"The recipe's own settings: {study.gain:.6f} worse"]),
        *_flattery_lines(study),
        "Only training and validation images were used. Evaluate the trained model on the test part.",
        "",
        *(f"{key}: {value}" for key, value in same.items()),
        "",
        *(f"searched: {dimension.key} in {dimension.as_text()}" for dimension in study.space.dimensions),
    ]
    # A choice may be a text of several lines.
    comments = "".join(f"# {' '.join(line.split())}".rstrip() + "\n" for line in lines)
    write_text(study.best_recipe, f"{comments}\n{recipe_as_toml(recipe)}")


def _flattery_lines(study: StudyResult) -> list[str]:
    flattery = study.flattery
    if flattery is None:
        return []
    text = (
        f"If all {flattery.trials} trials were equally good, the best would be expected "
        f"{flattery.excess:.6f} from their mean by chance (an estimate; sd {flattery.sd:.6f})"
    )
    return [text]
