"""DICOM windowing: stored values to gray through modality LUT, VOI, inversion and padding."""

from dataclasses import dataclass
from typing import Literal, assert_never

import numpy as np
from jaxtyping import Bool, Float64, Int64

from thorax.arrays import GrayPixels
from thorax.imaging.dicom.decoding import Codes
from thorax.imaging.gray_range import NEARLY_ALL, doubts_about, sampled
from thorax.imaging.stored import GrayTable, Window

__all__ = [
    "Conversion",
    "GrayRule",
    "Grays",
    "LookupTable",
    "Rescale",
    "Window",
    "apply_rule",
    "convert",
]

Curve = Float64[np.ndarray, " value"]
"""One number per stored value."""


_EIGHT_BITS = 8


@dataclass(frozen=True, slots=True)
class Rescale:
    """A linear modality LUT: slope x stored value + intercept."""

    slope: float
    intercept: float


@dataclass(frozen=True, slots=True, eq=False)
class LookupTable:
    """A table from the modality or VOI LUT sequence.

    Attributes:
        first: Input value that maps to the first entry. Smaller values also map to it, and values beyond the
            table to the last entry.
        entries: Output values, 0 to 2**bits - 1.
        bits: Bits per entry.
    """

    first: int
    entries: Int64[np.ndarray, " entry"]
    bits: int

    def look_up(self, values: Curve) -> Curve:
        """Return the entry for each value."""
        position = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1).astype(np.int64)
        output: Curve = self.entries[position].astype(np.float64)
        return output


@dataclass(frozen=True, slots=True, kw_only=True)
class GrayRule:
    """How stored values become gray, according to a DICOM header.

    Attributes:
        bits: Bits Stored, 1 to 16.
        signed: Whether stored values are two's complement.
        modality: Modality LUT.
        voi: The range shown from black to white; None if the file does not say.
        inverted: Whether the smallest value is white.
        padding: Smallest and largest stored value of padding, or None.
    """

    bits: int
    signed: bool
    modality: Rescale | LookupTable
    voi: Window | LookupTable | None
    inverted: bool
    padding: tuple[int, int] | None


@dataclass(frozen=True, slots=True, eq=False)
class Grays:
    """The gray values of an image, and how they were computed.

    Attributes:
        pixels: uint8 up to 8 bits and uint16 above, over the full range, larger is brighter.
        intensity: The conversion, for `Origin.intensity`.
        doubts: What in the header could not be followed and what was assumed, for `Origin.doubts`.
    """

    pixels: GrayPixels
    intensity: str
    doubts: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Conversion:
    """The gray of each stored value of an image.

    Attributes:
        table: One gray for each bit pattern, 2**bits of them, in the type of `Grays.pixels`.
        padded: Which bit patterns are padding.
        window: The range of values shown from black to white; None if a lookup table decides.
        intensity: As for `Grays`.
        doubts: As for `Grays`, without what the picture itself raises.
    """

    table: GrayTable
    padded: Bool[np.ndarray, " value"]
    window: Window | None
    intensity: str
    doubts: tuple[str, ...]


def apply_rule(rule: GrayRule, codes: Codes) -> Grays:
    """Convert stored values to gray, as `convert` describes.

    Args:
        rule: What the header says.
        codes: Stored values as bit patterns 0 .. 2**bits - 1.
    """
    conversion = convert(rule, codes)
    pixels: GrayPixels = conversion.table[codes]
    return Grays(pixels, conversion.intensity, conversion.doubts + doubts_about(pixels))


def convert(rule: GrayRule, codes: Codes) -> Conversion:
    """Return the gray of each stored value.

    Without VOI, images of up to 8 bits show the full range of Bits Stored after the modality LUT from black
    to white. Deeper images show the range of their own values without padding, since detectors of 10 to 16
    bits rarely use the full range. Padding is black, also in inverted images.

    A VOI that shows nearly all pixels in one gray, where the image has more to show, is ignored, and so is
    padding that nearly all pixels are; the doubts say so.

    Args:
        rule: What the header says.
        codes: Stored values as bit patterns 0 .. 2**bits - 1.
    """
    patterns = np.arange(2**rule.bits)
    negative = rule.signed & (patterns >= 2 ** (rule.bits - 1))
    stored = np.where(negative, patterns - 2**rule.bits, patterns)
    present = np.zeros(len(patterns), np.bool_)
    present[codes] = True  # not np.bincount, which holds the GIL
    padded, doubts = _padded(stored, rule.padding, codes, present)
    values = _modality(rule.modality, stored.astype(np.float64))
    window: Window | None
    brightness, how, window = _without_voi(values, rule.bits, present=present & ~padded)
    if rule.voi is not None:
        shown, voi, assumed = _voi(rule.voi, values)
        if _loses_the_image(shown, brightness, codes, padded):
            doubts += (
                f"its {voi} shows nearly all pixels in one gray, so the image is shown without it ({how})",
            )
        else:
            brightness, how, doubts = shown, voi, doubts + assumed
            window = rule.voi if isinstance(rule.voi, Window) else None
    if rule.inverted:
        brightness, how = 1 - brightness, f"{how}, inverted"
    white, dtype = (255, np.uint8) if rule.bits <= _EIGHT_BITS else (65535, np.uint16)
    table = np.floor(brightness * white + 0.5).astype(dtype)
    table[padded] = 0
    return Conversion(table, padded, window, how, doubts)


