"""The scores of an input gate, computed from the features of thumbnails."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float32, Int64

from thorax.bundle.input_gate import GateNumbers
from thorax.inference.gate_features import Features, mirrored

__all__ = ["INVERTED", "LATERAL", "OTHER", "GateScores", "gate_scores"]

INVERTED: Final = 4
"""First of the classes of inverted images, turned by 0 to 3 quarters; before them are those not inverted."""

LATERAL: Final = 8
OTHER: Final = 9


@dataclass(frozen=True, slots=True, eq=False)
class GateScores:
    """Scores of images.

    Attributes:
        upright: Log odds that it is an upright frontal chest radiograph.
        looks_like: The likeliest other class: quarters turned counterclockwise, plus `INVERTED`; `LATERAL`;
            `OTHER`.
        unlike: Distance from the training images: the part of the features that their axes do not explain.
        mirrored: Log odds that it is mirrored.
    """

    upright: Float32[np.ndarray, " n"]
    looks_like: Int64[np.ndarray, " n"]
    unlike: Float32[np.ndarray, " n"]
    mirrored: Float32[np.ndarray, " n"]


def gate_scores(numbers: GateNumbers, values: Features) -> GateScores:
    """Return the scores of images with these features."""
    hidden = np.maximum(values @ numbers.hidden + numbers.hidden_bias, 0)
    classes = hidden @ numbers.out + numbers.out_bias
    others = classes[:, 1:]
    most = others.max(axis=1)
    any_other = most + np.log(np.exp(others - most[:, None]).sum(axis=1))
    apart = values - numbers.mean
    rest = apart - (apart @ numbers.axes.T) @ numbers.axes
    return GateScores(
        upright=classes[:, 0] - any_other,
        looks_like=1 + others.argmax(axis=1),
        unlike=np.sqrt(np.square(rest).mean(axis=1)),
        mirrored=(_mirror(numbers, values) - _mirror(numbers, mirrored(values))) / 2,
    )


def _mirror(numbers: GateNumbers, values: Features) -> Float32[np.ndarray, " n"]:
    hidden = np.maximum(values @ numbers.mirror + numbers.mirror_bias, 0)
    return np.asarray(hidden @ numbers.mirror_out)
