"""The training loop: one function from a recipe and a store to a bundle."""

import math
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from thorax.errors import ThoraxError
from thorax.outputs import refuse_full
from thorax.progress import ProgressCallback
from thorax.recipe.schema import Recipe
from thorax.run_files import FINISHING, LOG
from thorax.store import Store
from thorax.training.checkpoint import Checkpointer
from thorax.training.checks import refuse_small_batches
from thorax.training.compute import deterministic, pick_compute
from thorax.training.finalize import Finalization, write_final_bundle
from thorax.training.launched import Launched
from thorax.training.logbook import EventCallback, Logbook, read_log
from thorax.training.plan import plan_run
from thorax.training.ranks import ALONE, Ranks
from thorax.training.run import Run
from thorax.training.run_folder import (
    CHECKPOINTS,
    PROCESSES,
    RunFolder,
    RunSummary,
    describe_start,
    identity,
    lock_run,
    open_shared_run,
    shared_summary,
)
from thorax.training.run_report import run_report
from thorax.training.selection_bias import read_selection_bias

__all__ = ["StopSignal", "TrainingInterrupted", "stop_signal", "train"]


class TrainingInterrupted(ThoraxError):  # noqa: N818  (named after the event)
    """The run was stopped by Ctrl-C or SIGTERM, and can be resumed."""

    exit_code = 130


def _log_start(log: Logbook, folder: RunFolder, start: Mapping[str, Any], run: Run) -> None:
    """Write what the run is, or that it is resumed with another number of processes."""
    processes = start.get("processes", 1)
    if folder.checkpoint is None:
        log.write("start", **start)
    elif folder.processes != processes:
        log.write(PROCESSES, processes=processes, threads=start["threads"], step=run.steps_done)


