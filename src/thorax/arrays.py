"""Named NumPy array types, and the two label values that are neither present nor absent.

Axes: `n` images, `k` findings, `h` rows, `w` columns, `s` side of a prepared square.
"""

import numpy as np
from jaxtyping import Bool, Float, Float64, Int8, Int64, UInt8, UInt16

__all__ = [
    "NOT_LABELED",
    "UNCERTAIN",
    "Attribution",
    "GrayPixels",
    "Known",
    "Pixels",
    "PixelsBatch",
    "Probabilities",
    "Rows",
    "Scores",
    "Targets",
]

UNCERTAIN = -1
"""The label source hedges ("possible pneumonia"); the recipe decides how to treat it."""

NOT_LABELED = -2
"""The label source says nothing about this finding in this image."""

GrayPixels = UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]
"""One gray image, larger is brighter (MONOCHROME2), over the full range of its type."""

Pixels = UInt8[np.ndarray, "s s"]
"""One prepared image, as `imaging.prepare` returns it and a store keeps it."""

PixelsBatch = UInt8[np.ndarray, "n s s"]
"""Prepared images."""

Rows = Int64[np.ndarray, " n"]
"""Row numbers of a sample table."""

Targets = Int8[np.ndarray, "n k"]
"""Labels: 1 present, 0 absent, `UNCERTAIN`, `NOT_LABELED`."""

Known = Bool[np.ndarray, "n k"]
"""Which targets count."""

Scores = Float[np.ndarray, "n k"]
"""Any score in which larger means more likely."""

Probabilities = Float64[np.ndarray, "n k"]
"""Probabilities in [0, 1]; only `inference` computes these."""

Attribution = Float[np.ndarray, "h w"]
"""How much each location of the image contributes to a finding's logit."""