def _without_voi(
    values: Curve, bits: int, *, present: Bool[np.ndarray, " value"]
) -> tuple[Curve, str, Window]:
    """Return the brightness of each value in an image that does not say which ones to show, and the range."""
    over, how = values[present], "range of the image without padding"
    if bits <= _EIGHT_BITS:
        over = values
        how = "8-bit as stored" if bits == _EIGHT_BITS else f"full range of {bits} bits"
    low, high = (float(over.min()), float(over.max())) if len(over) else (0.0, 0.0)
    return _spread(values, low, high), how, Window((low + high) / 2, high - low, "LINEAR_EXACT")


def _padded(
    stored: Int64[np.ndarray, " value"],
    padding: tuple[int, int] | None,
    codes: Codes,
    present: Bool[np.ndarray, " value"],
) -> tuple[Bool[np.ndarray, " value"], tuple[str, ...]]:
    """Return which values are padding, and what was assumed."""
    padded = np.zeros(len(stored), np.bool_)
    if padding is None:
        return padded, ()
    low, high = padding
    padded = (stored >= low) & (stored <= high)
    if np.count_nonzero(present) > 1 and np.mean(padded[sampled(codes)]) >= NEARLY_ALL:
        span = f"{low}" if low == high else f"{low} to {high}"
        doubt = f"nearly all of its pixels are padding ({span}), so they were read as values"
        return np.zeros(len(stored), np.bool_), (doubt,)
    return padded, ()


def _loses_the_image(
    shown: Curve, unwindowed: Curve, codes: Codes, padded: Bool[np.ndarray, " value"]
) -> bool:
    """Return whether nearly all pixels are shown in one gray, although they have more than one."""
    some = sampled(codes)
    some = some[~padded[some]]
    if not len(some):
        return False
    levels = np.round(np.stack([shown, unwindowed]) * 255).astype(np.int64)[:, some]
    shares = [np.bincount(level).max() / len(some) for level in levels]
    return bool(shares[0] >= NEARLY_ALL > shares[1])


def _modality(modality: Rescale | LookupTable, stored: Curve) -> Curve:
    match modality:
        case Rescale(slope, intercept):
            return stored * slope + intercept
        case LookupTable():
            return modality.look_up(stored)
        case unknown:
            assert_never(unknown)


def _spread(values: Curve, low: float, high: float) -> Curve:
    """Map a range to 0 .. 1; if it has one value, everything becomes black."""
    if high <= low:
        return np.zeros_like(values)
    return np.clip((values - low) / (high - low), 0, 1)


def _voi(voi: Window | LookupTable, values: Curve) -> tuple[Curve, str, tuple[str, ...]]:
    """Return the brightness of each value, what shows it so, and what was assumed."""
    match voi:
        case LookupTable():
            white, assumed = _white(voi)
            return np.clip(voi.look_up(values) / white, 0, 1), "VOI LUT 1", assumed
        case Window(center, width, function):
            name = function.lower().replace("_", "-")
            shown = _window(values, center=center, width=width, function=function)
            return shown, f"VOI window 1 ({name})", ()
        case unknown:
            assert_never(unknown)


def _white(table: LookupTable) -> tuple[int, tuple[str, ...]]:
    """Return the entry that means white: the largest number of its bits, if the entries have so many."""
    largest = int(table.entries.max())
    if largest.bit_length() == table.bits:
        return 2**table.bits - 1, ()
    contradiction = f"the entries of its VOI LUT go up to {largest}, where it states {table.bits} bits"
    return max(largest, 1), (f"{contradiction}, so the largest entry was read as white",)


def _window(
    values: Curve, *, center: float, width: float, function: Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]
) -> Curve:
    """Apply PS3.3 C.11.2.1.2.1 (linear), C.11.2.1.3.2 (linear-exact) or C.11.2.1.3.1 (sigmoid)."""
    if function == "SIGMOID":
        # tanh gives the same curve as 1 / (1 + exp(-4 (x - c) / w)) and does not overflow.
        return 0.5 + 0.5 * np.tanh(2 * (values - center) / width)
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    if width <= 0:
        return (values > center).astype(np.float64)
    return np.clip((values - center) / width + 0.5, 0, 1)
