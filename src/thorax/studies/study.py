"""`study`: recipes x seeds x splits x settings under one protocol, to one leaderboard."""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from thorax.atomic_io import StrPath, exclusive_lock, write_text
from thorax.cluster import Cluster
from thorax.errors import RecipeError, ThoraxError
from thorax.hardware import refuse_unknown_device
from thorax.packages import require
from thorax.progress import Progress, ProgressCallback
from thorax.store import open_store
from thorax.studies.boards import measure_boards
from thorax.studies.cells import Cell, store_of, study_cells
from thorax.studies.checks import (
    STUDY_FILE,
    refuse_full_disk,
    refuse_other_study,
    refuse_wrong_splits,
    why_other_run,
)
from thorax.studies.definition import (
    StudyDefinition,
    definition_as_toml,
    load_study,
    with_absolute_paths,
)
from thorax.studies.engines import Engine, here, over_cluster, over_devices
from thorax.studies.leaderboard_files import write_leaderboards
from thorax.studies.page import render_page
from thorax.studies.results import Leaderboards
from thorax.studies.stores import GivenStores, draw_phantoms, given_stores, with_stores
from thorax.studies.work import CellOutcome, Step

__all__ = ["StudyInterrupted", "study"]


class StudyInterrupted(ThoraxError):  # noqa: N818  (named after the event)
    """The study was stopped by Ctrl-C or SIGTERM, and continues with the same call."""

    exit_code = 130


def study(  # noqa: PLR0913  (a study, a folder, and how)
    definition: StrPath,
    out: StrPath,
    *,
    stores: GivenStores | None = None,
    devices: Sequence[str] = ("auto",),
    cluster: Cluster | None = None,
    progress: ProgressCallback | None = None,
    finished: Callable[[CellOutcome, int, int], None] | None = None,
) -> Leaderboards:
    """Train, evaluate and compare what a study names, or what is missing of it.

    Every recipe is trained with every seed on every split. When all are trained, each is evaluated once on
    the test part, and the leaderboards are written: no result on a test part exists before. A run that fails
    is listed with its reason, and the others continue. Stopped or killed anywhere, the same call continues,
    and also tries again what failed.

    Args:
        definition: Name of a shipped study, or a TOML file.
        out: The study's folder: a new or empty one, or one of the same study, which may have been extended.
        stores: The stores of the data set that the study does not draw itself; if there are several, by name.
            Recipes may need several preparations; each takes the smallest store that it can use.
        devices: "auto", "cpu", "cuda" or "cuda:N"; with several, there is a process for each.
        cluster: A Ray cluster whose nodes train and evaluate, each a run at a time on the one device of
            `devices`. Every node must see the stores and `out` under the same paths.
        progress: Receives the number of finished images of each stage.
        finished: Receives each outcome of a step, with how many runs have gone through this step by now,
            failed or not, and how many there are.

    Raises:
        RecipeError: The study, a recipe or a setting is wrong, or there is no such device.
        DataError: A store is missing or does not suit a recipe or a split, `out` holds something else, or the
            disk is too full.
        ServiceError: There is no such cluster, or it has no room.
        StudyInterrupted: Ctrl-C or SIGTERM stopped it.

    Example:
        result = thorax.study("mine.toml", "leaderboards", stores="store")
        result.to_frame()
    """
    for package in ("torch", "pandas"):
        require(package, "thorax study")
    wanted = with_stores(load_study(os.fspath(definition)), stores)
    folder, recipes = Path(out).resolve(), wanted.models()
    if not devices:
        raise RecipeError("`devices` is empty; name at least one, such as auto")
    if cluster is not None:
        require("ray", "thorax study over a cluster")
        if len(devices) > 1:
            raise RecipeError(
                f"over a cluster every node has the same device, and `devices` has {len(devices)}; name one"
            )
    for device in devices:
        refuse_unknown_device(device)
    refuse_other_study(folder, with_absolute_paths(wanted, Path.cwd()))
    opened = given_stores(wanted)
    for same_source in opened.values():
        for recipe in recipes.values():
            store_of(recipe, same_source)
    refuse_wrong_splits(wanted, opened, recipes.values())
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(folder, doing="running a study in"):
        write_text(folder / STUDY_FILE, definition_as_toml(with_absolute_paths(wanted, Path.cwd())))
        drawn = draw_phantoms(wanted, folder, recipes.values(), progress=progress)
        refuse_wrong_splits(wanted, drawn, recipes.values())
        cells = study_cells(wanted, folder, opened | drawn)
        if cluster is not None:
            engine = over_cluster(cluster, device=devices[0])
        else:
            engine = here(devices[0]) if len(devices) == 1 else over_devices(devices)
        work = _Work(engine, progress, finished)
        failed = work.on(cells, workers=len(devices))
        return _concluded(wanted, folder, cells, failed)