class StopSignal:
    """Whether the run was asked to stop.

    Args:
        ranks: The processes of the run, which stop together.
    """

    def __init__(self, ranks: Ranks = ALONE) -> None:
        self._asked, self._ranks = False, ranks

    def ask(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal: the first one is noted, the second ends the process at once."""
        if self._asked:
            raise SystemExit(128 + number)
        self._asked = True

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note a KeyboardInterrupt as a signal."""
        try:
            yield
        except KeyboardInterrupt:
            self._asked = True

    def check(self) -> None:
        """Stop if any process was asked to, all at the same step; called where the state is consistent.

        Raises:
            KeyboardInterrupt: A signal arrived.
        """
        if self._ranks.any_lately(self._asked):
            raise KeyboardInterrupt

    def check_here(self) -> None:
        """Stop if this process was asked to; called where each is at another point.

        Raises:
            KeyboardInterrupt: A signal arrived.
        """
        if self._asked:
            raise KeyboardInterrupt


@contextmanager
def stop_signal(ranks: Ranks = ALONE) -> Iterator[StopSignal]:
    """Catch SIGINT and SIGTERM until the end; in other threads than the main one, catch nothing."""
    stop = StopSignal(ranks)
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop.ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train(  # noqa: PLR0913  (a recipe, a store, a folder, and eight options)
    recipe: Recipe,
    store: Store,
    out: Path,
    *,
    resume: bool = False,
    device: str = "auto",
    record_test_curve: bool = False,
    report: bool = True,
    progress: ProgressCallback | None = None,
    watch: EventCallback | None = None,
    ranks: Ranks = ALONE,
    launched: Launched | None = None,
) -> RunSummary:
    """Train a recipe on the training part of its split; only validation chooses.

    The run's folder gets `recipe.toml`, `log.jsonl`, `report.html`, `curves.svg`, `checkpoints/` and, at the
    end, `bundle/`. With exact determinism, a run that was killed at any point and resumed ends with the same
    bytes of weights, curves and bundle as an uninterrupted one, and with the same log and report except for
    times.

    Args:
        recipe: The recipe.
        store: Images and labels.
        out: The run's folder: a new or empty one, unless `resume`.
        resume: Resume the run in `out`; a finished run is left unchanged.
        device: "auto", "cpu", "cuda" or "cuda:N".
        record_test_curve: Also measure each epoch on the test part, only for the log; it never affects a
            choice.
        report: Whether the folder gets `report.html` and `curves.svg`.
        progress: Called after each step; each epoch is a stage, and so is fitting the input gate. It may
            raise KeyboardInterrupt to stop the run.
        watch: Called with each event of the log, among them one per epoch with its validation metrics, and
            before these with one named "run": the fields of the log's start, the folder, and the epochs and
            steps that are done already. It cannot change the run; what it raises ends the run there and
            reaches the caller.
        ranks: The processes that train together. Each calls this function; the first one writes the folder
            and calls `progress` and `watch`.
        launched: Which of them this is; None for one process.

    Raises:
        RecipeError: The recipe does not fit the data, the backbone or the device.
        DataError: The store does not fit the recipe, or `out` holds something else.
        NonFiniteLoss: The loss became infinite or not a number.
        TrainingInterrupted: Ctrl-C, SIGTERM or `progress` stopped the run; it can be resumed.
        ProcessLost: Another process has ended or does not answer; the run can be resumed.
    """
    # ---- data, device, folder -----------------------------------------------------------------------
    progress, watch = (progress, watch) if ranks.is_first else (None, None)
    plan = plan_run(recipe, store, record_test_curve=record_test_curve)
    training = recipe.training
    compute = pick_compute(
        device,
        training.precision,
        compiling=training.compile,
        images=training.epochs * plan.steps * training.batch_size,
        launched=launched,
    )
    refuse_small_batches(training.batch_size, ranks.size)
    same = identity(recipe, store, plan, compute)
    with lock_run(out) if ranks.is_first else nullcontext():
        folder = open_shared_run(out, recipe, same, resume=resume, ranks=ranks)
        if folder.finished is not None:
            return folder.finished
        # A resumed run keeps its number of threads, because sums are split among them.
        compute = replace(compute, threads=folder.threads_of(ranks.size) or compute.threads)

        with (
            deterministic(training.determinism, threads=compute.threads),
            closing(
                Logbook(
                    out / LOG if ranks.is_first else None,
                    keep=folder.checkpoint.state.events if folder.checkpoint else 0,
                    watch=watch,
                )
            ) as log,
            stop_signal(ranks) as stop,
            run_report(out, recipe, store, wanted=report and ranks.is_first) as page,
        ):
            # ---- net and optimizer, new or from the checkpoint ---------------------------------------
            minutes = training.checkpoint_minutes
            checkpointer = Checkpointer(out / CHECKPOINTS, minutes=minutes) if ranks.is_first else None
            run = Run(
                recipe,
                plan,
                compute=compute,
                log=log,
                checkpointer=checkpointer,
                checkpoint=folder.checkpoint,
                ranks=ranks,
            )
            if ranks.is_first and folder.checkpoint is None:
                refuse_full(out, needed=run.bytes_to_write)
            start = describe_start(recipe, plan, compute, same, launched=launched)
            if watch is not None:
                done = {"done_epochs": run.state.epoch, "done_steps": run.steps_done}
                watch({"event": "run", "folder": str(out), **done, **start})
            _log_start(log, folder, start, run)
            page.update()

            # ---- loop --------------------------------------------------------------------------------
            try:
                while not run.is_over:
                    for batch in run.batches():
                        run.step(batch)
                        if progress is not None:
                            with stop.noted():
                                progress(run.progress())
                        stop.check()
                        run.save_if_due()
                    run.end_epoch(stop.check_here)
                    page.update()
                    run.save_if_due(epoch_ended=True)
            except KeyboardInterrupt:
                run.save()
                raise TrainingInterrupted(
                    f"training was stopped after step {run.steps_done:,} of "
                    f"{training.epochs * plan.steps:,}; nothing is lost: set `resume` to continue in {out}"
                ) from None
            run.save()
            log.write(FINISHING)
            page.update(ending=True)

            # ---- selection, calibration, operating points, bundle ------------------------------------
            epoch, weights = run.select()
            logits = run.pipeline_logits()
            if not ranks.is_first:
                return shared_summary(None, out, ranks=ranks)
            final = Finalization(weights, epoch=epoch, logits=logits)
            temperature, refused = write_final_bundle(
                out / "bundle", recipe, store, plan, final=final, progress=progress
            )
            validation = run.measure(logits)
            summary = RunSummary(
                folder=out,
                bundle=out / "bundle",
                epochs=run.state.epoch,
                stopped_early=run.state.stopped,
                selected_epoch=epoch,
                macro_auc=None if math.isnan(validation.macro_auc) else validation.macro_auc,
                loss=validation.loss,
                temperature=temperature,
                notices=(*plan.notices, *refused),
                premium=read_selection_bias(read_log(out / LOG), selected_epoch=epoch),
            )
            page.finish(**summary.as_fields())
            log.write("end", **summary.as_fields())
            log.secure()
        return shared_summary(summary, out, ranks=ranks)
