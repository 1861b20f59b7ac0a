"""The identifiers in a DICOM header, as texts."""

from typing import Final

from pydicom.charset import python_encoding
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from thorax.imaging.dicom.header import texts_of
from thorax.imaging.dicom.parsing import parse_header
from thorax.imaging.quiet import libraries_silenced

__all__ = ["identifiers_of"]

_KEYWORDS: Final = ("PatientID", "AccessionNumber", "StudyDate", "StudyInstanceUID", "SOPInstanceUID")


def identifiers_of(data: bytes) -> tuple[str, str, str, str, str]:
    """Return patient id, accession number, study date, and UIDs of study and instance; "" for what is absent.

    Args:
        data: A DICOM file, up to its pixel data or beyond.
    """
    try:
        with libraries_silenced():
            dataset = parse_header(data)
            patient, accession, date, study, instance = (_text(dataset, keyword) for keyword in _KEYWORDS)
    except Exception:  # noqa: BLE001  (its text may quote the file; without identifiers, nothing is lost)
        return "", "", "", "", ""
    return patient, accession, date, study, instance


def _text(dataset: Dataset, keyword: str) -> str:
    tag = tag_for_keyword(keyword)
    if tag is None or tag not in dataset:
        return ""
    value = dataset.get_item(tag).value
    codec = python_encoding.get((texts_of(dataset, "SpecificCharacterSet") or [""])[0], "utf-8")
    text = value.decode(codec, "replace") if isinstance(value, bytes) else str(value or "")
    return text.strip(" \0")
