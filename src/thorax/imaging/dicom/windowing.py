"""DICOM windowing: stored values to gray through modality LUT, VOI, inversion and padding."""

from dataclasses import dataclass
from typing import Literal, assert_never

import numpy as np
from jaxtyping import Bool, Float64, Int64
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileDataset

from thorax.arrays import GrayPixels
from thorax.errors import ImageError, UnsupportedImage
from thorax.imaging.dicom.decoding import Codes
from thorax.imaging.dicom.header import items_of, numbers_of, texts_of
from thorax.imaging.dicom.known import PHOTOMETRIC, length_of, stated
from thorax.imaging.dicom.pixel_data import Layout
from thorax.imaging.gray_range import NEARLY_ALL, doubts_about, sampled

__all__ = ["GrayRule", "Grays", "LookupTable", "Rescale", "Window", "apply_rule", "read_gray_rule"]

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


@dataclass(frozen=True, slots=True)
class Window:
    """The range of values shown from black to white (VOI LUT function)."""

    center: float
    width: float
    function: Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]


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


def apply_rule(rule: GrayRule, codes: Codes) -> Grays:
    """Convert stored values to gray.

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
    brightness, how = _without_voi(values, rule.bits, present=present & ~padded)
    if rule.voi is not None:
        shown, voi, assumed = _voi(rule.voi, values)
        if _loses_the_image(shown, brightness, codes, padded):
            doubts += (
                f"its {voi} shows nearly all pixels in one gray, so the image is shown without it ({how})",
            )
        else:
            brightness, how, doubts = shown, voi, doubts + assumed
    if rule.inverted:
        brightness, how = 1 - brightness, f"{how}, inverted"
    white, dtype = (255, np.uint8) if rule.bits <= _EIGHT_BITS else (65535, np.uint16)
    table = np.floor(brightness * white + 0.5).astype(dtype)
    table[padded] = 0
    pixels = table[codes]
    return Grays(pixels, how, doubts + doubts_about(pixels))


def _without_voi(values: Curve, bits: int, *, present: Bool[np.ndarray, " value"]) -> tuple[Curve, str]:
    """Return the brightness of each value in an image that does not say which ones to show."""
    if bits <= _EIGHT_BITS:
        return _spread(values, over=values), "8-bit as stored" if bits == _EIGHT_BITS else (
            f"full range of {bits} bits"
        )
    return _spread(values, over=values[present]), "range of the image without padding"


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


def _spread(values: Curve, *, over: Float64[np.ndarray, " some"]) -> Curve:
    """Map the range of `over` to 0 .. 1; if it has one value or none, everything becomes black."""
    low, high = (over.min(), over.max()) if len(over) else (0.0, 0.0)
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


_BYTE, _WORD = 8, 16
_DESCRIPTOR_WORDS = 3  # number of entries, first value, bits

Words = Int64[np.ndarray, " word"]


def read_gray_rule(dataset: FileDataset, layout: Layout, name: str) -> GrayRule:
    """Read modality LUT, VOI, inversion and padding of a gray image.

    A LUT sequence takes precedence over a window, and the first of several counts. MONOCHROME1 and the
    Presentation LUT Shape INVERSE both invert; files with both are inverted once. A window without width is
    ignored.

    Raises:
        ImageError: A value that the gray levels depend on is missing, malformed or out of range.
        UnsupportedImage: The photometric interpretation is PALETTE COLOR or another one that is not gray.
    """
    photometric = "".join(texts_of(dataset, "PhotometricInterpretation")[:1])
    gray = photometric.replace(" ", "")  # some writers put one before the number
    if gray not in {"MONOCHROME1", "MONOCHROME2"}:
        raise UnsupportedImage(
            f"{name}: Photometric Interpretation is {stated(photometric, PHOTOMETRIC, 'absent')}, so the "
            "meaning of its values is unknown; MONOCHROME1 and MONOCHROME2 are read"
        )
    little = _is_little(dataset)
    modality = _read_modality(dataset, layout, name=name, little=little)
    negative = layout.signed or (isinstance(modality, Rescale) and modality.intercept < 0)
    voi = _first_table(dataset, "VOILUTSequence", name=name, little=little, signed=negative)
    return GrayRule(
        bits=layout.stored,
        signed=layout.signed,
        modality=modality,
        voi=voi if voi is not None else _read_window(dataset, name),
        inverted=gray == "MONOCHROME1" or "INVERSE" in texts_of(dataset, "PresentationLUTShape"),
        padding=_padding(dataset, layout, little=little),
    )


def _is_little(dataset: FileDataset) -> bool:
    _, little = dataset.original_encoding
    return bool(little)


def _read_modality(dataset: Dataset, layout: Layout, *, name: str, little: bool) -> Rescale | LookupTable:
    table = _first_table(dataset, "ModalityLUTSequence", name=name, little=little, signed=layout.signed)
    if table is not None:
        return table
    slope, intercept = (
        (numbers_of(dataset, keyword, name) or [absent])[0]
        for keyword, absent in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0))
    )
    if slope == 0:
        raise ImageError(
            f"{name}: Rescale Slope is 0, which makes all pixels equal; correct the header or export "
            "the image again"
        )
    return Rescale(slope, intercept)


def _read_window(dataset: Dataset, name: str) -> Window | None:
    centers, widths = (numbers_of(dataset, keyword, name) for keyword in ("WindowCenter", "WindowWidth"))
    if not centers or not widths:
        return None
    function_name = "".join(texts_of(dataset, "VOILUTFunction")[:1])
    function: Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]
    match function_name:
        case "" | "LINEAR":
            function = "LINEAR"
        case "LINEAR_EXACT" | "SIGMOID":
            function = function_name
        case _:
            raise ImageError(
                f"{name}: VOI LUT Function is {length_of(function_name)}, not LINEAR, LINEAR_EXACT or "
                "SIGMOID; correct the header or export the image again"
            )
    # PS3.3 C.11.2.1.2: at least 1 if linear, above 0 otherwise.
    enough = widths[0] >= 1 if function == "LINEAR" else widths[0] > 0
    return Window(centers[0], widths[0], function) if enough else None


def _padding(dataset: Dataset, layout: Layout, *, little: bool) -> tuple[int, int] | None:
    """Return the smallest and largest padding value; the two elements may come in either order."""
    value = _words(dataset, "PixelPaddingValue", little=little)
    if not len(value):
        return None
    limit = _words(dataset, "PixelPaddingRangeLimit", little=little)
    ends = [_as_stored(int(words[0]), signed=layout.signed) for words in (value, limit) if len(words)]
    return min(ends), max(ends)


def _first_table(
    dataset: Dataset, keyword: str, *, name: str, little: bool, signed: bool
) -> LookupTable | None:
    """Return the first LUT of a sequence; None if it is absent, or its items are empty."""
    items = items_of(dataset, keyword, name)
    filled = (item for item in items if "LUTDescriptor" in item or "LUTData" in item)
    table = next(filled, None)
    if table is None:
        return None
    descriptor = _words(table, "LUTDescriptor", little=little)
    words = _words(table, "LUTData", little=little)
    count, first, bits = (
        (int(word) for word in descriptor) if len(descriptor) == _DESCRIPTOR_WORDS else (0, 0, 0)
    )
    count = count or 2**16  # 65,536 does not fit into 16 bits and is written as 0
    if bits <= _BYTE and len(words) < count:
        words = (
            words.astype("<u2").view(np.uint8).astype(np.int64)
        )  # two entries per word, the low byte first
    if not 1 <= bits <= _WORD or len(words) < count:
        stated_bits = f" of {bits} bits" if 1 <= bits <= _WORD else " of an impossible number of bits"
        described = f"{count}{stated_bits}" if len(descriptor) == _DESCRIPTOR_WORDS else "nothing"
        raise ImageError(
            f"{name}: the first LUT of {keyword} has {len(words)} entries, where its descriptor states "
            f"{described}; export the image again from its source"
        )
    return LookupTable(_as_stored(first, signed=signed), words[:count], bits)


def _words(dataset: Dataset, keyword: str, *, little: bool) -> Words:
    """Return an element's 16-bit words, unsigned.

    They are read from the raw bytes: whether a word is signed depends on the pixel representation, not on the
    VR that the writer chose (US, SS or OW), which is often wrong.
    """
    tag = tag_for_keyword(keyword)
    if tag is None or tag not in dataset:
        return np.zeros(0, np.int64)
    raw = dataset.get_item(tag).value
    data = raw if isinstance(raw, bytes) else b""
    return np.frombuffer(data[: len(data) // 2 * 2], "<u2" if little else ">u2").astype(np.int64)


def _as_stored(word: int, *, signed: bool) -> int:
    """Interpret a 16-bit word as two's complement if stored values are signed."""
    return word - 2**16 if signed and word >= 2**15 else word
