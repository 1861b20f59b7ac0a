"""Values of a DICOM header that make an image a chest radiograph, or say which view it is."""

import re
from typing import Final

from thorax.radiograph import ViewPosition

__all__ = [
    "CHEST",
    "CHEST_AND_VIEW",
    "CONVERTED_MODALITIES",
    "DESCRIPTIONS",
    "FOR_PROCESSING",
    "RADIOGRAPHIC_MODALITIES",
    "RADIOGRAPHY",
    "SAYS_NOTHING",
    "SECONDARY_CAPTURE",
    "VIEWS",
    "VIEW_CODES",
]

SECONDARY_CAPTURE: Final = {
    "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture Image Storage
    "1.2.840.10008.5.1.4.1.1.7.2",  # Multi-frame Grayscale Byte (one frame is an image)
    "1.2.840.10008.5.1.4.1.1.7.3",  # Multi-frame Grayscale Word
}
RADIOGRAPHY: Final = {
    "1.2.840.10008.5.1.4.1.1.1",  # Computed Radiography Image Storage
    "1.2.840.10008.5.1.4.1.1.1.1",  # Digital X-Ray Image Storage - For Presentation
}
FOR_PROCESSING: Final = "1.2.840.10008.5.1.4.1.1.1.1.1"

# CR, DX and RG are DICOM's terms; some archives write DR and XR instead.
RADIOGRAPHIC_MODALITIES: Final = {"CR", "DX", "RG", "DR", "XR"}
# A converted image (secondary capture) often names no modality, or "other".
CONVERTED_MODALITIES: Final = RADIOGRAPHIC_MODALITIES | {"", "OT", "SC"}

# Words for the chest in Body Part Examined, in the languages that archives use.
CHEST: Final = {
    *("CHEST", "THORAX", "LUNG", "LUNGS", "CXR", "TORAX", "TORACE", "POITRINE", "BRUST", "BRUSTKORB"),
    *("PULMON", "PULMONES", "PULMAO", "POUMON", "POUMONS", "LUNGE", "LUNGEN"),
    *("ГРУДЬ", "ГРУДНАЯ", "ЛЕГКИЕ", "胸", "胸部", "胸廓", "肺"),
}
CHEST_AND_VIEW: Final = re.compile(r"CHEST(PA|AP|LAT|LATERAL|LL|RL|\d\w*)")
# Words that say nothing about the body part.
SAYS_NOTHING: Final = {
    "",
    "UNKNOWN",
    "N",
    "A",
    "NA",
    "NONE",
    "ANONYMIZED",
    "ANON",
    "OTHER",
    "UNDEFINED",
    "UNSPECIFIED",
}

DESCRIPTIONS: Final = (
    *("SeriesDescription", "StudyDescription", "ProtocolName", "PerformedProcedureStepDescription"),
    *("RequestedProcedureDescription", "AcquisitionDeviceProcessingDescription"),
)
"""Elements in which people or devices write what was imaged."""

VIEWS: Final = {
    "PA": ViewPosition.PA,
    "AP": ViewPosition.AP,
    "LL": ViewPosition.LATERAL,
    "RL": ViewPosition.LATERAL,
    "LAT": ViewPosition.LATERAL,
    "LATERAL": ViewPosition.LATERAL,
}
# View Code Sequence: CID 4010, in SNOMED CT and in the older SNOMED-RT.
VIEW_CODES: Final = {
    "272479007": ViewPosition.PA,
    "R-10214": ViewPosition.PA,
    "399348003": ViewPosition.AP,
    "R-10206": ViewPosition.AP,
    "399067008": ViewPosition.LATERAL,
    "399173006": ViewPosition.LATERAL,
    "R-10236": ViewPosition.LATERAL,
    "399198007": ViewPosition.LATERAL,
    "R-10232": ViewPosition.LATERAL,
}
