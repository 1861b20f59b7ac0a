"""The learner: net, optimizer and moving average, and the training step that updates them."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, assert_never

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from thorax.errors import ThoraxError
from thorax.models.classifier import (
    Classifier,
    build_classifier,
    is_running_statistic,
    layer_distances,
    trained_stages,
)
from thorax.models.tensors import KnownTensor, TargetsTensor
from thorax.randomness import integer_seed
from thorax.recipe.schema import (
    Adam,
    AdamW,
    Constant,
    Cosine,
    Optim,
    Plateau,
    Recipe,
    Schedule,
    Sgd,
    WarmRestarts,
)
from thorax.training.compute import ComputeConfig, compiled
from thorax.training.ema import MovingAverage
from thorax.training.losses import loss_function
from thorax.training.ranks import ALONE, Ranks

__all__ = ["Learner", "NonFiniteLoss", "PlateauState", "build_optimizer", "learning_rate"]


def build_optimizer(
    spec: Optim, module: nn.Module, *, distances: Mapping[str, int] | None = None
) -> torch.optim.Optimizer:
    """Return the optimizer of a recipe, for every parameter that requires a gradient.

    Each parameter group has an `lr_scale`, by which the caller multiplies the learning rate: the recipe's
    `layer_decay` to the power of the distance from the head. Biases, norms and other vectors have no weight
    decay unless the recipe sets `decay_norms`.

    Args:
        spec: The recipe's section.
        module: The net.
        distances: Distance of each parameter from the head in layers, by name; 0 for those not named.
    """
    members: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            no_decay = parameter.ndim <= 1 and not spec.decay_norms
            members.setdefault(((distances or {}).get(name, 0), no_decay), []).append(parameter)
    groups: list[dict[str, Any]] = [
        {
            "params": parameters,
            "weight_decay": 0.0 if no_decay else spec.weight_decay,
            "lr_scale": spec.layer_decay**distance,
        }
        for (distance, no_decay), parameters in sorted(members.items(), key=lambda item: item[0])
    ]
    # Fused: one kernel for many tensors, on a CPU too.
    match spec:
        case Adam():
            return torch.optim.Adam(groups, lr=spec.lr, betas=spec.betas, fused=True)
        case AdamW():
            return torch.optim.AdamW(groups, lr=spec.lr, betas=spec.betas, fused=True)
        case Sgd():
            nesterov = spec.nesterov and spec.momentum > 0
            # torch 2.13's fused SGD fails on weights that are unfrozen later than others in their group.
            return torch.optim.SGD(groups, lr=spec.lr, momentum=spec.momentum, nesterov=nesterov)
        case _:
            assert_never(spec)


def learning_rate(spec: Schedule, *, peak: float, step: int, steps_per_epoch: int, epochs: int) -> float:
    """Return the learning rate of a step, without the factor `PlateauState.scale`.

    Args:
        spec: The recipe's schedule.
        peak: Learning rate after warm-up.
        step: Step of the run, from 0.
        steps_per_epoch: Steps of an epoch.
        epochs: Epochs of the whole run.
    """
    warmup = round(spec.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return peak * (step + 1) / warmup
    since = step - warmup
    match spec:
        case Constant() | Plateau():
            return peak
        case Cosine():
            last = steps_per_epoch * epochs - 1 - warmup
            return peak * _half_cosine(since / max(last, 1), spec.final)
        case WarmRestarts():
            for length in _cycles(spec.first_epochs * steps_per_epoch, spec.factor):
                if since < length:
                    return peak * _half_cosine(since / length, spec.final)
                since -= length
            raise AssertionError("the cycles are infinite")
        case _:
            assert_never(spec)


def _half_cosine(progress: float, final: float) -> float:
    """Return 1 at progress 0, `final` at progress 1."""
    return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2


def _cycles(first: int, factor: int) -> Iterator[int]:
    length = first
    while True:
        yield length
        length *= factor


_PLATEAU_THRESHOLD = 1e-4
"""Relative decrease of the loss above which it counts as better: torch's default."""

_SMALLEST_CHANGE = 1e-8
"""A learning rate that would fall by no more than this stays as it is: torch's default."""


