"""A net with one hidden layer, trained with NumPy: Adam, dropout of inputs, a cosine schedule."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float32, Int64

from thorax.inference.gate_features import Features

__all__ = ["Batch", "Net", "NetSize", "train_net"]

Batch = tuple[Features, Int64[np.ndarray, " n"]]
"""Features of images, and the class of each."""

_RATE: Final = np.float32(2e-3)
_DECAY: Final = np.float32(1e-3)
_WARM_UP: Final = 50


@dataclass(frozen=True, slots=True, eq=False)
class Net:
    """Weights and biases: features to hidden units, and these to classes."""

    hidden: Float32[np.ndarray, "f h"]
    hidden_bias: Float32[np.ndarray, " h"]
    out: Float32[np.ndarray, "h c"]
    out_bias: Float32[np.ndarray, " c"]


@dataclass(frozen=True, slots=True)
class NetSize:
    """Numbers of inputs, hidden units and classes, and the steps of training."""

    inputs: int
    units: int
    classes: int
    steps: int


def train_net(
    draw: Callable[[np.random.Generator], Batch],
    size: NetSize,
    *,
    dropout: float,
    random: np.random.Generator,
    step_done: Callable[[int], None] | None = None,
) -> Net:
    """Train a net on drawn batches, with the cross-entropy of a softmax.

    Args:
        draw: Returns a new batch.
        size: Its size.
        dropout: Share of the inputs that are set to 0 in each image.
        random: Draws the batches, the first weights and the dropout.
        step_done: Called after each step with its number.
    """
    weights = [
        random.normal(0, np.sqrt(2 / size.inputs), (size.inputs, size.units)).astype(np.float32),
        np.zeros(size.units, np.float32),
        random.normal(0, np.sqrt(1 / size.units), (size.units, size.classes)).astype(np.float32),
        np.zeros(size.classes, np.float32),
    ]
    means, squares = ([np.zeros_like(weight) for weight in weights] for _ in range(2))
    for step in range(1, size.steps + 1):
        values, classes = draw(random)
        kept = random.random(values.shape, dtype=np.float32) >= dropout
        gradients = _gradients(weights, values * kept / np.float32(1 - dropout), classes)
        rate = _RATE * np.float32((1 + np.cos(np.pi * step / size.steps)) / 2 * min(1, step / _WARM_UP))
        for at, gradient in enumerate(gradients):
            means[at] += np.float32(0.1) * (gradient - means[at])
            squares[at] += np.float32(0.01) * (gradient**2 - squares[at])
            scale = np.sqrt(squares[at] / np.float32(1 - 0.99**step)) + np.float32(1e-8)
            decay = _DECAY if weights[at].ndim > 1 else np.float32(0)
            weights[at] -= rate * (means[at] / np.float32(1 - 0.9**step) / scale + decay * weights[at])
        if step_done is not None:
            step_done(step)
    return Net(*weights)


def _gradients(
    weights: list[np.ndarray], values: Features, classes: Int64[np.ndarray, " n"]
) -> list[np.ndarray]:
    """Return the gradients of the mean cross-entropy."""
    hidden = np.maximum(values @ weights[0] + weights[1], 0)
    scores = hidden @ weights[2] + weights[3]
    wrong = np.exp(scores - scores.max(axis=1, keepdims=True))
    wrong /= wrong.sum(axis=1, keepdims=True)
    wrong[np.arange(len(classes)), classes] -= 1
    wrong /= np.float32(len(classes))
    back = (wrong @ weights[2].T) * (hidden > 0)
    return [values.T @ back, back.sum(axis=0), hidden.T @ wrong, wrong.sum(axis=0)]
