"""DICOM headers: read elements and metadata, refuse images that are not chest radiographs.

Text elements are read from their raw bytes, so that a malformed age or spacing counts as unknown instead of
raising an exception (or a warning) deep inside a converter.
"""

import math
import re
from collections.abc import Iterable, Sequence
from unicodedata import combining, normalize

from pydicom.charset import python_encoding
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileDataset

from thorax.errors import ImageError, UnsupportedImage
from thorax.imaging.dicom.accepted import (
    CHEST,
    CHEST_AND_VIEW,
    CONVERTED_MODALITIES,
    DESCRIPTIONS,
    FOR_PROCESSING,
    RADIOGRAPHIC_MODALITIES,
    RADIOGRAPHY,
    SAYS_NOTHING,
    SECONDARY_CAPTURE,
    VIEW_CODES,
    VIEWS,
)
from thorax.imaging.dicom.known import BODY_PARTS, MODALITIES, OTHER_PARTS, length_of, stated, uid_name
from thorax.radiograph import Sex, ViewPosition

__all__ = [
    "age_in_years",
    "image_laterality",
    "items_of",
    "numbers_of",
    "orientation_doubt",
    "other_part",
    "patient_orientation",
    "patient_sex",
    "pixel_spacing",
    "refuse_other_images",
    "states_chest",
    "texts_of",
    "view_position",
    "whole_number_of",
]

_LONGEST = 4096
"""Bytes of an element that are looked at; the elements read here have one to three short values."""

_LARGEST_SEQUENCE = 1 << 20
"""Bytes of a sequence that is read; a lookup table has at most 128 KiB."""

