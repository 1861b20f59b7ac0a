"""Codes of findings, sites and of what Thorax says about them, from public schemes where these have one."""

import hashlib
from typing import Final

from highdicom.sr import CodedConcept

from thorax.findings import VOCABULARY, Finding

__all__ = [
    "PRIVATE_CODES",
    "SCHEME",
    "SCHEME_NAME",
    "finding_code",
    "finding_site",
    "private_code",
    "public_code",
]

SCHEME: Final = "99THORAX"
"""Designator of the private scheme: PS3.16 8 reserves those that begin with 99."""

SCHEME_NAME: Final = "Codes of Thorax, see its docs/pacs.md"

_LONGEST_MEANING: Final = 64

PRIVATE_CODES: Final[dict[str, str]] = {
    "PROBABILITY": "Probability that the finding is present",
    "GATE": "Input gate",
    "GATE_PASSED": "Passed",
    "GATE_RULES": "Passed its rules; the model has no fitted gate",
    "GATE_OFF": "Was off",
    "GATE_HELD_BACK": "Held back: nothing was predicted",
    "GATE_REASON": "Reason of the input gate",
    "WARNING": "Warning",
    "PURPOSE": "Intended use",
    "TRAINING": "What the model learned from",
    "BANDS": "Meaning of Indeterminate",
    "F_PLEURAL_THICK": "Pleural thickening",
    "F_NO_FINDING": "No finding",
    "F_ENL_MEDIAST": "Enlarged cardiomediastinum",
    "F_LUNG_LESION": "Lung lesion",
    "F_LUNG_OPACITY": "Lung opacity",
    "F_AIRSPACE_OPAC": "Airspace opacity",
    "F_NODULE_MASS": "Nodule or mass",
    "F_PLEURAL_OTHER": "Other pleural disease",
    "F_DEVICES": "Support devices",
}
"""Every code of the private scheme, with its meaning; findings of a user's own have derived ones as well."""

_WITHOUT_PUBLIC_CODE: Final[dict[str, str]] = {
    "Pleural_Thickening": "F_PLEURAL_THICK",
    "No Finding": "F_NO_FINDING",
    "Enlarged Cardiomediastinum": "F_ENL_MEDIAST",
    "Lung Lesion": "F_LUNG_LESION",
    "Lung Opacity": "F_LUNG_OPACITY",
    "Airspace opacity": "F_AIRSPACE_OPAC",
    "Nodule or Mass": "F_NODULE_MASS",
    "Pleural Other": "F_PLEURAL_OTHER",
    "Support Devices": "F_DEVICES",
}

_MEANINGS: Final[dict[str, str]] = {
    "60046008": "Pleural effusion",
    "409609008": "Radiologic infiltrate of lung",
    "309529002": "Mass of lung",
    "786838002": "Nodule of lung",
    "95436008": "Lung consolidation",
    "19242006": "Pulmonary edema",
    "87433001": "Pulmonary emphysema",
    "51615001": "Fibrosis of lung",
    "39839004": "Diaphragmatic hernia",
    "840539006": "COVID-19",
}
"""Meanings of SNOMED CT's codes where a finding's own name differs."""

_LUNG, _HEART, _PLEURA = ("39607008", "Lung"), ("80891009", "Heart"), ("3120008", "Pleura")
_MEDIASTINUM, _DIAPHRAGM = ("72410000", "Mediastinum"), ("5798000", "Diaphragm")
_CHEST: Final = ("51185008", "Chest")

_SITES: Final[dict[str, tuple[str, str]]] = {
    **dict.fromkeys(("Atelectasis", "Infiltration", "Mass", "Nodule", "Pneumonia", "Consolidation"), _LUNG),
    **dict.fromkeys(("Edema", "Emphysema", "Fibrosis", "Lung Lesion", "Lung Opacity"), _LUNG),
    **dict.fromkeys(("Airspace opacity", "Nodule or Mass", "Tuberculosis", "COVID-19"), _LUNG),
    **dict.fromkeys(("Effusion", "Pneumothorax", "Pleural_Thickening", "Pleural Other"), _PLEURA),
    "Cardiomegaly": _HEART,
    "Enlarged Cardiomediastinum": _MEDIASTINUM,
    "Hernia": _DIAPHRAGM,
}


def private_code(value: str) -> CodedConcept:
    """Return a code of the private scheme."""
    return CodedConcept(value, SCHEME, PRIVATE_CODES[value])


def public_code(value: str, scheme: str, meaning: str) -> CodedConcept:
    """Return a code of a public scheme, such as SCT or DCM."""
    return CodedConcept(value, scheme, meaning)


def finding_code(finding: Finding) -> CodedConcept:
    """Return the code of a finding: of SNOMED CT, with RadLex's as an equivalent, or of the private scheme.

    The private code of a user's own finding is derived from its name.
    """
    if finding.snomed is None:
        value = _WITHOUT_PUBLIC_CODE.get(finding.name) if finding in VOCABULARY else None
        if value is not None:
            return private_code(value)
        digest = hashlib.sha256(finding.name.casefold().encode()).hexdigest()
        return CodedConcept(f"F_{digest[:12].upper()}", SCHEME, _meaning(finding.label))
    code = CodedConcept(finding.snomed, "SCT", _MEANINGS.get(finding.snomed, _meaning(finding.label)))
    if finding.radlex is not None:
        code.EquivalentCodeSequence = [CodedConcept(finding.radlex, "RADLEX", _meaning(finding.label))]
    return code


def finding_site(finding: Finding) -> CodedConcept:
    """Return where a finding is: an organ, or the chest."""
    value, meaning = _SITES.get(finding.name, _CHEST)
    return CodedConcept(value, "SCT", meaning)


def _meaning(label: str) -> str:
    return label.replace("\\", "/")[:_LONGEST_MEANING]
