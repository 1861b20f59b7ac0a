"""What a DICOM header says about gray: modality LUT, VOI, inversion and padding."""

from typing import Literal

import numpy as np
from jaxtyping import Int64
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileDataset

from thorax.errors import ImageError, UnsupportedImage
from thorax.imaging.dicom.header import items_of, numbers_of, texts_of
from thorax.imaging.dicom.known import PHOTOMETRIC, length_of, stated
from thorax.imaging.dicom.pixel_data import Layout
from thorax.imaging.dicom.windowing import GrayRule, LookupTable, Rescale
from thorax.imaging.stored import Window

__all__ = ["read_gray_rule"]

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
