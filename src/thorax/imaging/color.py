"""How much of a picture is colored, measured before it becomes gray."""

from typing import Final

import numpy as np
from PIL import Image

__all__ = ["colored_share", "colored_share_of"]

_SAMPLED_SIDE: Final = 256
"""At most this many rows and columns are looked at, in equal steps."""

_TINT: Final = 0.1
"""Part of white by which the channels of a gray pixel may differ: JPEG and scanners tint grays a little."""

_GRAY_MODES: Final = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"}


def colored_share(colors: np.ndarray) -> float:
    """Return the share of pixels that are not gray, in [0, 1], of an array (h, w, 3) of unsigned integers."""
    down, right = (-(-length // _SAMPLED_SIDE) for length in colors.shape[:2])
    some = colors[::down, ::right].astype(np.int32)
    spread = some.max(axis=-1) - some.min(axis=-1)
    return float((spread > _TINT * np.iinfo(colors.dtype).max).mean())


def colored_share_of(image: Image.Image) -> float:
    """Return the share of pixels that are not gray, in [0, 1], of a PIL image in any mode."""
    if image.mode in _GRAY_MODES:
        return 0.0
    size = (min(image.width, _SAMPLED_SIDE), min(image.height, _SAMPLED_SIDE))
    some = image.resize(size, Image.Resampling.NEAREST)
    if some.mode in {"P", "PA"}:
        some = some.convert("RGBA")  # which a palette with transparency needs
    return colored_share(np.asarray(some.convert("RGB")))
