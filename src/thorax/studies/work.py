"""The work of one cell: train it, or evaluate it; both continue what an earlier process began."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

from thorax.errors import ThoraxError
from thorax.progress import ProgressCallback, throttled
from thorax.store import open_store
from thorax.studies.cells import Cell
from thorax.studies.costs import CostMeter

__all__ = ["CellOutcome", "Step", "do_step", "evaluate_cell", "of_cell", "train_cell"]

Step = Literal["train", "evaluate"]

_MAX_REASON: Final = 500
"""Characters of the reason why a cell failed."""

_NOT_NEEDED: Final = "checkpoints"
"""What only an unfinished run needs; it is two thirds of the folder."""


@dataclass(frozen=True, slots=True)
class CellOutcome:
    """How a step of a cell ended.

    Attributes:
        cell: The cell.
        step: The step.
        reason: Why it failed; "" if it did not.
    """

    cell: Cell
    step: Step
    reason: str = ""


def do_step(cell: Cell, step: Step, *, device: str, progress: ProgressCallback | None = None) -> CellOutcome:
    """Do a step of a cell; a failure is the cell's own, and becomes its outcome.

    Raises:
        TrainingInterrupted: Ctrl-C or SIGTERM stopped training; it can be resumed.
        KeyboardInterrupt: Ctrl-C stopped the evaluation.
    """
    from thorax.training import TrainingInterrupted  # noqa: PLC0415  (torch takes seconds to import)

    work: Callable[..., None] = train_cell if step == "train" else evaluate_cell
    try:
        work(cell, device=device, progress=progress)
    except TrainingInterrupted:
        raise
    except (ThoraxError, RuntimeError, MemoryError, OSError) as error:
        # Such as a loss that is not finite, or a batch that does not fit into the memory of the GPU.
        text = f"{type(error).__name__}: {str(error).strip() or 'no message'}"
        return CellOutcome(cell, step, text[:_MAX_REASON])
    return CellOutcome(cell, step)


def train_cell(cell: Cell, *, device: str, progress: ProgressCallback | None = None) -> None:
    """Train a cell, or continue its training; a finished run keeps no checkpoints."""
    from thorax.training import train  # noqa: PLC0415  (torch takes seconds to import)

    cell.run.parent.mkdir(parents=True, exist_ok=True)
    meter = CostMeter(cell.costs, "train", device=device)
    train(
        cell.recipe,
        open_store(cell.store),
        cell.run,
        resume=True,
        device=device,
        record_test_curve=cell.test_curve,
        progress=progress,
        watch=meter.watch,
    )
    meter.note()
    shutil.rmtree(cell.run / _NOT_NEEDED, ignore_errors=True)


def evaluate_cell(cell: Cell, *, device: str, progress: ProgressCallback | None = None) -> None:
    """Evaluate a trained cell on the test part of its split: one look, which is noted.

    The report is written under another name and renamed, so that it exists only whole.
    """
    from thorax.workflows.evaluate import evaluate  # noqa: PLC0415  (pandas, SciPy)

    meter = CostMeter(cell.costs, "evaluate", device=device)
    result = evaluate(
        cell.run,
        cell.store,
        split=cell.split if cell.split.startswith("file:") else "",
        part="test",
        gallery=False,
        resamples=cell.resamples,
        device=device,
        progress=progress,
    )
    written = cell.report.with_name(f".{cell.report.name}.partial")
    shutil.rmtree(written, ignore_errors=True)
    written.parent.mkdir(parents=True, exist_ok=True)
    result.write(written)
    shutil.rmtree(cell.report, ignore_errors=True)
    written.rename(cell.report)
    meter.note()


def of_cell(cell: Cell, progress: ProgressCallback | None) -> ProgressCallback | None:
    """Return a callback for the stages of a cell, whose names begin with the cell's."""
    if progress is None:
        return None
    return throttled(lambda now: progress(replace(now, stage=f"{cell.name}, {now.stage}")))
