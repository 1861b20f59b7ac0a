"""UIDs of results, derived from model, image and kind, so that a repeated run doubles nothing."""

import json
from typing import Final, Literal
from uuid import UUID, uuid5

from thorax.bundle import Bundle
from thorax.findings import Findings

__all__ = [
    "IMPLEMENTATION_UID",
    "SCHEME_UID",
    "ObjectKind",
    "derived_uid",
    "model_key",
    "object_uid",
    "series_uid",
]

ObjectKind = Literal["structured report", "secondary capture", "presentation state", "refusal"]
"""The objects that Thorax makes; a refusal is the structured report of an image that was held back."""

_NAMESPACE: Final = UUID("6f3a1d52-0d8e-5c41-9b8e-52a7c60c1f0e")


def derived_uid(*parts: str) -> str:
    """Return a UID below 2.25 (PS3.5 B.2), the same for the same texts."""
    return f"2.25.{uuid5(_NAMESPACE, json.dumps(parts)).int}"


IMPLEMENTATION_UID: Final = derived_uid("implementation class")
SCHEME_UID: Final = derived_uid("coding scheme 99THORAX")


def model_key(bundle: Bundle, findings: Findings) -> str:
    """Return what tells the results of one model from those of another.

    Args:
        bundle: The bundle, with the calibration of a site if one is used.
        findings: Those of its findings that are reported.
    """
    chosen = [] if findings == bundle.findings else [finding.name for finding in findings]
    return json.dumps([bundle.sha256, bundle.manifest.name, chosen])


def object_uid(model: str, image: str, kind: ObjectKind) -> str:
    """Return the SOP Instance UID of a result.

    Args:
        model: The model, as `model_key` returns it.
        image: SOP Instance UID of the image.
        kind: What the result is.
    """
    return derived_uid("object", model, image, kind)


def series_uid(model: str, image: str, kind: ObjectKind) -> str:
    """Return the Series Instance UID of a result; each result has a series of its own. See `object_uid`."""
    return derived_uid("series", model, image, kind)
