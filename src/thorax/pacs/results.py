"""The DICOM objects of one prediction: pure functions from image, prediction and model to data sets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from pydicom.dataset import Dataset

from thorax.bundle import Bundle
from thorax.explain.radiograph import Explained
from thorax.pacs.finishing import Issue
from thorax.pacs.identifiers import model_key, object_uid
from thorax.pacs.presentation_state import presentation_state
from thorax.pacs.secondary_capture import secondary_capture
from thorax.pacs.source import SourceImage
from thorax.pacs.structured_report import GateWord, refusal_report, structured_report
from thorax.prediction import Prediction
from thorax.radiograph import Radiograph

__all__ = ["LARGEST_MAP", "Overlay", "Results", "build_results", "report_uids", "results_of_refusal"]


LARGEST_MAP: Final = 768
"""Longest side at which maps are drawn for results: at full resolution they would take seconds."""

_NO_CONTOURS: Final = (
    "it is stored in color, to which a grayscale presentation state with contours cannot apply; the "
    "Secondary Capture shows the maps"
)


@dataclass(frozen=True, slots=True, eq=False)
class Overlay:
    """A radiograph with maps of some findings.

    Attributes:
        radiograph: The image as it was predicted.
        maps: Maps at its resolution or reduced to `LARGEST_MAP`, at least one.
    """

    radiograph: Radiograph
    maps: tuple[Explained, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Results:
    """The objects of one image by one model.

    Attributes:
        sr: The structured report.
        secondary_capture: The maps over the radiograph as a color image; None without a map.
        presentation_state: Contours and texts for the radiograph itself; None without a map, and for an image
            in color.
        prediction: What was predicted; None for an image that the input gate holds back.
        refusal: Why it does; "" for an image that was predicted.
        repairs: What was repaired on the copy of the image's header; see `SourceImage`.
        notes: Which object was not made although there are maps, and why, sentences without their periods.
        reasons: The codes of all that the gate found; see `Reason`.
        scores: Its scores; see `GateAnswer`.
    """

    sr: Dataset
    secondary_capture: Dataset | None = None
    presentation_state: Dataset | None = None
    prediction: Prediction | None = None
    refusal: str = ""
    repairs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def objects(self) -> tuple[Dataset, ...]:
        """All objects, the structured report last: where it is, the others are too."""
        optional = (self.secondary_capture, self.presentation_state)
        return (*(dataset for dataset in optional if dataset is not None), self.sr)


def build_results(
    source: SourceImage,
    prediction: Prediction,
    bundle: Bundle,
    *,
    overlay: Overlay | None = None,
    gate_off: bool = False,
    created: datetime | None = None,
) -> Results:
    """Return the results of one image as DICOM objects for its study.

    All UIDs are derived from the model, the image and the kind of object.

    Args:
        source: The image, as `read_source` returns it.
        prediction: Its prediction.
        bundle: The model, with the calibration of a site if one was used.
        overlay: Maps of some findings; None makes the report alone.
        gate_off: Whether the input gate was off.
        created: The time of creation that the objects state; None: now.
    """
    findings = tuple(predicted.finding for predicted in prediction)
    issue = _issue(source, bundle, model_key(bundle, findings), created)
    gate: GateWord = "GATE_OFF" if gate_off else "GATE_PASSED" if bundle.manifest.gate else "GATE_RULES"
    picture = contours = None
    if overlay is not None:
        picture = secondary_capture(issue, prediction, overlay.radiograph, overlay.maps)
        contours = presentation_state(issue, prediction, overlay.maps)
    return Results(
        sr=structured_report(issue, prediction, gate),
        secondary_capture=picture,
        presentation_state=contours,
        prediction=prediction,
        repairs=source.repairs,
        notes=(_NO_CONTOURS,) if picture is not None and contours is None else (),
    )


def results_of_refusal(
    source: SourceImage,
    bundle: Bundle,
    reason: str,
    *,
    codes: Sequence[str] = (),
    created: datetime | None = None,
) -> Results:
    """Return the structured report of an image that the input gate holds back.

    Args:
        source: The image, as `read_source` returns it.
        bundle: The model.
        reason: What the gate found and what would pass, for people.
        codes: The codes of what it found: `NotARadiograph.reasons`.
        created: The time of creation that the object states; None: now.
    """
    issue = _issue(source, bundle, model_key(bundle, bundle.findings), created)
    return Results(sr=refusal_report(issue, reason, codes), refusal=reason, repairs=source.repairs)


def report_uids(source: SourceImage, bundle: Bundle) -> tuple[str, str]:
    """Return the SOP Instance UIDs of the report of a prediction, and of that of a refusal, before either.

    Where an archive or a folder has one of them, the image has its results.
    """
    key = model_key(bundle, bundle.findings)
    return (
        object_uid(key, source.uid, "structured report"),
        object_uid(key, source.uid, "refusal"),
    )


def _issue(source: SourceImage, bundle: Bundle, key: str, created: datetime | None) -> Issue:
    # Local time without an offset, as the dates of the study are.
    when = datetime.now() if created is None else created  # noqa: DTZ005
    return Issue(source=source, bundle=bundle, key=key, created=when)
