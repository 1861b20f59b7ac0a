"""p values adjusted for how many tests there are (Holm, Scandinavian Journal of Statistics 1979)."""

import numpy as np
from jaxtyping import Float64

__all__ = ["holm"]


def holm(p: Float64[np.ndarray, " test"]) -> Float64[np.ndarray, " test"]:
    """Return p values adjusted for multiple tests; NaN stays NaN and does not count as a test.

    The smallest is multiplied by the number of tests, the next by one less, and so on; none is smaller than
    the one before it, and none exceeds 1.
    """
    adjusted = np.full(len(p), np.nan)
    order = np.argsort(p, kind="stable")[: np.sum(~np.isnan(p))]  # NaN sorts last
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted
