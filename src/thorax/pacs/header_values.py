"""Values of DICOM headers as valid texts: what real files write, repaired where the meaning is plain."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Final

from pydicom.charset import convert_encodings, decode_bytes, encode_string, python_encoding
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.valuerep import TEXT_VR_DELIMS, PersonName

__all__ = ["Texts", "valid_age", "valid_date", "valid_sex", "valid_time", "valid_uid"]

_LATIN: Final = "ISO_IR 100"
_UNICODE: Final = "ISO_IR 192"
_REPLACED, _ESCAPE = "\N{REPLACEMENT CHARACTER}", "\x1b"
_LONGEST: Final = 1024
"""Bytes of an element that are looked at; the longest name has 3 times 64 characters."""

_UID: Final = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+")
_LONGEST_UID: Final = 64
_TIME: Final = re.compile(r"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?")
_SEXES: Final = {"M": "M", "F": "F", "O": "O", "MALE": "M", "FEMALE": "F", "OTHER": "O"}


class Texts:
    """The text elements of a header, decoded with its character set.

    Args:
        dataset: The header.

    Attributes:
        character_set: What the header states, as it would be written; [] for the default repertoire.
        is_latin: Whether a text that its stated character set does not fit was read as Latin-1.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self.character_set = _character_set(dataset.get("SpecificCharacterSet"))
        self.is_latin = False
        self._encodings = convert_encodings(list(self.character_set))

    def raw(self, keyword: str) -> bytes:
        """Return the bytes of an element without padding; b"" if it is absent, or absurdly long."""
        tag = tag_for_keyword(keyword)
        if tag is None or tag not in self._dataset:
            return b""
        value = self._dataset.get_item(tag).value
        content = value if isinstance(value, bytes) else str(value or "").encode()
        return content.strip(b" \0") if len(content) <= _LONGEST else b""

    def text(self, keyword: str, *, name: bool = False) -> str | None:
        """Return a text, or a person's name; "" if it is absent, None if it cannot be decoded faithfully.

        A text is faithful if encoding it again gives what decodes to the same text. Without a stated
        character set, or with a wrong one, it is read as Latin-1, whose bytes remain what they are.
        """
        raw = self.raw(keyword)
        if raw.isascii() and _ESCAPE.encode() not in raw:
            text = raw.decode("ascii")
            return text if _is_clean(text) else None
        if self.character_set:
            text = self._decoded(raw, name=name)
            if _is_clean(text) and self._decoded(self._encoded(text, name=name), name=name) == text:
                return text
        text = raw.decode("latin-1")
        if not _is_clean(text):
            return None
        self.is_latin = True
        return text

    def ascii(self, keyword: str) -> str:
        """Return a text of letters, digits and signs; "" for another one."""
        raw = self.raw(keyword)
        text = raw.decode("ascii", "replace")
        return text if raw.isascii() and text.isprintable() else ""

    def _decoded(self, raw: bytes, *, name: bool) -> str:
        if name:
            return str(PersonName(raw, encodings=self._encodings))
        return decode_bytes(raw, self._encodings, TEXT_VR_DELIMS)

    def _encoded(self, text: str, *, name: bool) -> bytes:
        if name:
            return PersonName(text, encodings=self._encodings).encode(self._encodings)
        return encode_string(text, self._encodings)

    def for_texts(self, others: Sequence[str]) -> list[str]:
        """Return the character set of an object that has these texts beside those of the header.

        It is the header's own if that has their letters; the default repertoire has those of ASCII.
        """
        if not all(text.isascii() for text in others):
            return [_UNICODE]
        return [_LATIN] if self.is_latin else self.character_set


def _character_set(stated: object) -> list[str]:
    """Return the defined terms of a character set, also if spaces, dashes or cases differ; [] if unknown."""
    values = [stated] if isinstance(stated, str) else list(stated) if isinstance(stated, Iterable) else []
    names = [
        re.sub(r"\bIR[ _-]?(?=\d)", "IR ", re.sub(r"[ _-]+", " ", str(v).strip().upper())) for v in values
    ]
    names = [re.sub(r"^ISO IR ", "ISO_IR ", name) for name in names]
    return names if any(names) and all(name in python_encoding for name in names) else []


def _is_clean(text: str) -> bool:
    """Return whether a text has neither control characters nor signs of letters that were lost."""
    return _REPLACED not in text and all(unicodedata.category(letter) != "Cc" for letter in text)


def valid_uid(text: str) -> bool:
    """Return whether a text is a UID (PS3.5 9.1)."""
    return len(text) <= _LONGEST_UID and _UID.fullmatch(text) is not None


def valid_date(text: str) -> str:
    """Return a date as YYYYMMDD, from that or with dots, dashes or slashes between; "" for anything else."""
    match = re.fullmatch(r"(\d{4})([.\-/]?)(\d{2})\2(\d{2})", text)
    if match is None:
        return ""
    year, month, day = match[1], match[3], match[4]
    try:
        date(int(year), int(month), int(day))
    except ValueError:
        return ""
    return f"{year}{month}{day}"


def valid_time(text: str) -> str:
    """Return a time as HHMMSS.FFFFFF or its beginning, from that or with colons; "" for anything else."""
    plain = text.replace(":", "")
    return plain if _TIME.fullmatch(plain) else ""


def valid_sex(text: str) -> str:
    """Return M, F or O; "" for anything else."""
    return _SEXES.get(text.upper(), "")


def valid_age(text: str) -> str:
    """Return an age as 062Y, from that or from "62Y" and "62" (years); "" for anything else."""
    match = re.fullmatch(r"(\d{1,3})([YMWD]?)", text.upper())
    return f"{int(match[1]):03}{match[2] or 'Y'}" if match else ""
