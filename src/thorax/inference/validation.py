"""The distribution of validation images that a bundle keeps for monitoring."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from thorax.arrays import Probabilities, Rows
from thorax.bundle import Bundle, attach_distribution
from thorax.distributions import GATE_SCORES
from thorax.evaluation.inputs.join import labeled_images
from thorax.evaluation.monitoring.describe import GateWords, describe_validation
from thorax.image_set import ImageSet
from thorax.inference.gate import PICTURE_REASONS, Gate, GateAnswer, check_pixels, open_gate
from thorax.store import Store

__all__ = ["gate_words", "with_distribution"]

_TOGETHER: Final = 64


def with_distribution(
    bundle: Bundle, store: Store, rows: Rows, probabilities: Probabilities, *, measured_on: ImageSet
) -> Bundle:
    """Give a bundle the distribution of its probabilities, decisions and gate scores on validation.

    Args:
        bundle: The bundle in its folder, with its gate, calibration and thresholds.
        store: The store.
        rows: Rows of the validation part.
        probabilities: The bundle's calibrated probabilities for them.
        measured_on: Describes the images.
    """
    points, gate = bundle.manifest.operating_points, open_gate(bundle)
    described = describe_validation(
        labeled_images(store.table.take(rows), bundle.findings),
        probabilities,
        points.thresholds if points else {},
        measured_on=measured_on,
        gate=gate_words(_answers(gate, store, rows)) if gate.is_fitted else None,
    )
    return attach_distribution(bundle, described)


def _answers(gate: Gate, store: Store, rows: Rows) -> list[GateAnswer]:
    starts = range(0, len(rows), _TOGETHER)
    batches = (store.pixels(rows[start : start + _TOGETHER]) for start in starts)
    return [check_pixels(gate, pixels) for batch in batches for pixels in batch]


def gate_words(answers: Sequence[GateAnswer]) -> GateWords:
    """Return the answers of a gate about several images as arrays."""
    return GateWords(
        scores=np.array([[answer.scores.get(name, np.nan) for name in GATE_SCORES] for answer in answers]),
        held_back=np.array([answer.refused for answer in answers]),
        warned=np.array([not answer.refused and bool(answer.codes & PICTURE_REASONS) for answer in answers]),
    )
