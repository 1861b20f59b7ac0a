"""The models of a comparison: each one bundle or CSV, or several training runs of one recipe."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from thorax.bundle import Bundle, Trained
from thorax.bundle.files import MANIFEST, bundle_folder
from thorax.errors import DataError
from thorax.recipe.load import load_recipe
from thorax.recipe.schema import Recipe
from thorax.run_files import RECIPE
from thorax.workflows.prediction_files import has_predictions, is_report
from thorax.workflows.predictions import BundleLike, opened_bundle

__all__ = ["GivenModel", "ModelLike", "given_models", "refuse_other_recipes"]

ModelLike = BundleLike | Sequence[BundleLike]
"""A run, bundle, CSV or report folder; or several runs of one recipe: a list, or the folder that has them."""


@dataclass(frozen=True, slots=True, eq=False)
class GivenModel:
    """One model of a comparison.

    Attributes:
        name: Its name: the last component of its path, or the whole path if two share that.
        runs: Its runs by name; one, of the model's own name, unless several were given.
    """

    name: str
    runs: dict[str, BundleLike]


def given_models(models: Sequence[ModelLike]) -> tuple[GivenModel, ...]:
    """Return the models with their names and their runs.

    Raises:
        DataError: There are fewer than two different models, or one does not exist.
    """
    given = [_runs_of(model) for model in models]
    paths = [tuple(map(_path, runs)) for runs in given]
    every = [path for group in paths for path in group]
    if len(paths) <= 1 or len(set(every)) < len(every):
        raise DataError(f"{len(paths)} models are given; give at least two, all different")
    missing = [str(path) for path in every if not path.exists()]
    if missing:
        raise DataError(f"{missing[0]} does not exist; give bundles, reports, or CSVs of probabilities")
    short = [_name(model, group, whole=False) for model, group in zip(models, paths, strict=True)]
    named = []
    for model, runs, group, name in zip(models, given, paths, short, strict=True):
        full = name if short.count(name) == 1 else _name(model, group, whole=True)
        run_names = [full] if len(runs) == 1 else [f"{full}/{own}" for own in _run_names(group)]
        named.append(GivenModel(full, dict(zip(run_names, runs, strict=True))))
    return tuple(named)


def refuse_other_recipes(model: GivenModel) -> tuple[str, ...]:
    """Refuse runs that are not of one recipe with different seeds; return what cannot be checked.

    Raises:
        DataError: Two runs have the same seed, or differ in more than the seed.
    """
    if len(model.runs) == 1:
        return ()
    origins: dict[str, Trained] = {}
    for name, run in model.runs.items():
        is_file = not isinstance(run, Bundle) and has_predictions(Path(run))
        bundle = None if is_file else opened_bundle(run)
        members = bundle.manifest.members if bundle else ()
        if len(members) != 1 or not isinstance(members[0].provenance, Trained):
            return (f"It is not known whether {', '.join(model.runs)} differ in more than their seed.",)
        origins[name] = members[0].provenance
    first, *others = origins
    recipes = {name: _recipe(run) for name, run in model.runs.items()}
    for name in others:
        one, other = origins[first], origins[name]
        same = (one.recipe, one.trained_on, recipes[first]) == (other.recipe, other.trained_on, recipes[name])
        if not same:
            raise DataError(
                f"{first} and {name} differ in more than their seed (recipes {one.recipe} and "
                f"{other.recipe}); runs that are compared as one model must come from one recipe, "
                "trained on the same images"
            )
    seeds = [origin.seed for origin in origins.values()]
    if len(set(seeds)) < len(seeds):
        raise DataError(
            f"the runs of {model.name} have the seeds {', '.join(map(str, seeds))}; give runs with different "
            "seeds, since equal ones say nothing about what another seed would give"
        )
    return ()


def _runs_of(model: ModelLike) -> tuple[BundleLike, ...]:
    if isinstance(model, Bundle):
        return (model,)
    if isinstance(model, Sequence) and not isinstance(model, str):  # a list
        return tuple(run for one in model for run in _runs_of(one))
    path = Path(model)
    if not path.exists():
        return (bundle_folder(path),)
    return _inside(path) or (path,)


def _inside(path: Path) -> tuple[Path, ...]:
    """Return the runs, or else the reports or the CSVs, in a folder that is not itself one model."""
    if not path.is_dir() or _is_bundle(path) or (path / RECIPE).exists() or has_predictions(path):
        return ()
    children = sorted(path.iterdir())
    runs = tuple(child for child in children if child.is_dir() and _is_bundle(child))
    reports = tuple(child for child in children if child.is_dir() and is_report(child))
    return runs or reports or tuple(child for child in children if child.suffix == ".csv")


def _is_bundle(path: Path) -> bool:
    return (bundle_folder(path) / MANIFEST).is_file()


def _recipe(run: BundleLike) -> Recipe | None:
    """Return the recipe of a run, with seed 0; None for a bundle away from its run."""
    file = _path(run) / RECIPE
    if not file.is_file():
        return None
    recipe = load_recipe(str(file))
    return recipe.model_copy(update={"training": recipe.training.model_copy(update={"seed": 0})})


def _name(model: ModelLike, runs: Sequence[Path], *, whole: bool) -> str:
    folder = runs[0] if isinstance(model, Bundle) or not isinstance(model, str | PathLike) else Path(model)
    name = str(folder) if whole else folder.resolve().name
    return f"{name} and {len(runs) - 1} more" if _is_list(model) and len(runs) > 1 else name


def _run_names(paths: Sequence[Path]) -> list[str]:
    names = [path.resolve().name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def _is_list(model: ModelLike) -> bool:
    return isinstance(model, Sequence) and not isinstance(model, str)


def _path(model: BundleLike) -> Path:
    """Return a model's path as a user would give it: that of the run, if a run made the bundle."""
    if not isinstance(model, Bundle):
        return Path(model)
    run = model.folder.parent
    return run if bundle_folder(run) == model.folder else model.folder
