"""What all results have in common: equipment, UIDs, times, and an encoding that keeps every letter."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import Any, Final

import highdicom
from highdicom import ContributingEquipment
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID

import thorax
from thorax.bundle import Bundle
from thorax.pacs.codes import SCHEME, SCHEME_NAME
from thorax.pacs.identifiers import IMPLEMENTATION_UID, SCHEME_UID, ObjectKind, object_uid, series_uid
from thorax.pacs.source import SourceImage

__all__ = ["MANUFACTURER", "Issue", "encoded", "finish"]

MANUFACTURER: Final = "Thorax"
_MODEL: Final = "Thorax"
_TEXTS: Final = {"LO", "LT", "PN", "SH", "ST", "UC", "UT"}
_LONG: Final = 64

_SERIES: Final[dict[ObjectKind, tuple[int, str]]] = {
    "structured report": (9001, "Thorax results (research use)"),
    "secondary capture": (9002, "Thorax maps (research use)"),
    "presentation state": (9003, "Thorax contours (research use)"),
    "refusal": (9001, "Thorax input gate (research use)"),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Issue:
    """What the objects of one image by one model share.

    Attributes:
        source: The image.
        bundle: The model.
        key: The model, as `identifiers.model_key` returns it.
        created: When the objects are made, in local time.
    """

    source: SourceImage
    bundle: Bundle
    key: str
    created: datetime

    def identification(self, kind: ObjectKind) -> dict[str, Any]:
        """Return the UIDs and numbers of an object, as parameters of highdicom's classes."""
        number, description = _SERIES[kind]
        return {
            "series_instance_uid": series_uid(self.key, self.source.uid, kind),
            "series_number": number,
            "series_description": description,
            "sop_instance_uid": object_uid(self.key, self.source.uid, kind),
            "instance_number": 1,
            **self.equipment(),
        }

    def reference(self) -> Dataset:
        """Return the header for highdicom, which warns of names with one component: they come in `finish`."""
        header = deepcopy(self.source.header)  # elements would be shared by a shallow copy
        header.PatientName = header.ReferringPhysicianName = ""
        return header

    def equipment(self) -> dict[str, str]:
        """Return the device that makes the objects; its serial number is the bundle's hash."""
        return {
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": _MODEL,
            "device_serial_number": self.bundle.sha256,
            "software_versions": thorax.__version__,
        }


def finish(dataset: Dataset, issue: Issue) -> Dataset:
    """Set what all results share, in place of what a library has set, and return the data set.

    The same issue gives the same data set, whenever it is called.
    """
    for keyword in ("PatientName", "ReferringPhysicianName"):
        setattr(dataset, keyword, str(issue.source.header[keyword].value))
    day, time = issue.created.strftime("%Y%m%d"), issue.created.strftime("%H%M%S")
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = day, time
    dataset.InstanceCreatorUID = IMPLEMENTATION_UID
    dataset.ContributingEquipmentSequence = _equipment(issue)
    scheme = Dataset()
    scheme.CodingSchemeDesignator, scheme.CodingSchemeName = SCHEME, SCHEME_NAME
    scheme.CodingSchemeUID = SCHEME_UID
    scheme.CodingSchemeResponsibleOrganization = "The Thorax developers"
    dataset.CodingSchemeIdentificationSequence = [scheme]
    dataset.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_UID)
    dataset.file_meta.ImplementationVersionName = f"THORAX_{thorax.__version__}"[:16]
    copied = set(_texts_of(issue.source.header))
    own = [text for text in _texts_of(dataset) if text not in copied]
    _state_character_set(dataset, issue.source.texts.for_texts(own))
    return dataset


def _equipment(issue: Issue) -> list[ContributingEquipment]:
    """Return the model as the equipment that made the result, and the library that wrote it."""
    name = issue.bundle.manifest.name.replace("\\", "/")
    return [
        ContributingEquipment(
            MANUFACTURER,
            codes.DCM.ProcessingEquipment,
            manufacturer_model_name=f"Thorax {name}"[:_LONG],
            software_versions=[thorax.__version__, f"bundle {issue.bundle.sha256[:12]}"],
            device_serial_number=issue.bundle.sha256,
            contribution_description="Classifier of chest radiographs. Research use only, not for diagnosis.",
        ),
        ContributingEquipment(
            "Highdicom open-source contributors",
            codes.DCM.ProcessingEquipment,
            manufacturer_model_name="highdicom",
            software_versions=highdicom.__version__,
            contribution_description="Software library that encoded this instance",
        ),
    ]


def _texts_of(dataset: Dataset) -> Iterator[str]:
    for element in dataset.iterall():
        if element.VR in _TEXTS:
            yield from map(str, element.value if element.VM > 1 else [element.value or ""])


def _state_character_set(dataset: Dataset, names: list[str]) -> None:
    if "SpecificCharacterSet" in dataset:
        del dataset.SpecificCharacterSet
    if names:
        dataset.SpecificCharacterSet = names if len(names) > 1 else names[0]


def encoded(dataset: Dataset) -> bytes:
    """Return a result as the bytes of a DICOM file."""
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()
