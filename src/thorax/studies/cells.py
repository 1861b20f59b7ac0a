"""The cells of a study: one training run and its evaluation each, in folders of their own."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from thorax.atomic_io import parse_json
from thorax.errors import RecipeError
from thorax.evaluation.inputs.metrics_json import METRICS_FILE
from thorax.evaluation.inputs.prediction_csv import PREDICTIONS_FILE
from thorax.recipe.load import changed_recipe
from thorax.recipe.schema import Recipe
from thorax.run_files import LOG
from thorax.store import Store
from thorax.studies.definition import StudyDefinition
from thorax.training.checks import check_store

__all__ = ["Cell", "folder_name", "store_of", "study_cells"]

_RUNS: Final = "runs"
_REPORTS: Final = "reports"
_COSTS: Final = "costs"


@dataclass(frozen=True, slots=True)
class Cell:
    """One recipe with one seed on one split of one data set.

    Attributes:
        study: The study's folder.
        data: The name of the data set.
        split: The name of the split.
        model: The name of the model: of the recipe, with its variant.
        seed: The seed.
        recipe: The recipe with this split and seed.
        store: The folder of the store.
        test_curve: Whether training records the test curve.
        resamples: Resamples of the patients in the evaluation.
    """

    study: Path
    data: str
    split: str
    model: str
    seed: int
    recipe: Recipe
    store: Path
    test_curve: bool
    resamples: int

    @property
    def group(self) -> Path:
        """The data set, the split and the model, as a relative path."""
        return Path(self.data, folder_name(self.split), self.model)

    @property
    def name(self) -> str:
        """The path of the cell below the folders of runs and of reports."""
        return (self.group / f"seed-{self.seed}").as_posix()

    @property
    def run(self) -> Path:
        """The folder of its training run."""
        return self.study / _RUNS / self.name

    @property
    def report(self) -> Path:
        """The folder of its evaluation, which exists only whole."""
        return self.study / _REPORTS / self.name

    @property
    def costs(self) -> Path:
        """The file of what it cost."""
        return self.study / _COSTS / f"{self.name}.jsonl"

    @property
    def is_trained(self) -> bool:
        """Whether its run has finished."""
        if not (self.run / "bundle" / "bundle.json").is_file():
            return False
        try:
            *_, last = (self.run / LOG).read_bytes().split(b"\n")[:-1]
            return bool(parse_json(last).get("event") == "end")
        except (OSError, ValueError, AttributeError):
            return False

    @property
    def is_evaluated(self) -> bool:
        """Whether its report is whole."""
        return all((self.report / name).is_file() for name in (METRICS_FILE, PREDICTIONS_FILE))


def study_cells(
    study: StudyDefinition, folder: Path, stores: Mapping[str, Sequence[Store]]
) -> tuple[Cell, ...]:
    """Return the cells of a study, the seeds of a model side by side.

    Args:
        study: The study.
        folder: Its folder.
        stores: The open stores of each data set.

    Raises:
        RecipeError: A recipe does not exist, does not accept a setting, or two cells have one folder.
        DataError: No store of a data set is prepared as a recipe requires.
    """
    models = study.models()
    cells = [
        Cell(
            study=folder,
            data=data,
            split=split,
            model=model,
            seed=seed,
            recipe=changed_recipe(recipe, {"data.split": split, "training.seed": seed}),
            store=store_of(recipe, stores[data]).location,
            test_curve=study.test_curve,
            resamples=study.resamples,
        )
        for data, one in study.data.items()
        for split in one.splits
        for model, recipe in models.items()
        for seed in study.seeds
    ]
    folders = [cell.name for cell in cells]
    twice = next((name for name in folders if folders.count(name) > 1), None)
    if twice is not None:
        raise RecipeError(
            f"two splits of study {study.name} have the folder {twice}; rename the file of one of them"
        )
    return tuple(cells)


def store_of(recipe: Recipe, stores: Sequence[Store]) -> Store:
    """Return the smallest store that is prepared as a recipe requires.

    Raises:
        DataError: There is none.
    """
    fitting = [
        store
        for store in stores
        if store.preparation.fit == recipe.store.fit and store.preparation.size >= recipe.store.size
    ]
    if not fitting:
        check_store(recipe, max(stores, key=lambda store: store.preparation.size))
    return min(fitting, key=lambda store: store.preparation.size)


def folder_name(split: str) -> str:
    """Return a split's name as that of a folder: "file:lists/mine.csv" becomes "file-mine.csv"."""
    kind, _, path = split.rpartition(":")
    name = f"{kind}-{Path(path).name}" if kind else split
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)
