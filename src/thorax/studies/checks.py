"""Mistakes that are found before a study works: its folder, its splits, its stores, its disk."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from thorax.atomic_io import read_toml_text
from thorax.datasets.splits import build_split
from thorax.errors import DataError
from thorax.outputs import refuse_full, refuse_unwritable
from thorax.recipe.literals import SPLIT_NAMES
from thorax.recipe.load import recipe_sha256
from thorax.recipe.schema import Recipe
from thorax.reporting.run_log import read_start
from thorax.store import Store
from thorax.studies.cells import Cell
from thorax.studies.definition import StudyDefinition, parse_study

__all__ = ["STUDY_FILE", "refuse_full_disk", "refuse_other_study", "refuse_wrong_splits", "why_other_run"]

STUDY_FILE: Final = "study.toml"
"""The study in its folder."""

_PARTS: Final = ("train", "val", "test")

_FLOAT: Final = 4
"""Bytes of a weight."""

_KEPT: Final = 2
"""Copies of the weights in a bundle: those of torch, and those of the exported graph."""

_OPEN: Final = 5
"""Copies in the checkpoints of a run: the weights, their average, two moments, and the best."""

_REPORT: Final = 5_000_000
"""Bytes of an evaluation and of the small files of a run."""


def refuse_other_study(folder: Path, study: StudyDefinition) -> None:
    """Refuse a folder that holds something else, or a study that the new one does not contain.

    A study may be extended by recipes, seeds, splits and data sets. Nothing may be taken away or changed:
    results that were seen would no longer be shown.

    Raises:
        DataError: It is a file, holds something else, or another study.
    """
    refuse_unwritable(folder)
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file; give a folder for the study, `out`")
    names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    foreign = [name for name in names if not name.endswith(".partial")]
    if foreign and STUDY_FILE not in foreign:
        raise DataError(
            f"{folder} is not empty and does not hold a study, but {foreign[0]}; give an empty folder as "
            "`out`"
        )
    if STUDY_FILE in foreign:
        file = folder / STUDY_FILE
        earlier = parse_study(read_toml_text(file), where=str(file), folder=None)
        change = _taken_away(earlier, study)
        if change:
            raise DataError(
                f"{folder} holds study {earlier.name}, and {change}; a study may be extended, but what was "
                "measured must remain on its leaderboard: restore it, or give another folder as `out`"
            )


def _taken_away(earlier: StudyDefinition, study: StudyDefinition) -> str:
    """Return what an extended study has changed or left out, in words; "" if nothing."""
    for what in ("name", "baseline", "test_curve"):
        before, now = getattr(earlier, what), getattr(study, what)
        if before != now:
            return f"its {what} was {before!r} and is now {now!r}"
    gone = [f"seed {seed}" for seed in earlier.seeds if seed not in study.seeds]
    for name, one in earlier.data.items():
        if name not in study.data:
            gone.append(f"data set {name}")
            continue
        gone += [f"split {split} of {name}" for split in one.splits if split not in study.data[name].splits]
        if one.phantoms != study.data[name].phantoms:
            return f"the phantoms of {name} have changed"
    models, others = earlier.models(), study.models()
    gone += [f"model {name}" for name in models if name not in others]
    if gone:
        return f"{gone[0]} is no longer part of it"
    changed = [
        name for name, recipe in models.items() if recipe_sha256(recipe) != recipe_sha256(others[name])
    ]
    return f"the settings of {changed[0]} have changed" if changed else ""


def refuse_wrong_splits(
    study: StudyDefinition, stores: Mapping[str, Sequence[Store]], recipes: Iterable[Recipe]
) -> None:
    """Refuse splits that do not exist or have an empty part, as far as their stores exist.

    Raises:
        DataError: There is no such split, it is not for the data set, or one of its parts is empty.
    """
    views = {recipe.data.views for recipe in recipes}
    for name, one in study.data.items():
        for split in one.splits:
            if name not in stores and split not in SPLIT_NAMES and not split.startswith("file:"):
                raise DataError(
                    f"data set {name} of study {study.name} has the split {split!r}, which does not exist; "
                    f"there are {', '.join(SPLIT_NAMES)} and file:PATH"
                )
            for store in stores.get(name, ()):
                parts = build_split(
                    split, store.table, dataset=store.dataset, whole_sha256=store.split_sha256
                )
                for part in _PARTS:
                    for view in views if part != "test" else ((),):
                        parts.rows(part, views=view)


def why_other_run(cell: Cell, fingerprint: str) -> str:
    """Return why a finished run is not that of a cell; "" if it is.

    Args:
        cell: A trained cell.
        fingerprint: The fingerprint of its store.
    """
    start = read_start(cell.run)
    if start.get("recipe_sha256") != recipe_sha256(cell.recipe):
        return f"{cell.run} was trained with other settings; remove this folder to train it again"
    if start.get("store_fingerprint") != fingerprint:
        return f"{cell.run} was trained on another store; restore that one, or remove this folder"
    return ""


def refuse_full_disk(folder: Path, cells: Sequence[Cell], *, workers: int) -> None:
    """Refuse a disk that is too small for what these cells will write.

    Args:
        folder: The study's folder.
        cells: The cells that are not trained.
        workers: How many of them are trained at once.

    Raises:
        DataError: There is too little space; the message has both figures.
    """
    sizes: dict[str, int] = {}
    for cell in cells:
        if cell.model not in sizes:
            sizes[cell.model] = _FLOAT * _num_weights(cell.recipe)
    kept = sum(_KEPT * sizes[cell.model] + _REPORT for cell in cells)
    refuse_full(folder, needed=kept + workers * _OPEN * max(sizes.values(), default=0))


def _num_weights(recipe: Recipe) -> int:
    """Return about how many weights a recipe's net has; 0 if it cannot be built, which its run will say."""
    import torch  # noqa: PLC0415  (takes seconds to import; the checks before need none)

    from thorax.models.backbones import timm  # noqa: PLC0415

    model = recipe.model
    try:
        with torch.device("meta"):
            net = timm.create_model(
                model.backbone, in_chans=model.channels, pretrained=False, **model.arguments
            )
    except (RuntimeError, TypeError, ValueError, NotImplementedError):
        return 0
    return sum(weight.numel() for weight in net.parameters())