@dataclass(frozen=True, slots=True)
class PlateauState:
    """The state of a plateau schedule. Checkpoints store the fields under these names.

    Attributes:
        best: The lowest validation loss that counted as an improvement.
        waited: Epochs since it was reached, or since the learning rate was last lowered.
        scale: Factor on the learning rate.
    """

    best: float = math.inf
    waited: int = 0
    scale: float = 1.0

    def after_epoch(self, spec: Schedule, loss: float, *, peak: float) -> "PlateauState":
        """Return the state after an epoch, as torch's ReduceLROnPlateau decides it.

        Only a plateau schedule changes the state.

        Args:
            spec: The recipe's schedule.
            loss: The validation loss of the epoch.
            peak: Learning rate at scale 1.
        """
        if not isinstance(spec, Plateau):
            return self
        if loss < self.best * (1 - _PLATEAU_THRESHOLD):
            return PlateauState(loss, 0, self.scale)
        if self.waited < spec.patience:
            return PlateauState(self.best, self.waited + 1, self.scale)
        lowered = self.scale * spec.factor
        changes = peak * (self.scale - lowered) > _SMALLEST_CHANGE
        return PlateauState(self.best, 0, lowered if changes else self.scale)


Counts = Float64[np.ndarray, " finding"]


class NonFiniteLoss(ThoraxError):  # noqa: N818  (named after the event)
    """The loss became infinite or not a number."""


