"""One training run: its state, and the steps of the training loop."""

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from thorax.models.tensors import Images, KnownTensor, PixelsTensor, TargetsTensor
from thorax.progress import Progress
from thorax.recipe.schema import Recipe, TestTime
from thorax.training.augment import (
    AugmentParams,
    apply_augment,
    draw_augment,
    draw_mixup,
    mix_images,
    mix_targets,
)
from thorax.training.batches import Batch, known_labels, reading_order, to_device, training_batches
from thorax.training.checkpoint import Best, Checkpoint, Checkpointer, RunState
from thorax.training.compute import ComputeConfig, compiled
from thorax.training.learner import Learner, NonFiniteLoss, learning_rate
from thorax.training.logbook import Logbook, Throughput
from thorax.training.losses import loss_function
from thorax.training.pixel_shares import evaluated_pixels, training_pixels
from thorax.training.plan import TrainingPlan
from thorax.training.ranks import ALONE, Ranks
from thorax.training.selection_bias import TEST_CURVE
from thorax.training.validation import PLAIN, ValidationMetrics, measure, predict_logits

__all__ = ["Run"]

_SUMMARY_STEPS = 20
"""Steps between summaries in the log. The CPU waits for a GPU only for these and for checkpoints."""


_TIMES_WEIGHTS = 12
"""A checkpoint has four times the bytes of the weights, and is there twice while it is written; the best
epoch once; the bundle has weights and graph, each twice while they are written."""


