"""The input gate that a bundle carries: its section of the manifest, and its file of numbers.

The gate looks at the features of a thumbnail (`inference.gate_features`). Two small nets, and the directions
in which the training images differ, are all that it keeps of those images.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
from jaxtyping import Float32, Int32
from pydantic import Field
from safetensors import SafetensorError
from safetensors.numpy import load, save

from thorax.atomic_io import read_regular
from thorax.bundle.files import check_file
from thorax.errors import BundleError
from thorax.image_set import ImageSet
from thorax.recipe.sections import Section

__all__ = [
    "GATE_CLASSES",
    "GATE_FEATURES",
    "GateNumbers",
    "InputGate",
    "Rate",
    "gate_bytes",
    "gate_of_bytes",
    "read_gate",
]

GATE_FEATURES: Final = 768
"""Numbers that the gate computes from a thumbnail."""

GATE_CLASSES: Final = 10
"""Outputs of its net: turned by 0, 90, 180, 270 degrees; the same inverted; lateral; another picture."""

_LARGEST: Final = 4 * 2**20
_MOST_UNITS: Final = 512
_AGES: Final = 151

Limit = Annotated[float, Field(ge=-1e6, le=1e6)]


class Rate(Section):
    """How many of some images something was true of."""

    count: int = Field(ge=0)
    of: int = Field(ge=0)

    def __str__(self) -> str:
        return f"{self.count:,} of {self.of:,}"


class InputGate(Section):
    """Limits of the gate, what they were set on, and how it did there."""

    name: str
    """File name of the numbers within the bundle."""
    sha256: str
    fitted_on: ImageSet
    """The training images. What is not a chest radiograph was drawn by code."""
    chosen_on: ImageSet
    """The validation images that the limits were set on."""
    least_upright: Limit
    """Lowest log odds of an upright frontal chest radiograph that pass."""
    most_unlike: Limit
    """Largest distance from the training images without a warning."""
    too_unlike: Limit
    """Largest distance that passes."""
    most_mirrored: Limit
    """Largest score of a mirrored image without a warning."""
    held_back: Rate
    """Of the validation images."""
    turned_caught: Rate
    """Of their copies turned by 90, 180 and 270 degrees."""
    inverted_caught: Rate
    """Of their inverted copies."""
    mirrored_caught: Rate
    """Of their mirrored copies."""
    mirrored_called: Rate
    """Of the validation images themselves."""
    pictures_caught: Rate
    """Of drawn pictures of kinds that were left out of a first fit."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GateNumbers:
    """What the gate computes with; F is `GATE_FEATURES`.

    Attributes:
        hidden, hidden_bias, out, out_bias: The net that recognizes upright frontal chest radiographs.
        mirror, mirror_bias, mirror_out: The net that recognizes mirrored ones.
        mean, axes: Mean of the training images' features, and orthonormal directions in which they vary.
        ages: Number of training images at each age in whole years.
    """

    hidden: Float32[np.ndarray, "f h"]
    hidden_bias: Float32[np.ndarray, " h"]
    out: Float32[np.ndarray, "h c"]
    out_bias: Float32[np.ndarray, " c"]
    mirror: Float32[np.ndarray, "f m"]
    mirror_bias: Float32[np.ndarray, " m"]
    mirror_out: Float32[np.ndarray, " m"]
    mean: Float32[np.ndarray, " f"]
    axes: Float32[np.ndarray, "a f"]
    ages: Int32[np.ndarray, " y"]


def gate_bytes(numbers: GateNumbers) -> bytes:
    """Serialize the numbers of a gate as safetensors, in half precision but for the ages."""
    return save(
        {
            field.name: np.ascontiguousarray(_stored(field.name, getattr(numbers, field.name)))
            for field in fields(numbers)
        }
    )


def _stored(name: str, values: np.ndarray) -> np.ndarray:
    return values.astype(np.int32 if name == "ages" else np.float16)


def read_gate(folder: Path, section: InputGate) -> GateNumbers:
    """Read the numbers of a bundle's gate.

    Args:
        folder: Folder of the bundle.
        section: Its section of the manifest.

    Raises:
        BundleError: The file is missing or changed, or does not hold the numbers of a gate.
    """
    check_file(folder, section.name, section.sha256)
    path = folder / section.name
    try:
        return gate_of_bytes(read_regular(path, at_most=_LARGEST))
    except (OSError, ValueError, SafetensorError) as error:
        raise BundleError(
            f"{path} does not hold the numbers of an input gate ({error}); copy the whole bundle again, or "
            "fit the gate again with `thorax gate`"
        ) from error


def gate_of_bytes(content: bytes) -> GateNumbers:
    """Return the numbers of a gate that `gate_bytes` serialized.

    Raises:
        ValueError: They are not those of a gate: other names, types or shapes, or not finite.
        SafetensorError: The bytes are not safetensors.
    """
    tensors: dict[str, Any] = load(content)
    names = [field.name for field in fields(GateNumbers)]
    if sorted(tensors) != sorted(names):
        raise ValueError("other names than those of a gate")
    for name, values in tensors.items():
        if values.dtype != (np.int32 if name == "ages" else np.float16) or not np.isfinite(values).all():
            raise ValueError(f"{name} has another type, or values that are not finite")
    units, mirror_units = (tensors[name].size for name in ("hidden_bias", "mirror_bias"))
    axes = len(tensors["axes"]) if tensors["axes"].ndim else 0
    shapes = {
        "hidden": (GATE_FEATURES, units),
        "hidden_bias": (units,),
        "out": (units, GATE_CLASSES),
        "out_bias": (GATE_CLASSES,),
        "mirror": (GATE_FEATURES, mirror_units),
        "mirror_bias": (mirror_units,),
        "mirror_out": (mirror_units,),
        "mean": (GATE_FEATURES,),
        "axes": (axes, GATE_FEATURES),
        "ages": (_AGES,),
    }
    wrong = [name for name, shape in shapes.items() if tensors[name].shape != shape]
    if wrong or max(units, mirror_units, axes) > _MOST_UNITS or tensors["ages"].min() < 0:
        raise ValueError(f"{wrong[0] if wrong else 'the net'} has another size than in a gate")
    ages = tensors.pop("ages")
    return GateNumbers(**{name: values.astype(np.float32) for name, values in tensors.items()}, ages=ages)