class Learner:
    """Everything that a training step changes.

    Args:
        recipe: The recipe. Its initial weights are a pure function of its seed, on any device.
        positives: Number of positive known labels of each finding among the training rows.
        negatives: Number of negative ones.
        steps: Steps of an epoch.
        compute: Device and arithmetic.
        pretrained: False if a checkpoint will replace the weights, so that none are loaded.
        ranks: The processes that share each batch; all get the weights of the first.

    Raises:
        RecipeError: The backbone, its weights or its stages do not fit the recipe.
    """

    def __init__(  # noqa: PLR0913  (a recipe, counts, and where it computes)
        self,
        recipe: Recipe,
        *,
        positives: Counts,
        negatives: Counts,
        steps: int,
        compute: ComputeConfig,
        pretrained: bool = True,
        ranks: Ranks = ALONE,
    ) -> None:
        self._ranks = ranks
        self._batch_size, self._input_size = recipe.training.batch_size, recipe.model.input_size
        self._seed = recipe.training.seed
        self._clip = recipe.training.gradient_clip
        self._compute = compute
        loads = pretrained and ranks.is_first
        model = recipe.model if loads else recipe.model.model_copy(update={"weights": "none"})
        torch.manual_seed(integer_seed(self._seed, "weights", step=0))
        # torch does not annotate `to` with a memory format.
        net: Any = build_classifier(model, len(positives))
        self.classifier: Classifier = net.to(compute.device, memory_format=torch.channels_last)
        self.classifier.train()
        self._norms_over_processes = recipe.training.sync_batch_norm and ranks.size > 1
        if ranks.size > 1:
            self._share_batches()
        graphs = compute.device.type == "cuda"
        self._alone: nn.Module = (
            compiled(self.classifier, graphs=graphs) if compute.compiled else self.classifier
        )
        self._net, self._joined_for = self._alone, frozenset[str]()
        self._own_statistics: list[Tensor] = []
        # It has every parameter from the start, and skips frozen ones because they have no gradient.
        self.optimizer = build_optimizer(
            recipe.optim, self.classifier, distances=_distances(recipe.optim, self.classifier)
        )
        self._freeze = recipe.freeze
        self.begin_epoch(0)
        ema = recipe.training.ema
        self.average = MovingAverage(self.classifier, decay=ema) if ema is not None else None
        self._loss = loss_function(
            recipe.loss,
            positives=torch.tensor(positives, dtype=torch.float32, device=compute.device),
            negatives=torch.tensor(negatives, dtype=torch.float32, device=compute.device),
        )
        self._scaler = torch.amp.GradScaler(compute.device.type, enabled=compute.dtype == torch.float16)
        self.losses = torch.zeros(steps, device=compute.device)

    def begin_epoch(self, epoch: int) -> None:
        """Unfreeze the stages that learn in this epoch, counted from 0.

        Called before the first step of an epoch, or of the rest of a resumed one.
        """
        trained = trained_stages(self.classifier.backbone, self._freeze, epoch=epoch)
        if trained is not None:
            self.classifier.learn_only(trained)
        if self._ranks.size > 1:
            self._join()

    def step(
        self,
        images: Float[Tensor, "share 1 height width"],
        targets: TargetsTensor,
        known: KnownTensor,
        *,
        lr: float,
        epoch_step: int,
        step: int,
    ) -> None:
        """Take one step, and write its loss to `losses[epoch_step]` without waiting for the device.

        Args:
            images: The batch, or this process's share of it, at the net's input size.
            targets: The targets of the whole batch.
            known: Whether each target is known.
            lr: Learning rate of the head; other layers scale it.
            epoch_step: Step of the epoch, from 0.
            step: Step of the run, from 0; seeds dropout.
        """
        torch.manual_seed(integer_seed(self._seed, "torch", step=step))
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["lr_scale"]
        # The CUDA graph will overwrite the last step's gradients, so they are released first.
        self.optimizer.zero_grad()
        if self._compute.compiled:  # the call imports the compiler
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        device, dtype = self._compute.device.type, self._compute.dtype
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            logits = self._net(images)
        loss = self._loss(self._ranks.whole_batch(logits, count=len(targets)), targets, known)
        with self._ranks.watched():
            torch.autograd.backward(self._scaler.scale(loss))
        self._ranks.average(self._own_statistics)
        if self._clip is not None:
            self._scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.classifier.parameters(), self._clip)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        if self.average is not None:
            self.average.update(step=step)
        self.losses[epoch_step] = loss.detach()

    def _share_batches(self) -> None:
        """Prepare the net for its share of each batch."""
        # Only now: one process does not need torch.distributed.
        from thorax.training.shared_draws import draw_for_whole_batch  # noqa: PLC0415
        from thorax.training.sync_norm import take_norms_over_processes  # noqa: PLC0415

        if self._norms_over_processes:
            take_norms_over_processes(self.classifier)
        share = self._ranks.share(self._batch_size)
        draw_for_whole_batch(self.classifier, share, count=self._batch_size)

    def _join(self) -> None:
        """Exchange the gradients of the parameters that learn now, and average the statistics of norms."""
        learning = frozenset(name for name, p in self.classifier.named_parameters() if p.requires_grad)
        if learning == self._joined_for:
            return
        size = self._input_size
        like = (
            None if self._compute.compiled else torch.zeros((2, 1, size, size), device=self._compute.device)
        )
        self._net, self._joined_for = self._ranks.wrapped(self._alone, like=like), learning
        self._own_statistics = [
            buffer
            for module in self.classifier.modules()
            if module.training and not self._norms_over_processes
            for name, buffer in module.named_buffers(recurse=False)
            if is_running_statistic(name)
        ]

    def weights(self) -> Mapping[str, Tensor]:
        """Return the weights that are validated and kept: the moving average if there is one."""
        return self.classifier.state_dict() if self.average is None else self.average.weights

    def first_bad_step(self, steps: int) -> int | None:
        """Return the first of the epoch's first `steps` steps with a non-finite loss, or None.

        If all losses are finite but a weight is not, the last step is returned.
        """
        bad = (~torch.isfinite(self.losses[:steps])).nonzero()
        if len(bad):
            return int(bad[0])
        # The largest entry of all tensors: one synchronization with the device rather than one per tensor.
        weights = [parameter.detach() for parameter in self.classifier.parameters()]
        diverged = steps and not bool(torch.isfinite(nn.utils.get_total_norm(weights, torch.inf)))
        return steps - 1 if diverged else None

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor that the next step depends on."""
        tensors = {f"net.{name}": tensor for name, tensor in self.classifier.state_dict().items()}
        if self.average is not None:
            tensors |= {f"average.{name}": tensor for name, tensor in self.average.weights.items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {
                f"optimiser.{index}.{key}": value for key, value in moments.items() if value is not None
            }
        return tensors | {"losses": self.losses}

    def extra(self) -> dict[str, Any]:
        """Return the plain values that the next step depends on."""
        return {"scaler": self._scaler.state_dict()}

    def restore(self, tensors: Mapping[str, Tensor], extra: Mapping[str, Any]) -> None:
        """Restore what `tensors` and `extra` returned."""
        self.classifier.load_state_dict(_under(tensors, "net."))
        if self.average is not None:
            self.average.restore(_under(tensors, "average."))
        self.losses.copy_(tensors["losses"])
        self._scaler.load_state_dict(dict(extra["scaler"]))
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under(tensors, "optimiser.").items():
            index, key = name.split(".")
            parameter = parameters[int(index)]
            # A moment has the memory format of its parameter (channels last), as in an uninterrupted run.
            same_shape = tensor.shape == parameter.shape
            value = torch.empty_like(parameter).copy_(tensor) if same_shape else tensor
            state.setdefault(int(index), {})[key] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})


def _distances(spec: Optim, classifier: Classifier) -> dict[str, int] | None:
    """Return the distance of each parameter from the head, or None if layers do not differ."""
    if spec.layer_decay == 1:
        return None
    return {f"backbone.{name}": count for name, count in layer_distances(classifier.backbone).items()}


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
