"""Named tensor types: the torch side of `thorax.arrays`.

Axes: `batch` images, `finding` findings, `height`, `width` pixels, `side` of a prepared square.
"""

from jaxtyping import Bool, Float, UInt8
from torch import Tensor

__all__ = ["Images", "KnownTensor", "Logits", "PixelsTensor", "TargetsTensor", "Theta"]

PixelsTensor = UInt8[Tensor, "batch side side"]
"""Prepared images, as a store keeps them."""

Images = Float[Tensor, "batch 1 height width"]
"""Grey images in [0, 1] at the net's input size; larger is brighter."""

Logits = Float[Tensor, "batch finding"]
"""Outputs before the sigmoid; only `inference` makes probabilities of them."""

TargetsTensor = Float[Tensor, "batch finding"]
"""Targets in [0, 1]: 1 present, 0 absent, between them where images were mixed."""

KnownTensor = Bool[Tensor, "batch finding"]
"""Where a target counts."""

Theta = Float[Tensor, "batch 2 3"]
"""Affine maps from output to input coordinates, both in [-1, 1] over the whole image, x before y."""