_YEARS_PER_UNIT = {"Y": 1.0, "": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
_OLDEST = 150


# ---- elements ----------------------------------------------------------------------------------


def texts_of(dataset: Dataset, keyword: str) -> list[str]:
    """Return the values of a text element, upper-cased and stripped; [] if it is absent or empty."""
    tag = tag_for_keyword(keyword)
    if tag is None or tag not in dataset:
        return []
    value = dataset.get_item(tag).value
    text = _short(value).decode("ascii", "replace") if isinstance(value, bytes) else str(value or "")
    values = [part.strip(" \0").upper() for part in text.split("\\")]
    return values if any(values) else []


def _short(value: bytes) -> bytes:
    """Return the first values of an element; nothing that is read here is long."""
    return value if len(value) <= _LONGEST else value[:_LONGEST].rpartition(b"\\")[0]


def items_of(dataset: Dataset, keyword: str, name: str) -> Sequence[Dataset]:
    """Return the items of a sequence, [] if it is absent; refuse one too large for its purpose."""
    tag = tag_for_keyword(keyword)
    if tag is None or tag not in dataset:
        return []
    value = dataset.get_item(tag).value
    if isinstance(value, bytes) and len(value) > _LARGEST_SEQUENCE:
        raise ImageError(
            f"{name}: {keyword} takes {len(value)} bytes, more than lookup tables and codes need (at most "
            f"{_LARGEST_SEQUENCE} are read); export the image again from its source"
        )
    items = dataset.get(keyword)
    return items if isinstance(items, Sequence) else []


def numbers_of(dataset: Dataset, keyword: str, name: str) -> list[float]:
    """Return the values of a decimal or integer string element, all of which must be finite."""
    texts = texts_of(dataset, keyword)
    numbers = [_number(text) for text in texts]
    if not all(map(math.isfinite, numbers)):
        raise ImageError(
            f"{name}: {keyword} is {length_of(chr(92).join(texts))} instead of a number, so the gray values "
            "are unknown; correct the header or export the image again"
        )
    return numbers


def whole_number_of(dataset: Dataset, keyword: str, name: str) -> int:
    """Return the value of a required binary integer element, which has 16 bits."""
    tag = tag_for_keyword(keyword)
    raw = dataset.get_item(tag).value if tag is not None and tag in dataset else None
    short = not isinstance(raw, bytes) or len(raw) <= _LONGEST
    value = dataset.get(keyword) if short else None
    if not (isinstance(value, int) and 0 <= value < 1 << 16):
        given = "nothing" if value is None and short else "no single number"
        raise ImageError(
            f"{name}: the DICOM header gives {given} as {keyword}, where one number is needed; "
            "the file is damaged or not an image, so export it again from its source"
        )
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _first(dataset: Dataset, keyword: str) -> str:
    values = texts_of(dataset, keyword)
    return values[0] if values else ""


# ---- refused images ----------------------------------------------------------------------------


def refuse_other_images(dataset: FileDataset, name: str) -> None:
    """Refuse everything but a single projection radiograph of a chest, for presentation.

    The SOP class must be radiography or secondary capture and the modality must agree with it; one of them
    may be missing, but not both. Detector values "for processing" (linear, not sharpened) are refused, since
    no model here was trained on them. An absent body part is accepted.

    Raises:
        UnsupportedImage: It is another kind of image; the message names it.
    """
    # Some archives remove it from the data set, and leave it in the meta information.
    sop_class = _first(dataset, "SOPClassUID") or str(dataset.file_meta.get("MediaStorageSOPClassUID", ""))
    modality = _first(dataset, "Modality")
    if sop_class == FOR_PROCESSING or _first(dataset, "PresentationIntentType") == "FOR PROCESSING":
        raise UnsupportedImage(
            f"{name}: the image is FOR PROCESSING, raw detector values; give the FOR PRESENTATION image "
            "of the same series"
        )
    converted = sop_class in SECONDARY_CAPTURE or (not sop_class and bool(modality))
    fits = sop_class in RADIOGRAPHY and modality in RADIOGRAPHIC_MODALITIES | {""}
    if not fits and not (converted and modality in CONVERTED_MODALITIES):
        raise UnsupportedImage(
            f"{name}: modality {stated(modality, MODALITIES)}, SOP class {uid_name(sop_class)}: not a "
            "projection radiograph; give a CR or DX image, or a secondary capture of one"
        )
    body_part = _body_part(dataset)
    if not _may_be_chest(body_part):
        raise UnsupportedImage(
            f"{name}: Body Part Examined is {stated(body_part, BODY_PARTS)}, not the chest; give a chest "
            "radiograph (or correct the header, if it is one)"
        )
    frames = _first(dataset, "NumberOfFrames")
    if frames and _number(frames) not in {0, 1}:
        count = frames if re.fullmatch(r"\d{1,5}", frames) else "an unknown number of"
        raise UnsupportedImage(
            f"{name}: the file holds {count} frames; a radiograph is a single image, so export one frame"
        )


def _body_part(dataset: Dataset) -> str:
    """Return Body Part Examined in upper case without accents, decoded with the character set of the file."""
    tag = tag_for_keyword("BodyPartExamined")
    if tag is None or tag not in dataset:
        return ""
    raw = dataset.get_item(tag).value
    codec = python_encoding.get((texts_of(dataset, "SpecificCharacterSet") or [""])[0], "utf-8")
    text = raw.decode(codec, "replace") if isinstance(raw, bytes) else ""
    plain = "".join(letter for letter in normalize("NFKD", text) if not combining(letter))
    return plain.strip(" \0\\").upper()


def _may_be_chest(body_part: str) -> bool:
    """Return whether a body part is the chest, or says nothing."""
    words = _words_of(body_part)
    return set(words) <= SAYS_NOTHING or _names_chest(words)


def states_chest(dataset: Dataset) -> bool:
    """Return whether Body Part Examined names the chest, alone or with other parts."""
    return _names_chest(_words_of(_body_part(dataset)))


def other_part(dataset: Dataset) -> str:
    """Return the first part of the body that a description names, if none names the chest; "" otherwise."""
    words = [
        word for keyword in DESCRIPTIONS for text in texts_of(dataset, keyword) for word in _words_of(text)
    ]
    if _names_chest(words):
        return ""
    return next((OTHER_PARTS[word] for word in words if word in OTHER_PARTS), "")


def _words_of(text: str) -> list[str]:
    return [word for word in re.split(r"[\W_]+", text) if word]


def _names_chest(words: Iterable[str]) -> bool:
    return any(word in CHEST or CHEST_AND_VIEW.fullmatch(word) for word in words)


# ---- metadata ----------------------------------------------------------------------------------


def view_position(dataset: Dataset, name: str) -> ViewPosition:
    """Return the view from View Position, else from the view code, else lateral from the row direction."""
    view = VIEWS.get(_first(dataset, "ViewPosition"))
    if view is not None:
        return view
    codes = items_of(dataset, "ViewCodeSequence", name)
    if codes:
        coded = VIEW_CODES.get(_first(codes[0], "CodeValue"))
        if coded is not None:
            return coded
    # Rows that run between front and back show the chest from the side (PS3.3 C.7.6.1.1.1).
    orientation = _first(dataset, "PatientOrientation")
    return ViewPosition.LATERAL if orientation[:1] in {"A", "P"} else ViewPosition.UNKNOWN


def patient_orientation(dataset: Dataset) -> tuple[str, str] | None:
    """Return the patient's direction along rows and columns, such as ("L", "F"); None if it is not stated."""
    match [text[:1] for text in texts_of(dataset, "PatientOrientation")]:
        case [row, column] if {row, column} <= set("LRAPHF"):
            return row, column
    return None


def orientation_doubt(dataset: Dataset, view: ViewPosition) -> tuple[str, ...]:
    """Return what Patient Orientation says against the way that radiographs are shown; empty for most.

    Rows of a frontal view run to the patient's left, columns to the feet (PS3.3 C.7.6.1.1.1); whether rows of
    a lateral view run to the front or to the back is the site's habit.
    """
    towards = patient_orientation(dataset)
    if towards is None:
        return ()
    row, column = towards
    rows = {"A", "P"} if view is ViewPosition.LATERAL else {"L"}
    if row in rows and column == "F":
        return ()
    usual = "lateral view has A\\F or P\\F" if view is ViewPosition.LATERAL else "frontal view has L\\F"
    stated = f"its Patient Orientation is {row}\\{column}, where an upright {usual}"
    return (f"{stated}; it was read as stored, so it may be mirrored or turned",)


def image_laterality(dataset: Dataset) -> str:
    """Return L, R, B or U, or "" if the file gives none of the values that DICOM defines."""
    laterality = _first(dataset, "ImageLaterality") or _first(dataset, "Laterality")
    return laterality if laterality in {"L", "R", "B", "U"} else ""


def patient_sex(dataset: Dataset) -> Sex:
    """Return the patient's sex."""
    value = _first(dataset, "PatientSex")
    return Sex(value) if value in {sex.value for sex in Sex} else Sex.UNKNOWN


def age_in_years(dataset: Dataset) -> int | None:
    """Return the age in whole years, from "060Y", "011M", "006W", "002D" or a bare "62" (years)."""
    match = re.fullmatch(r"(\d{1,3})([YMWD]?)", _first(dataset, "PatientAge"))
    if match is None:
        return None
    years = int(int(match[1]) * _YEARS_PER_UNIT[match[2]] + 1e-9)
    return years if years <= _OLDEST else None


def pixel_spacing(dataset: Dataset) -> tuple[float, float] | None:
    """Return the spacing of (rows, columns) in mm: as calibrated, else at the detector, else as scanned."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        numbers = [_number(text) for text in texts_of(dataset, keyword)]
        match numbers:
            case [rows, columns] if 0 < rows < math.inf and 0 < columns < math.inf:
                return rows, columns
    return None
