"""Mistakes that are found before torch is imported, which takes seconds: recipe, store, split, folder."""

from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from thorax.datasets.splits import build_split
from thorax.errors import DataError, RecipeError
from thorax.hardware import refuse_unknown_device
from thorax.outputs import refuse_unwritable
from thorax.recipe.schema import Recipe
from thorax.run_files import LOG, RECIPE
from thorax.store import Store

__all__ = ["check_store", "refuse_mistakes", "refuse_small_batches", "refuse_used_run"]

_OURS: Final = (RECIPE, LOG, "checkpoints", ".*.partial")
"""What the folder of a run may have before its first event."""


def refuse_mistakes(recipe: Recipe, store: Store, out: Path, *, device: str) -> None:
    """Refuse what cannot be trained, as far as that is known without reading images or importing torch.

    Args:
        recipe: The recipe.
        store: Images and labels.
        out: The folder of the run, the runs or the study.
        device: "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        RecipeError: There is no such device.
        DataError: The store is prepared otherwise, does not support the split, or lacks images of a part;
            `out` cannot be written.
    """
    refuse_unknown_device(device)
    refuse_unwritable(out)
    check_store(recipe, store)
    split = build_split(
        recipe.data.split, store.table, dataset=store.dataset, whole_sha256=store.split_sha256
    )
    for part in ("train", "val"):
        split.rows(part, views=recipe.data.views)


def check_store(recipe: Recipe, store: Store) -> None:
    """Refuse a store whose images are smaller than the recipe needs, or were fitted in another way."""
    needed, actual = recipe.store, store.preparation
    if actual.size < needed.size or actual.fit != needed.fit:
        raise DataError(
            f"{store.location} holds images of {actual.size} pixels (fit {actual.fit}), but recipe "
            f"{recipe.name} needs {needed.size} (fit {needed.fit}); prepare one for this "
            f"recipe: thorax prepare SOURCE --recipe {recipe.name} --out STORE"
        )


def refuse_used_run(path: Path, *, resume: bool) -> None:
    """Refuse the folder of a run that holds something else, or a run that is not to be resumed.

    A run that ended before its first event (killed, or its weights were missing) may begin again: nothing is
    lost.

    Raises:
        DataError: It is a file, or holds a run and `resume` is false, or something else.
    """
    if path.exists() and not path.is_dir():
        raise DataError(f"{path} is a file; give a folder for the run, `out`")
    log = path / LOG
    if log.is_file() and log.stat().st_size:
        if not resume:
            raise DataError(
                f"{path} already holds a run; set `resume` to continue it, or give another folder as `out`"
            )
        return
    names = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
    foreign = [name for name in names if not any(fnmatch(name, pattern) for pattern in _OURS)]
    if foreign:
        raise DataError(
            f"{path} is not empty and does not hold a run, but {foreign[0]}; give an empty folder, or the "
            "folder of a run with `resume`"
        )


def refuse_small_batches(batch_size: int, processes: int) -> None:
    """Refuse a batch that gives a process fewer than two images.

    Raises:
        RecipeError: The batch is too small.
    """
    if processes > 1 and batch_size < 2 * processes:
        raise RecipeError(
            f"training.batch_size = {batch_size} gives some of {processes} processes fewer than two images a "
            f"step; set training.batch_size={2 * processes} or higher, or start fewer processes"
        )
