"""From a DICOM header to the rule that makes stored values grey."""

from typing import Literal

import numpy as np
from jaxtyping import Int64
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileDataset

from thorax.errors import ImageError, UnsupportedImage
from thorax.imaging.grey import GreyRule, LookupTable, Rescale, Window
from thorax.imaging.header import numbers_of, texts_of
from thorax.imaging.pixel_data import Layout

__all__ = ["read_grey_rule"]

_BYTE, _WORD = 8, 16
_DESCRIBED = 3  # a LUT descriptor says number of entries, first value, bits

Words = Int64[np.ndarray, " word"]


def read_grey_rule(dataset: FileDataset, layout: Layout, name: str) -> GreyRule:
    """Read modality LUT, VOI, inversion and padding of a grey image.

    A LUT sequence goes before a window, and the first of several counts. Inversion is wanted by
    MONOCHROME1 or by the Presentation LUT Shape INVERSE; files that say both mean one. A window without
    width is none.

    Raises:
        ImageError: A value that grey depends on is missing, malformed or out of its range.
        UnsupportedImage: PALETTE COLOR, or another photometric interpretation that is not grey.
    """
    photometric = "".join(texts_of(dataset, "PhotometricInterpretation")[:1])
    if not photometric.startswith("MONOCHROME"):
        raise UnsupportedImage(
            f"{name}: Photometric Interpretation is {photometric or 'absent'}, so it is not known how its "
            "values become grey; MONOCHROME1 and MONOCHROME2 are read"
        )
    little = _is_little(dataset)
    modality = _modality(dataset, layout, name=name, little=little)
    negative = layout.signed or (isinstance(modality, Rescale) and modality.intercept < 0)
    voi = _first_table(dataset, "VOILUTSequence", name=name, little=little, signed=negative)
    return GreyRule(
        bits=layout.stored,
        signed=layout.signed,
        modality=modality,
        voi=voi if voi is not None else _window(dataset, name),
        inverted=photometric == "MONOCHROME1" or "INVERSE" in texts_of(dataset, "PresentationLUTShape"),
        padding=_padding(dataset, layout, little=little),
    )


def _is_little(dataset: FileDataset) -> bool:
    _, little = dataset.original_encoding
    return bool(little)


def _modality(dataset: Dataset, layout: Layout, *, name: str, little: bool) -> Rescale | LookupTable:
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


def _window(dataset: Dataset, name: str) -> Window | None:
    centers, widths = (numbers_of(dataset, keyword, name) for keyword in ("WindowCenter", "WindowWidth"))
    if not centers or not widths:
        return None
    said = "".join(texts_of(dataset, "VOILUTFunction")[:1])
    function: Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]
    match said:
        case "" | "LINEAR":
            function = "LINEAR"
        case "LINEAR_EXACT" | "SIGMOID":
            function = said
        case _:
            raise ImageError(
                f"{name}: VOI LUT Function {said} is none of LINEAR, LINEAR_EXACT and SIGMOID; "
                "correct the header or export the image again"
            )
    # PS3.3 C.11.2.1.2: at least 1 where linear, above 0 otherwise.
    enough = widths[0] >= 1 if function == "LINEAR" else widths[0] > 0
    return Window(centers[0], widths[0], function) if enough else None


def _padding(dataset: Dataset, layout: Layout, *, little: bool) -> tuple[int, int] | None:
    """Return the smallest and largest padding value; the two elements may stand in either order."""
    value = _words(dataset, "PixelPaddingValue", little=little)
    if not len(value):
        return None
    limit = _words(dataset, "PixelPaddingRangeLimit", little=little)
    ends = [_as_stored(int(words[0]), signed=layout.signed) for words in (value, limit) if len(words)]
    return min(ends), max(ends)


def _first_table(
    dataset: Dataset, keyword: str, *, name: str, little: bool, signed: bool
) -> LookupTable | None:
    """Return the first LUT of a sequence; None where there is no sequence or it is empty."""
    sequence = dataset.get(keyword)
    if not sequence:
        return None
    descriptor = _words(sequence[0], "LUTDescriptor", little=little)
    words = _words(sequence[0], "LUTData", little=little)
    count, first, bits = (int(word) for word in descriptor) if len(descriptor) == _DESCRIBED else (0, 0, 0)
    count = count or 2**16  # 65,536 does not fit into 16 bits and is written as 0
    if bits <= _BYTE and len(words) < count:
        words = words.astype("<u2").view(np.uint8).astype(np.int64)  # two entries a word, the first one low
    if not 1 <= bits <= _WORD or len(words) < count:
        raise ImageError(
            f"{name}: the first item of {keyword} has {len(words)} entries, its descriptor reads "
            f"{descriptor.tolist()} (number, first value, bits); export the image again from its source"
        )
    return LookupTable(_as_stored(first, signed=signed), words[:count], bits)


def _words(dataset: Dataset, keyword: str, *, little: bool) -> Words:
    """Return an element's 16-bit words, unsigned.

    From the raw bytes: whether a word is signed does not depend on the VR that a writer chose (US, SS or
    OW), which is often wrong, but on the pixel representation.
    """
    tag = tag_for_keyword(keyword)
    if tag is None or tag not in dataset:
        return np.zeros(0, np.int64)
    raw = dataset.get_item(tag).value
    data = raw if isinstance(raw, bytes) else b""
    return np.frombuffer(data[: len(data) // 2 * 2], "<u2" if little else ">u2").astype(np.int64)


def _as_stored(word: int, *, signed: bool) -> int:
    """Read a 16-bit word as two's complement where stored values are signed."""
    return word - 2**16 if signed and word >= 2**15 else word
