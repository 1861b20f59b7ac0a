"""The identifiers of a DICOM file, read only where they are asked for.

A radiograph does not carry them, so that nothing that shows or stores one can show whose it is.
"""

import os
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from thorax.atomic_io import is_remote
from thorax.errors import ThoraxError
from thorax.imaging.read import image_format
from thorax.quoting import visible

__all__ = ["IDENTIFIERS", "Identity", "read_identity"]

IDENTIFIERS: Final = (
    "Patient ID",
    "Accession Number",
    "Study Date",
    "Study Instance UID",
    "SOP Instance UID",
)
"""What DICOM calls the attributes of `Identity`, in their order."""

_HEAD: Final = 144
_MOST: Final = 1 << 25
"""Bytes of a file that are read: headers are shorter, however long private elements are."""

_UID: Final = re.compile(r"[0-9.]{1,64}")
_DATE: Final = re.compile(r"\d{8}")


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """Whose image a file holds, as its header states it; "" for what it does not state validly.

    Attributes:
        patient_id: Patient ID (0010,0020).
        accession_number: Accession Number (0008,0050), the order's key in an information system.
        study_date: Study Date (0008,0020), YYYYMMDD.
        study_uid: Study Instance UID (0020,000D), shared by the images of one examination.
        sop_instance_uid: SOP Instance UID (0008,0018), of this image alone.
    """

    patient_id: str = ""
    accession_number: str = ""
    study_date: str = ""
    study_uid: str = ""
    sop_instance_uid: str = ""

    def values(self) -> tuple[str, ...]:
        """Return the attributes in the order of `IDENTIFIERS`."""
        return tuple(str(getattr(self, field.name)) for field in fields(self))

    @property
    def named(self) -> str:
        """The values that are stated, each after its name; "" if none is."""
        pairs = zip(IDENTIFIERS, self.values(), strict=True)
        return visible(", ".join(f"{name} {value}" for name, value in pairs if value))

    def as_json(self) -> dict[str, str]:
        """Return the attributes by name."""
        return {field.name: str(getattr(self, field.name)) for field in fields(self)}


def read_identity(path: str | os.PathLike[str]) -> Identity:
    """Return the identifiers in a DICOM file; all are "" for another file, and for one that cannot be read.

    A value that is longer than DICOM allows is left out: a damaged length makes an element swallow those
    after it, and with them the patient's name.
    """
    try:
        data = _read_object(path) if is_remote(path) else _read_file(path)
    except (OSError, ThoraxError):
        return Identity()
    if not data:
        return Identity()
    # Imported here: pydicom takes 0.3 s to import, and most images are PNG.
    from thorax.imaging.dicom.identifiers import identifiers_of

    patient, accession, date, study, instance = identifiers_of(data)
    return Identity(
        patient_id=_text(patient, 64),
        accession_number=_text(accession, 16),
        study_date=date if _DATE.fullmatch(date) else "",
        study_uid=study if _UID.fullmatch(study) else "",
        sop_instance_uid=instance if _UID.fullmatch(instance) else "",
    )


def _read_file(path: str | os.PathLike[str]) -> bytes:
    """Return the beginning of a DICOM file; b"" for another one."""
    with open(path, "rb", buffering=0, opener=_without_waiting) as file:
        head = file.read(_HEAD)
        if image_format(head, Path(path).name) != "DICOM":
            return b""
        return head + (file.read(_MOST) or b"")


def _read_object(path: str | os.PathLike[str]) -> bytes:
    """Return the beginning of a DICOM file at s3://; b"" for another one."""
    from thorax.objects.ahead import read_object

    data = read_object(path)
    return data[:_MOST] if image_format(data[:_HEAD], Path(path).name) == "DICOM" else b""


def _text(value: str, longest: int) -> str:
    return value if len(value) <= longest and value.isprintable() and "\\" not in value else ""


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
