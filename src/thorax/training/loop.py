"""Training: one straight function from a recipe and a store to a bundle."""

import math
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

from thorax.errors import ThoraxError
from thorax.progress import ProgressCallback
from thorax.recipe.schema import Recipe
from thorax.store import Store
from thorax.training.checkpoint import Checkpointer
from thorax.training.compute import deterministic, pick_compute
from thorax.training.finalize import Finalization, deliver_bundle
from thorax.training.logbook import Logbook, read_log
from thorax.training.plan import plan_run
from thorax.training.run import Run
from thorax.training.run_folder import (
    CHECKPOINTS,
    LOG,
    RunSummary,
    describe_start,
    identity,
    lock_run,
    open_run,
)
from thorax.training.selection_bias import read_premium
from thorax.training.validation import measure

__all__ = ["StopSignal", "TrainingInterrupted", "stop_signal", "train"]


class TrainingInterrupted(ThoraxError):  # noqa: N818  (it says what happened; nothing went wrong)
    """The run was stopped by Ctrl-C or SIGTERM, and can be resumed."""

    exit_code = 130


class StopSignal:
    """Whether somebody asked the run to stop."""

    def __init__(self) -> None:
        self._asked = False

    def ask(self, number: int, _frame: FrameType | None) -> None:
        """Note a signal; the second one ends the process at once."""
        if self._asked:
            raise SystemExit(128 + number)
        self._asked = True

    def check(self) -> None:
        """Stop here if asked to: called where the state of the run is whole.

        Raises:
            KeyboardInterrupt: Somebody asked.
        """
        if self._asked:
            raise KeyboardInterrupt


@contextmanager
def stop_signal() -> Iterator[StopSignal]:
    """Catch SIGINT and SIGTERM until the end; outside the main thread, where Python cannot, catch nothing."""
    stop = StopSignal()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop.ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train(  # noqa: PLR0913  (what a run is, and four plain switches)
    recipe: Recipe,
    store: Store,
    out: Path,
    *,
    resume: bool = False,
    device: str = "auto",
    record_test_curve: bool = False,
    progress: ProgressCallback | None = None,
) -> RunSummary:
    """Train a recipe on the training part of its split; validation alone chooses.

    The run's folder gets `recipe.toml`, `log.jsonl`, `checkpoints/` and, at the end, `bundle/`. With exact
    determinism, a run that was killed anywhere and resumed ends with the same bytes of weights and bundle as
    one that was not, and with the same log but for times.

    Args:
        recipe: What to do.
        store: Images and labels.
        out: The run's folder: a new or empty one, unless `resume`.
        resume: Go on where the run in `out` was; a finished one is left as it is.
        device: "auto", "cpu", "cuda" or "cuda:N".
        record_test_curve: Measure each epoch on the test part too, for the log alone: nothing chooses by it.
        progress: Called after each step, each epoch being a stage. It may raise KeyboardInterrupt to stop the
            run.

    Raises:
        RecipeError: The recipe does not fit the data, the backbone or the device.
        DataError: The store is not what the recipe wants, or `out` holds something else.
        NonFiniteLoss: The loss became infinite or not a number.
        TrainingInterrupted: Ctrl-C, SIGTERM or `progress` stopped the run; it can be resumed.
    """
    # ---- data, machine, folder ----------------------------------------------------------------------
    plan = plan_run(recipe, store, record_test_curve=record_test_curve)
    training = recipe.training
    machine = pick_compute(
        device,
        training.precision,
        compiling=training.compile,
        images=training.epochs * plan.steps * training.batch_size,
    )
    same = identity(recipe, store, plan, machine)
    with lock_run(out):
        folder = open_run(out, recipe, same, resume=resume)
        if folder.finished is not None:
            return folder.finished
        # A resumed run takes the threads of the one it goes on with: sums are split among them.
        machine = replace(machine, threads=folder.threads or machine.threads)

        with (
            deterministic(training.determinism, threads=machine.threads),
            closing(
                Logbook(out / LOG, keep=folder.checkpoint.state.events if folder.checkpoint else 0)
            ) as log,
            stop_signal() as stop,
        ):
            # ---- net and optimizer, new or as the checkpoint has them --------------------------------
            checkpointer = Checkpointer(out / CHECKPOINTS, minutes=training.checkpoint_minutes)
            run = Run(
                recipe,
                plan,
                machine=machine,
                log=log,
                checkpointer=checkpointer,
                checkpoint=folder.checkpoint,
            )
            if folder.checkpoint is None:
                log.write("start", **describe_start(recipe, plan, machine, same))

            # ---- loop --------------------------------------------------------------------------------
            try:
                while not run.is_over:
                    for batch in run.batches():
                        run.step(batch)
                        if progress is not None:
                            progress(run.progress())
                        stop.check()
                        run.save_if_due()
                    run.end_epoch(stop.check)
                    run.save_if_due(epoch_ended=True)
            except KeyboardInterrupt:
                run.save()
                raise TrainingInterrupted(
                    f"training was stopped after step {run.steps_done} of "
                    f"{training.epochs * plan.steps}; nothing is lost: set `resume` and train "
                    f"with the same recipe and store to go on in {out}"
                ) from None
            run.save()

            # ---- choice, calibration, operating points, bundle ---------------------------------------
            epoch, weights = run.select()
            logits = run.pipeline_logits()
            delivery = Finalization(weights, epoch=epoch, logits=logits)
            temperature, refused = deliver_bundle(out / "bundle", recipe, store, plan, delivery=delivery)
            validation = measure(logits, plan.val.targets, plan.findings)
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
                premium=read_premium(read_log(out / LOG), selected_epoch=epoch),
            )
            log.write("end", **summary.as_fields())
            log.secure()
        return summary
