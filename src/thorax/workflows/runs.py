"""The training runs below a folder: what each trains, how far it is, and how well it does on validation."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from thorax.atomic_io import StrPath, is_locked, is_remote
from thorax.errors import DataError, RecipeError
from thorax.inspection.elsewhere import is_trained_here, records
from thorax.objects.client import list_below
from thorax.objects.mirror import brought
from thorax.objects.place import Place, place_of
from thorax.quoting import with_addresses
from thorax.recipe.load import load_recipe
from thorax.reporting.run_log import RunLog, read_log
from thorax.run_files import FITTING_THE_GATE, LOG, RECIPE

__all__ = ["RunEntry", "list_runs", "run_json", "runs_lines"]

_DEEPEST: Final = 6
"""Levels of folders below the given one in which runs are looked for."""

RunStateName = Literal["finished", "stopped early", "running", "fitting the gate", "unfinished", "unreadable"]

_HEADER: Final = ("Recipe", "Split", "Epochs", "Best AUC", "State", "Folder")


@dataclass(frozen=True, slots=True)
class RunEntry:
    """A run in a list of runs.

    Attributes:
        folder: Its folder.
        recipe: The name of its recipe.
        split: The name of its split.
        seed: Its seed; None if its recipe cannot be read.
        epochs: Epochs that have ended.
        planned_epochs: Epochs of a whole run; None if it is not known.
        best_auc: The highest mean AUC on validation so far; None if there is none. It is not a result.
        best_epoch: The epoch that reached it, counted from 1; None if there is none.
        kept_auc: The mean AUC on validation of the weights that are kept so far; None if there is none.
        state: "finished", "stopped early" (finished too), "running" (in some process now), "fitting the gate"
            (likewise, after the last epoch), "unfinished" (`resume` continues it) or "unreadable". A run at
            s3:// that another machine is training is "unfinished": the storage does not know of it.
        started: When it was started; None if it is not known.
        problem: Why it is unreadable; "" otherwise.
    """

    folder: Path
    recipe: str
    split: str
    seed: int | None
    epochs: int
    planned_epochs: int | None
    best_auc: float | None
    best_epoch: int | None
    kept_auc: float | None
    state: RunStateName
    started: datetime | None
    problem: str = ""


def list_runs(folder: StrPath) -> list[RunEntry]:
    """Return the runs in a folder and its subfolders, by path; a run that cannot be read is listed too.

    Args:
        folder: A run, or a folder above runs, also at s3://. Links to folders are not followed.

    Raises:
        DataError: The folder does not exist, or is a file; or it is at s3:// and cannot be read.
    """
    if is_remote(folder):
        return _runs_at(place_of(folder))
    top = Path(folder)
    if not top.is_dir():
        raise DataError(f"{top} is not a folder; give a folder that has runs in it")
    return [_entry(path, locked=is_locked(path)) for path in sorted(_runs_below(top))]


def _runs_at(place: Place) -> list[RunEntry]:
    listed = list_below(place)
    if not listed:
        raise DataError(f"there is nothing below {place}/; give an address that has runs below it")
    entries = []
    with brought(place, records(listed)) as here:
        for folder in sorted(_runs_below(here)):
            below = folder.relative_to(here).as_posix()
            where = place if below == "." else place / below
            entry = _entry(folder, locked=is_trained_here(where))
            problem = entry.problem.replace(str(here), str(place))
            entries.append(replace(entry, folder=Path(str(where)), problem=problem))
    return entries


def runs_lines(entries: Sequence[RunEntry], *, below: StrPath) -> list[str]:
    """Return a table as lines: a header, and a line for each run.

    Folders are last and never cut, so that they can be copied.

    Args:
        entries: The runs.
        below: What the folders are relative to.
    """
    rows = [
        (
            entry.recipe,
            entry.split,
            f"{entry.epochs}/{entry.planned_epochs}" if entry.planned_epochs else str(entry.epochs),
            f"{entry.best_auc:.3f} ({entry.best_epoch})" if entry.best_auc is not None else "n/a",
            entry.state,
            str(entry.folder.relative_to(below)),
        )
        for entry in entries
    ]
    widths = [max(map(len, column)) for column in zip(_HEADER, *rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (_HEADER, *rows)
    ]


def run_json(entry: RunEntry) -> dict[str, Any]:
    """Return a run as values for JSON, by the names of its attributes."""
    return {
        "folder": with_addresses(str(entry.folder)),
        "recipe": entry.recipe,
        "split": entry.split,
        "seed": entry.seed,
        "epochs": entry.epochs,
        "planned_epochs": entry.planned_epochs,
        "best_auc": entry.best_auc,
        "best_epoch": entry.best_epoch,
        "kept_auc": entry.kept_auc,
        "state": entry.state,
        "started": entry.started.isoformat() if entry.started else None,
        "problem": entry.problem,
    }


def _runs_below(top: Path) -> Iterator[Path]:
    """Yield the folders with a log and a recipe; nothing is looked for within a run."""
    for path, names, files in os.walk(top):
        folder = Path(path)
        if LOG in files and RECIPE in files:
            yield folder
            names.clear()
        elif len(folder.relative_to(top).parts) >= _DEEPEST:
            names.clear()


def _entry(folder: Path, *, locked: bool) -> RunEntry:
    problem = ""
    try:
        log = RunLog(read_log(folder / LOG))
    except (OSError, DataError) as error:
        log, problem = RunLog([]), str(error)
    best = max(log.curve("macro_auc"), key=lambda point: (point[1], -point[0]), default=None)
    kept = dict(log.curve("macro_auc")).get(log.kept_epoch)
    started = log.start.get("time")
    return RunEntry(
        folder=folder,
        recipe=str(log.start.get("recipe", "n/a")),
        split=str(log.start.get("split", "n/a")),
        seed=_seed(folder),
        epochs=len(log.epochs),
        planned_epochs=log.planned_epochs,
        best_auc=best[1] if best else None,
        best_epoch=int(best[0]) if best else None,
        kept_auc=kept,
        state=_state(log, problem, locked=locked),
        started=datetime.fromisoformat(str(started)) if started else None,
        problem=problem,
    )


def _state(log: RunLog, problem: str, *, locked: bool) -> RunStateName:
    if problem:
        return "unreadable"
    if log.end is not None:
        return "stopped early" if log.end.get("stopped_early") else "finished"
    if not locked:
        return "unfinished"
    return FITTING_THE_GATE if log.is_finishing else "running"


def _seed(folder: Path) -> int | None:
    try:
        return load_recipe(str(folder / RECIPE)).training.seed
    except RecipeError:
        return None
