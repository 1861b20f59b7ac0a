"""A real radiograph in any size, for files that must pass the input gate."""

import numpy as np
from PIL import Image

from thorax import starter


def chest(side=64):
    """Return one of the starter's radiographs as uint8 (side, side)."""
    path = min((starter.folder() / "images").glob("*.png"))
    with Image.open(path) as image:
        return np.asarray(image.convert("L").resize((side, side), Image.Resampling.BOX))


def chest_12_bits(side=64):
    """Return the same as uint16 with values of 12 bits."""
    return chest(side).astype(np.uint16) * 16