@dataclass(frozen=True, slots=True)
class _Work:
    """How cells are worked on, and who learns of it."""

    engine: Engine
    progress: ProgressCallback | None
    finished: Callable[[CellOutcome, int, int], None] | None

    def on(self, cells: Sequence[Cell], *, workers: int) -> dict[str, CellOutcome]:
        """Train all cells, and then evaluate those that are trained; return the failures by cell."""
        missing = [cell for cell in cells if not cell.is_trained]
        refuse_full_disk(cells[0].study, missing, workers=workers)
        failed = _other_runs(cells, _verified(cells))
        failed |= self._step("train", missing, cells)
        for cell in cells:
            if cell.is_trained:  # of a run that was killed right after its end
                shutil.rmtree(cell.run / "checkpoints", ignore_errors=True)
        ready = [cell for cell in cells if cell.is_trained and not cell.is_evaluated]
        return failed | self._step("evaluate", [cell for cell in ready if cell.name not in failed], cells)

    def _step(self, step: Step, missing: Sequence[Cell], cells: Sequence[Cell]) -> dict[str, CellOutcome]:
        from thorax.training import TrainingInterrupted  # noqa: PLC0415  (torch takes seconds to import)

        failed, before = {}, len(cells) - len(missing)
        outcomes = self.engine(missing, step, _numbered(self.progress, cells))
        try:
            for number, outcome in enumerate(outcomes, start=before + 1):
                if outcome.reason:
                    failed[outcome.cell.name] = outcome
                if self.finished is not None:
                    self.finished(outcome, number, len(cells))
        except (KeyboardInterrupt, TrainingInterrupted):
            raise StudyInterrupted(
                f"the study was stopped; nothing is lost: the same command continues in {cells[0].study}"
            ) from None
        return failed


def _numbered(progress: ProgressCallback | None, cells: Sequence[Cell]) -> ProgressCallback | None:
    """Return a callback for what cells report, whose stages then begin with "run 3 of 12"."""
    if progress is None:
        return None
    numbers = {cell.name: number for number, cell in enumerate(cells, start=1)}

    def report(now: Progress) -> None:
        number = numbers[now.stage.partition(",")[0]]
        progress(replace(now, stage=f"run {number} of {len(cells)}: {now.stage}"))

    return report


def _verified(cells: Sequence[Cell]) -> dict[Path, str]:
    """Return the fingerprint of each store; those that are still needed are read and checked."""
    needed = {cell.store for cell in cells if not cell.is_evaluated}
    stores = {path: open_store(path) for path in {cell.store for cell in cells}}
    for path in needed:
        stores[path].verify()
    return {path: store.fingerprint for path, store in stores.items()}


def _other_runs(cells: Sequence[Cell], fingerprints: Mapping[Path, str]) -> dict[str, CellOutcome]:
    """Return the cells whose finished runs are not theirs."""
    reasons = [(cell, why_other_run(cell, fingerprints[cell.store])) for cell in cells if cell.is_trained]
    return {cell.name: CellOutcome(cell, "train", reason) for cell, reason in reasons if reason}


def _concluded(
    wanted: StudyDefinition, folder: Path, cells: Sequence[Cell], failed: Mapping[str, CellOutcome]
) -> Leaderboards:
    result = Leaderboards(
        folder=folder,
        study=wanted,
        boards=measure_boards(
            cells,
            failed=failed,
            baseline=wanted.baseline,
            resamples=wanted.resamples,
        ),
        failed=tuple(failed.values()),
        num_cells=len(cells),
    )
    write_leaderboards(result, render_page(result))
    return result
