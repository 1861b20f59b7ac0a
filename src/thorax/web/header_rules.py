"""The words and numbers by which DICOM headers are judged, for the browser: the library's own."""

import codecs
from collections.abc import Mapping
from typing import Any, Final

from pydicom._uid_dict import UID_dictionary
from pydicom.charset import python_encoding
from pydicom.datadict import tag_for_keyword

from thorax.imaging.dicom import accepted, known

__all__ = ["header_rules"]

_ELEMENTS: Final = (
    *("SpecificCharacterSet", "SOPClassUID", "Modality", "PresentationIntentType", "BodyPartExamined"),
    *("NumberOfFrames", "ViewPosition", "ViewCodeSequence", "CodeValue", "PatientOrientation"),
    *("ImageLaterality", "Laterality", "PatientAge", "Rows", "Columns", "SamplesPerPixel", "BitsAllocated"),
    *("BitsStored", "HighBit", "PixelRepresentation", "PlanarConfiguration", "PhotometricInterpretation"),
    *("ModalityLUTSequence", "VOILUTSequence", "LUTDescriptor", "LUTData", "RescaleSlope"),
    *("RescaleIntercept", "WindowCenter", "WindowWidth", "VOILUTFunction", "PresentationLUTShape"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", *accepted.DESCRIPTIONS),
)
"""Keywords of the elements that are read."""

_LABELS: Final = {"iso2022_jp_2": "iso-2022-jp", "euc_kr": "euc-kr", "iso2022_jp": "iso-2022-jp"}
"""What browsers call an encoding whose name differs in Python."""

_NAMED: Final = {"SOP Class", "Transfer Syntax"}


def header_rules(decoders: Mapping[str, str]) -> dict[str, Any]:
    """Return the tags of elements by keyword, and the values that are accepted, named or ignored.

    Args:
        decoders: Scripts of decoders in the site, by the kind of compression.
    """
    return {
        "tags": {keyword: tag_for_keyword(keyword) for keyword in _ELEMENTS},
        "charsets": {name: _label(codec) for name, codec in python_encoding.items()},
        "uid_names": {uid: entry[0] for uid, entry in UID_dictionary.items() if entry[1] in _NAMED},
        "modalities": sorted(known.MODALITIES),
        "photometric": sorted(known.PHOTOMETRIC),
        "body_parts": sorted(known.BODY_PARTS),
        "other_parts": known.OTHER_PARTS,
        "secondary_capture": sorted(accepted.SECONDARY_CAPTURE),
        "radiography": sorted(accepted.RADIOGRAPHY),
        "for_processing": accepted.FOR_PROCESSING,
        "radiographic_modalities": sorted(accepted.RADIOGRAPHIC_MODALITIES),
        "converted_modalities": sorted(accepted.CONVERTED_MODALITIES),
        "chest": sorted(accepted.CHEST),
        "chest_and_view": accepted.CHEST_AND_VIEW.pattern,
        "says_nothing": sorted(accepted.SAYS_NOTHING),
        "descriptions": list(accepted.DESCRIPTIONS),
        "views": accepted.VIEWS,
        "view_codes": accepted.VIEW_CODES,
        "decoders": dict(decoders),
    }


def _label(codec: str) -> str:
    name = codecs.lookup(codec).name
    return _LABELS.get(name, name)
