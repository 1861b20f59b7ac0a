"""DICOM stored values to grey values: modality LUT, VOI, inversion and padding, in that order.

Each step maps one value to one value, so the whole way is worked out once for every value that can be
stored (65,536 at most), in double precision, and the image only looks its values up. DICOM PS3.3
C.11.1 (modality LUT), C.11.2 (VOI LUT), C.7.6.3.1.2 (photometric interpretation), C.7.5.1.1.2 (padding).
"""

from dataclasses import dataclass
from typing import Literal, assert_never

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8, UInt16

from thorax.arrays import GreyPixels

__all__ = ["Codes", "GreyRule", "LookupTable", "Rescale", "Window", "apply_rule"]

Curve = Float64[np.ndarray, " value"]
"""One number for each stored value."""

Codes = UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]
"""Stored values as bit patterns 0 .. 2**bits - 1 (two's complement where they are signed)."""

_EIGHT_BITS = 8


@dataclass(frozen=True, slots=True)
class Rescale:
    """Modality LUT as a straight line: slope x stored value + intercept."""

    slope: float
    intercept: float


@dataclass(frozen=True, slots=True, eq=False)
class LookupTable:
    """A LUT of the modality or VOI LUT sequence.

    Attributes:
        first: Input value that maps to the first entry; smaller ones do too, larger ones than the
            table holds map to the last entry.
        entries: Output values, 0 to 2**bits - 1.
        bits: Bits of an entry.
    """

    first: int
    entries: Int64[np.ndarray, " entry"]
    bits: int

    def look_up(self, values: Curve) -> Curve:
        """Return the entry for each value, as a number."""
        position = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1).astype(np.int64)
        output: Curve = self.entries[position].astype(np.float64)
        return output


@dataclass(frozen=True, slots=True)
class Window:
    """The part of the values that is spread from black to white (VOI LUT function)."""

    center: float
    width: float
    function: Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GreyRule:
    """What a DICOM header says about how stored values become grey.

    Attributes:
        bits: Bits Stored, 1 to 16.
        signed: Whether stored values are two's complement.
        modality: Modality LUT.
        voi: What is spread from black to white; None where the file leaves it open.
        inverted: Whether the smallest value is to be white.
        padding: Smallest and largest stored value that fill up what is not image; None without.
    """

    bits: int
    signed: bool
    modality: Rescale | LookupTable
    voi: Window | LookupTable | None
    inverted: bool
    padding: tuple[int, int] | None


def apply_rule(rule: GreyRule, codes: Codes) -> tuple[GreyPixels, str]:
    """Make an image of stored values grey.

    Without VOI, up to 8 bits the full range of Bits Stored after the modality LUT is spread from black
    to white, and above that the range of the values that the image holds, padding left out: detectors
    of 10 to 16 bits rarely use more than a part. Padding is black after inversion: it is no image.

    Args:
        rule: What the header says.
        codes: Stored values as bit patterns 0 .. 2**bits - 1.

    Returns:
        Grey values, uint8 up to 8 bits and uint16 above, both over their full range with larger as
        brighter; and in words how they were made, for `Origin.intensity`.
    """
    patterns = np.arange(2**rule.bits)
    negative = rule.signed & (patterns >= 2 ** (rule.bits - 1))
    stored = np.where(negative, patterns - 2**rule.bits, patterns)
    padded = _is_padding(stored, rule.padding)
    values = _modality(rule.modality, stored.astype(np.float64))
    if rule.voi is not None:
        brightness, how = _voi(rule.voi, values)
    elif rule.bits <= _EIGHT_BITS:
        brightness = _spread(values, over=values)
        how = "8-bit as stored" if rule.bits == _EIGHT_BITS else f"full range of {rule.bits} bits"
    else:
        present = np.bincount(codes.ravel(), minlength=len(patterns)) > 0
        brightness = _spread(values, over=values[present & ~padded])
        how = "range of the image without padding"
    if rule.inverted:
        brightness, how = 1 - brightness, f"{how}, inverted"
    white, dtype = (255, np.uint8) if rule.bits <= _EIGHT_BITS else (65535, np.uint16)
    table = np.floor(brightness * white + 0.5).astype(dtype)
    table[padded] = 0
    return table[codes], how


def _is_padding(
    stored: Int64[np.ndarray, " value"], padding: tuple[int, int] | None
) -> Bool[np.ndarray, " value"]:
    if padding is None:
        return np.zeros(len(stored), np.bool_)
    low, high = padding
    return (stored >= low) & (stored <= high)


def _modality(modality: Rescale | LookupTable, stored: Curve) -> Curve:
    match modality:
        case Rescale(slope, intercept):
            return stored * slope + intercept
        case LookupTable():
            return modality.look_up(stored)
        case unknown:
            assert_never(unknown)


def _spread(values: Curve, *, over: Float64[np.ndarray, " some"]) -> Curve:
    """Map the range of `over` to 0 .. 1; values without a range (one value, or none) become black."""
    low, high = (over.min(), over.max()) if len(over) else (0.0, 0.0)
    if high <= low:
        return np.zeros_like(values)
    return np.clip((values - low) / (high - low), 0, 1)


def _voi(voi: Window | LookupTable, values: Curve) -> tuple[Curve, str]:
    match voi:
        case LookupTable(bits=bits):
            return np.clip(voi.look_up(values) / (2**bits - 1), 0, 1), "VOI LUT 1"
        case Window(center, width, function):
            name = function.lower().replace("_", "-")
            return _window(values, center=center, width=width, function=function), f"VOI window 1 ({name})"
        case unknown:
            assert_never(unknown)


def _window(
    values: Curve, *, center: float, width: float, function: Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]
) -> Curve:
    """Apply PS3.3 C.11.2.1.2.1 (linear), C.11.2.1.3.2 (linear-exact) or C.11.2.1.3.1 (sigmoid)."""
    if function == "SIGMOID":
        # tanh is the same curve as 1 / (1 + exp(-4 (x - c) / w)), and does not overflow.
        return 0.5 + 0.5 * np.tanh(2 * (values - center) / width)
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    if width <= 0:
        return (values > center).astype(np.float64)
    return np.clip((values - center) / width + 0.5, 0, 1)