class Run:
    """A training run: its learner, progress, log and checkpoints.

    Args:
        recipe: The recipe.
        plan: The images.
        compute: Device and arithmetic.
        log: The open log, cut to where `checkpoint` was written.
        checkpointer: Writes checkpoints; None in a process that does not.
        checkpoint: The checkpoint to resume from; None starts a new run.
        ranks: The processes that share the run; the first one writes it.

    Attributes:
        learner: Net, optimizer and moving average.
        state: Progress of the run.
    """

    def __init__(  # noqa: PLR0913  (a recipe, its images, and where it computes and writes)
        self,
        recipe: Recipe,
        plan: TrainingPlan,
        *,
        compute: ComputeConfig,
        log: Logbook,
        checkpointer: Checkpointer | None,
        checkpoint: Checkpoint | None,
        ranks: Ranks = ALONE,
    ) -> None:
        self._ranks = ranks
        self._recipe = recipe
        self._plan = plan
        self._compute = compute
        self._log = log
        self._checkpointer = checkpointer
        # Before the net takes memory, so that a resumed run decides alike whether they fit.
        size = recipe.training.batch_size
        self._pixels = {"train": training_pixels(plan.train, compute.device, ranks)} | {
            name: evaluated_pixels(part, compute.device, ranks, batch_size=size)
            for name, part in (("val", plan.val), ("test", plan.test))
            if part is not None
        }
        present, known = known_labels(torch.from_numpy(plan.train.targets), recipe.data.uncertain)
        positives, negatives = present.sum(dim=0), (known & ~present).sum(dim=0)
        # Of validation, on the CPU, with the weights of the training rows.
        self._loss = loss_function(recipe.loss, positives=positives.float(), negatives=negatives.float())
        self.learner = Learner(
            recipe,
            positives=positives.double().numpy(),
            negatives=negatives.double().numpy(),
            steps=plan.steps,
            compute=compute,
            pretrained=checkpoint is None,
            ranks=ranks,
        )
        self.state = RunState()
        self._best: Best | None = None
        if checkpoint is not None:
            self.state, self._best = checkpoint.state, checkpoint.best
            self.learner.restore(checkpoint.tensors, checkpoint.extra)
        order = reading_order(
            self._pixels, recipe.training, epoch=self.state.epoch, step=self.state.step, ranks=ranks,
            mixed=recipe.augment.mixup > 0,
        )  # fmt: skip
        plan.train.store.follow(order)
        # A second net for validation, into which weights are copied. It is not compiled, which would take
        # longer than it saves in most runs.
        self._eval_net = copy.deepcopy(self.learner.classifier).eval()
        self._augment = compiled(self._augment_batch) if compute.compiled else self._augment_batch
        self._throughput = Throughput()
        self._recent_loss: float | None = None
        self._epoch_start, self._epoch_images = time.monotonic(), 0

    @property
    def is_over(self) -> bool:
        """Whether no epoch is left."""
        return self.state.stopped or self.state.epoch == self._recipe.training.epochs

    @property
    def selected_epoch(self) -> int:
        """The epoch whose weights would be kept if the run ended now, counted from 1."""
        best = self._best if self._recipe.selection.checkpoint == "best" else None
        return self.state.epoch if best is None else best.epoch

    @property
    def steps_done(self) -> int:
        """Finished steps of the run."""
        return self.state.epoch * self._plan.steps + self.state.step

    @property
    def bytes_to_write(self) -> int:
        """About how many bytes the run's folder takes: checkpoints, with the newest twice, and the bundle."""
        return _TIMES_WEIGHTS * sum(tensor.nbytes for tensor in self.learner.weights().values())

    def batches(self) -> Iterator[Batch]:
        """Yield the remaining batches of the current epoch."""
        training = self._recipe.training
        self.learner.begin_epoch(self.state.epoch)
        self._epoch_start, self._epoch_images = time.monotonic(), 0
        self._throughput.rest()
        return training_batches(
            self._plan.train,
            self._pixels["train"],
            self._recipe.data,
            seed=training.seed,
            epoch=self.state.epoch,
            batch_size=training.batch_size,
            first_step=self.state.step,
            ranks=self._ranks,
            mixed=self._recipe.augment.mixup > 0,
        )

    def step(self, batch: Batch) -> None:
        """Take one step; every 20 steps, write a summary to the log.

        Raises:
            NonFiniteLoss: The loss of this or a recent step is not finite.
        """
        images, targets, known = self._augmented(batch)
        step = self.state.step
        self.learner.step(
            images,
            targets,
            known,
            lr=self._learning_rate(self.steps_done),
            epoch_step=step,
            step=self.steps_done,
        )
        self.state = replace(self.state, step=step + 1)
        self._throughput.count(len(batch.positions))
        self._epoch_images += len(batch.positions)
        if (step + 1) % _SUMMARY_STEPS == 0 or step + 1 == self._plan.steps:
            self._log_summary()

    def progress(self) -> Progress:
        """Return the progress: each epoch is a stage; the detail shows loss and remaining time of the run."""
        epochs, batch_size = self._recipe.training.epochs, self._recipe.training.batch_size
        rate = self._throughput.images_per_second
        left = (self._plan.steps - self.state.step) * batch_size
        run_left = self._throughput.seconds_left(epochs * self._plan.steps - self.steps_done)
        details = [
            *([] if self._recent_loss is None else [f"loss {self._recent_loss:.4f}"]),
            *([] if run_left is None else [f"all epochs: {timedelta(seconds=round(run_left))} left"]),
        ]
        return Progress(
            stage=f"epoch {min(self.state.epoch + 1, epochs)} of {epochs}",
            done=self.state.step * batch_size,
            total=self._plan.steps * batch_size,
            rate=rate,
            remaining=left / rate if rate else None,
            detail=", ".join(details),
        )

    def end_epoch(self, check: Callable[[], None]) -> None:
        """Validate, choose, and move to the next epoch.

        Args:
            check: Called during validation; it may raise to stop the run, and the epoch then remains open.
        """
        self._refuse_bad_loss()
        trained = time.monotonic() - self._epoch_start
        logits = self._logits("val", self.learner.weights(), check)
        validation = self._agreed_metrics(logits)
        lr = self._learning_rate(self.steps_done - 1)
        # Before the epoch is closed, so that a run stopped here measures it again.
        test_macro_auc = self._test_macro_auc(check)
        self._conclude(validation)
        self._log.write(
            "epoch",
            epoch=self.state.epoch,
            epochs=self._recipe.training.epochs,
            train_loss=float(self.learner.losses.double().mean()),
            val_loss=validation.loss,
            macro_auc=validation.macro_auc,
            auc=self._by_finding(validation.auc),
            macro_accuracy=validation.macro_accuracy,
            accuracy=self._by_finding(validation.accuracy),
            best_epoch=self.state.leading_epoch or None,
            best=self._best_value(),
            lr=lr,
            seconds=round(time.monotonic() - self._epoch_start, 3),
            images_per_second=round(self._epoch_images / max(trained, 1e-9), 1),
            seconds_left=self._seconds_left(),
        )
        if test_macro_auc is not None:
            self._log.write(TEST_CURVE, epoch=self.state.epoch, macro_auc=test_macro_auc)

    def _agreed_metrics(self, logits: Float64[np.ndarray, "n k"]) -> ValidationMetrics:
        """Return the metrics as the first process computes them, so that all processes decide alike."""
        fields = self._ranks.from_first(lambda: asdict(self.measure(logits)))
        return ValidationMetrics(**fields | {"auc": (*fields["auc"],), "accuracy": (*fields["accuracy"],)})

    def _best_value(self) -> float | None:
        """Return the selection metric of the best epoch so far."""
        score = self.state.leading_score
        return -score if score is not None and self._recipe.selection.metric == "loss" else score

    def _by_finding(self, values: Iterable[float]) -> dict[str, float]:
        return dict(zip(map(str, self._plan.findings), values, strict=True))

    def _seconds_left(self) -> float | None:
        """Return the seconds until the run ends, unless it stops early."""
        steps = 0 if self.is_over else self._recipe.training.epochs * self._plan.steps - self.steps_done
        left = self._throughput.seconds_left(steps)
        return None if left is None else round(left, 1)

    def _test_macro_auc(self, check: Callable[[], None]) -> float | None:
        """Return the epoch's mean AUC on the test part if it is recorded; it is used only in the log."""
        test = self._plan.test
        if test is None:
            return None
        logits = self._logits("test", self.learner.weights(), check)
        if not self._ranks.is_first:
            return None
        return measure(logits, test.targets, self._plan.findings, loss=self._loss).macro_auc

    def save_if_due(self, *, epoch_ended: bool = False) -> None:
        """Write a checkpoint if one is due."""
        if self._checkpointer is not None and self._checkpointer.is_due(epoch_ended=epoch_ended):
            self.save()

    def save(self) -> None:
        """Write a checkpoint.

        Raises:
            NonFiniteLoss: The weights have diverged; the previous checkpoint is kept.
        """
        self._refuse_bad_loss()
        if self._checkpointer is None:
            return
        self.state = replace(self.state, events=self._log.secure())
        self._checkpointer.write(self.state, self.learner.extra(), self.learner.tensors(), self._best)

    def select(self) -> tuple[int, Mapping[str, Tensor]]:
        """Load the chosen weights into the net; return their epoch, counted from 1, and the weights."""
        best = self._best if self._recipe.selection.checkpoint == "best" else None
        weights = self.learner.weights() if best is None else best.weights
        # Only the first process has the weights of an epoch before the one with which a run is resumed.
        weights = self._ranks.tensors_from_first(weights if self._ranks.is_first else None)
        self.learner.classifier.load_state_dict(weights)
        return self.selected_epoch, self.learner.classifier.state_dict()

    def pipeline_logits(self) -> Float64[np.ndarray, "n k"]:
        """Return the validation logits with the chosen weights, as the bundle will compute them."""
        self._eval_net.load_state_dict(self.learner.classifier.state_dict())
        return self._predict("val", lambda: None, self._recipe.test_time)

    def measure(self, logits: Float64[np.ndarray, "n k"]) -> ValidationMetrics:
        """Return the loss and the AUCs of logits of the validation images."""
        return measure(logits, self._plan.val.targets, self._plan.findings, loss=self._loss)

    def _logits(
        self, part: str, weights: Mapping[str, Tensor], check: Callable[[], None]
    ) -> Float64[np.ndarray, "n k"]:
        """Return the logits of a part with these weights; `check` is called after each batch."""
        self._eval_net.load_state_dict(weights)
        return self._predict(part, check, PLAIN)

    def _predict(
        self, part: str, check: Callable[[], None], test_time: TestTime
    ) -> Float64[np.ndarray, "n k"]:
        return predict_logits(
            self._eval_net,
            self._pixels[part],
            input_size=self._recipe.model.input_size,
            batch_size=self._recipe.training.batch_size,
            check=check,
            test_time=test_time,
            ranks=self._ranks,
        )

    def _augmented(self, batch: Batch) -> tuple[Tensor, TargetsTensor, KnownTensor]:
        """Augment this process's share of a batch on the device; return it with the targets of the batch."""
        spec, seed, epoch = self._recipe.augment, self._recipe.training.seed, self.state.epoch
        params = draw_augment(spec, seed=seed, epoch=epoch, positions=batch.own)
        share = None
        targets, known = batch.targets, batch.known
        if spec.mixup:
            shares = draw_mixup(spec.mixup, seed=seed, epoch=epoch, positions=batch.positions)
            share = to_device(shares, self._compute.device)
            targets, known = mix_targets(targets, known, share)
            share = share[self._ranks.share(len(share))]
        return self._augment(batch.pixels, params.to(self._compute.device), share), targets, known

    def _augment_batch(self, pixels: PixelsTensor, params: AugmentParams, share: Tensor | None) -> Images:
        """Return the images that the net learns from; this function is compiled."""
        size = self._recipe.model.input_size
        images = apply_augment(pixels, params, spec=self._recipe.augment, input_size=size)
        return images if share is None else mix_images(images, share)

    def _learning_rate(self, step: int) -> float:
        scheduled = learning_rate(
            self._recipe.schedule,
            peak=self._recipe.optim.lr,
            step=step,
            steps_per_epoch=self._plan.steps,
            epochs=self._recipe.training.epochs,
        )
        return scheduled * self.state.plateau.scale

    def _log_summary(self) -> None:
        self._refuse_bad_loss()
        step = self.state.step
        latest = self.learner.losses[(step - 1) // _SUMMARY_STEPS * _SUMMARY_STEPS : step]
        self._recent_loss = float(latest.double().mean())
        self._log.write(
            "steps",
            epoch=self.state.epoch + 1,
            step=self.steps_done,
            loss=self._recent_loss,
            lr=self._learning_rate(self.steps_done - 1),
            images_per_second=round(self._throughput.mark(), 1),
        )

    def _refuse_bad_loss(self) -> None:
        bad = self.learner.first_bad_step(self.state.step)
        if bad is None:
            return
        step = self.state.epoch * self._plan.steps + bad
        raise NonFiniteLoss(
            f"the loss is not finite at step {bad + 1} of epoch {self.state.epoch + 1} "
            f"(step {step + 1} of the run), with learning rate {self._learning_rate(step):.3g}; "
            "the last checkpoint was written before that. "
            "Start again with a lower optim.lr, a longer schedule.warmup_epochs or "
            "training.gradient_clip=1, and training.precision=float32 on a GPU"
        )

    def _conclude(self, validation: ValidationMetrics) -> None:
        """Update the state with the validation metrics, and close the epoch."""
        state, stopping = self.state, self._recipe.early_stopping
        epoch = state.epoch + 1
        changes: dict[str, Any] = {
            "plateau": state.plateau.after_epoch(
                self._recipe.schedule, validation.loss, peak=self._recipe.optim.lr
            )
        }
        score = validation.score(self._recipe.selection.metric)
        if not math.isnan(score) and (state.leading_score is None or score > state.leading_score):
            changes |= {"leading_score": score, "leading_epoch": epoch}
        if self._recipe.selection.checkpoint == "best" and (state.best is None or score > state.best):
            changes["best"] = score
            weights = {name: tensor.detach().cpu().clone() for name, tensor in self.learner.weights().items()}
            self._best = Best(epoch, weights)
        if stopping is not None:
            monitored = validation.score(stopping.metric)
            if state.watched is None or monitored > state.watched:
                changes |= {"watched": monitored, "waited": 0}
            else:
                epochs = state.waited + 1
                changes |= {"waited": epochs, "stopped": epochs >= stopping.patience}
        self.state = replace(state, epoch=epoch, step=0, **changes)
