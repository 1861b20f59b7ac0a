"""Measure the net on validation images, in float32, as in later use."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from thorax.arrays import Known, Targets
from thorax.errors import DataError
from thorax.evaluation.statistics.ranking import auroc_score
from thorax.findings import NO_FINDING, Findings
from thorax.inference.pooling import mean_logit
from thorax.inference.torch_engine import view_logits
from thorax.models.tensors import Images
from thorax.recipe.schema import TestTime
from thorax.training.batches import PartPixels
from thorax.training.losses import LossFunction
from thorax.training.ranks import ALONE, Ranks

__all__ = ["PLAIN", "ValidationMetrics", "macro_findings", "measure", "predict_logits"]

PLAIN = TestTime()
"""Only the unchanged image."""


@dataclass(frozen=True)
class ValidationMetrics:
    """The performance of an epoch on validation data.

    Attributes:
        loss: The recipe's loss of all images together.
        auc: Area under the ROC curve of each finding, in order; NaN if undefined.
        macro_auc: Mean over the findings with an AUC, without No Finding; NaN if there are none.
        accuracy: Share of each finding's labels on whose side of probability 0.5 the net is; NaN if it has no
            certain label.
        macro_accuracy: Mean over the findings with an accuracy, without No Finding; NaN if there are none.
    """

    loss: float
    auc: tuple[float, ...]
    macro_auc: float
    accuracy: tuple[float, ...]
    macro_accuracy: float

    def score(self, metric: str) -> float:
        """Return "macro-auc" or the negative "loss": larger is better."""
        return self.macro_auc if metric == "macro-auc" else -self.loss


def predict_logits(  # noqa: PLR0913  (a net, images, and how they are shared and shown)
    net: Callable[[Images], Tensor],
    pixels: PartPixels,
    *,
    input_size: int,
    batch_size: int,
    check: Callable[[], None],
    test_time: TestTime = PLAIN,
    ranks: Ranks = ALONE,
) -> Float64[np.ndarray, "n k"]:
    """Return the logits of all images of a part, in order; with several views, the logit of their mean.

    Args:
        net: The net, in evaluation mode.
        pixels: Images of the part, on the net's device.
        input_size: Side of the net's input.
        batch_size: Most images per forward pass.
        check: Called after each batch; may raise KeyboardInterrupt, which is then raised in every process.
        test_time: The views of each image.
        ranks: The processes that share the batches. Each batch is computed whole, by one of them, so that the
            logits are those of one process.
    """
    batches = np.split(np.arange(len(pixels)), range(batch_size, len(pixels), batch_size))
    counts = [sum(map(len, batches[share])) for share in ranks.shares(len(batches))]
    own = [np.empty((0, pixels.num_findings))]
    stopped = False
    try:
        for members in batches[ranks.share(len(batches))]:
            logits = view_logits(net, pixels.fetch(members), input_size=input_size, test_time=test_time)
            own.append(mean_logit(logits, mean_of=test_time.mean_of))
            check()
    except KeyboardInterrupt:
        stopped = True
    if ranks.any(stopped):
        raise KeyboardInterrupt
    return ranks.all_rows(np.concatenate(own), counts=counts)


def macro_findings(targets: Targets, findings: Findings) -> list[bool]:
    """Return for each finding whether the macro mean includes it, that is, has positives and negatives."""
    return [
        finding != NO_FINDING and bool((column == 1).any()) and bool((column == 0).any())
        for finding, column in zip(findings, targets.T, strict=True)
    ]


def measure(
    logits: Float64[np.ndarray, "n k"], targets: Targets, findings: Findings, *, loss: LossFunction
) -> ValidationMetrics:
    """Compare logits with the certain labels; uncertain ones are ignored.

    Args:
        logits: Before the sigmoid.
        targets: Labels of the same images.
        findings: The findings of the columns.
        loss: The recipe's loss, on the CPU. It is computed in float64, of all images as one batch.

    Raises:
        DataError: A logit is not finite.
    """
    if not np.isfinite(logits).all():
        raise DataError(
            f"{int(np.sum(~np.isfinite(logits)))} of {logits.size} validation logits are not finite; "
            "look for the step at which training diverged"
        )
    known: Known = targets >= 0
    auc = tuple(
        auroc_score(target[is_known] == 1, logit[is_known])
        for target, is_known, logit in zip(targets.T, known.T, logits.T, strict=True)
    )
    counted = [a for a, included in zip(auc, macro_findings(targets, findings), strict=True) if included]
    value = loss(torch.from_numpy(logits), torch.from_numpy(targets).double(), torch.from_numpy(known))
    right = [(logits[:, k] >= 0)[known[:, k]] == targets[:, k][known[:, k]] for k in range(len(findings))]
    accuracy = tuple(float(np.mean(column)) if len(column) else float("nan") for column in right)
    named = [
        share
        for share, finding in zip(accuracy, findings, strict=True)
        if finding != NO_FINDING and not np.isnan(share)
    ]
    return ValidationMetrics(
        loss=float(value),
        auc=auc,
        macro_auc=float(np.mean(counted)) if counted else float("nan"),
        accuracy=accuracy,
        macro_accuracy=float(np.mean(named)) if named else float("nan"),
    )
