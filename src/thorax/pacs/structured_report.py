"""A prediction as a DICOM structured report: TID 1500, with one measurement group per finding.

It is a Comprehensive 3D SR, which IHE's AI Results profile requires of measurements and evaluations, although
nothing in it has three dimensions; what it says would be a valid Comprehensive SR as well.
"""

from collections.abc import Sequence
from typing import Final, Literal

from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    CodedConcept,
    Comprehensive3DSR,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    LanguageOfContentItemAndDescendants,
    Measurement,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from thorax.pacs.codes import finding_code, finding_site, private_code, public_code
from thorax.pacs.facts import PURPOSE, algorithm_version, finding_parameters, training_texts
from thorax.pacs.finishing import MANUFACTURER, Issue, finish
from thorax.pacs.identifiers import derived_uid
from thorax.prediction import Decision, FindingPrediction, Prediction

__all__ = ["GateWord", "refusal_report", "structured_report"]

GateWord = Literal["GATE_PASSED", "GATE_RULES", "GATE_OFF", "GATE_HELD_BACK"]
"""What the input gate said, as a private code."""

_ENGLISH: Final = ("en-US", "RFC5646", "English (United States)")
_CHEST_X_RAY: Final = ("399208008", "SCT", "Plain chest X-ray")
_PRESENCE: Final = ("705057003", "SCT", "Presence")
_PERCENT: Final = ("%", "UCUM", "Percent")
_EVALUATIONS: Final = ("C0034375", "UMLS", "Qualitative Evaluations")

_DECISIONS: Final[dict[Decision, tuple[str, str, str]]] = {
    "yes": ("52101004", "SCT", "Present"),
    "no": ("272519000", "SCT", "Absent"),
    "not decided": ("82334004", "SCT", "Indeterminate"),
}

_CONTAINS: Final = RelationshipTypeValues.CONTAINS


def structured_report(issue: Issue, prediction: Prediction, gate: GateWord) -> Dataset:
    """Return a prediction as a structured report; probabilities are in percent, in full precision.

    Args:
        issue: The image and the model.
        prediction: The prediction.
        gate: What the input gate said.
    """
    groups = [_group(issue, prediction, predicted) for predicted in prediction]
    remarks = [
        _coded("GATE", private_code(gate)),
        *(_said("WARNING", warning) for warning in prediction.warnings),
        *([_said("BANDS", prediction.promise)] if prediction.promise else []),
        *_about(issue),
    ]
    return _report(issue, "structured report", groups, remarks)


def refusal_report(issue: Issue, reason: str, findings: Sequence[str]) -> Dataset:
    """Return a structured report that says why an image was held back, with no measurement in it.

    Args:
        issue: The image and the model.
        reason: What the input gate found, and what would pass.
        findings: The codes of what it found, such as "inverted".
    """
    found = f" ({', '.join(findings)})" if findings else ""
    remarks = [
        _coded("GATE", private_code("GATE_HELD_BACK")),
        _said("GATE_REASON", f"{reason}{found}"),
        *_about(issue),
    ]
    return _report(issue, "refusal", [], remarks)


def _report(
    issue: Issue,
    kind: Literal["structured report", "refusal"],
    groups: Sequence[MeasurementsAndQualitativeEvaluations],
    remarks: Sequence[ContentItem],
) -> Dataset:
    root = ContainerContentItem(
        codes.DCM.ImagingMeasurementReport, is_content_continuous=False, template_id="1500"
    )
    language = LanguageOfContentItemAndDescendants(public_code(*_ENGLISH))
    content = ContentSequence()
    content.extend(language)
    content.extend(_observer(issue))
    content.append(
        CodeContentItem(
            codes.DCM.ProcedureReported,
            public_code(*_CHEST_X_RAY),
            relationship_type=RelationshipTypeValues.HAS_CONCEPT_MOD,
        )
    )
    if groups:
        measured = ContainerContentItem(
            codes.DCM.ImagingMeasurements, is_content_continuous=False, relationship_type=_CONTAINS
        )
        measured.ContentSequence = ContentSequence()
        for group in groups:
            measured.ContentSequence.extend(group)
        content.append(measured)
    said = ContainerContentItem(
        public_code(*_EVALUATIONS), is_content_continuous=False, relationship_type=_CONTAINS
    )
    said.ContentSequence = ContentSequence(remarks)
    content.append(said)
    # Without the groups: highdicom would copy everything twice, which takes most of the time.
    root.ContentSequence = ContentSequence(language)
    report = Comprehensive3DSR(
        evidence=[issue.reference()],
        content=root,
        is_complete=True,
        is_final=False,
        is_verified=False,
        content_date=issue.created.date(),
        content_time=issue.created.time().replace(microsecond=0),
        **issue.identification(kind),
    )
    report.ContentSequence = content
    return finish(report, issue)


def _observer(issue: Issue) -> ObservationContext:
    """Return the software as the observer; its UID is that of the bundle."""
    device = DeviceObserverIdentifyingAttributes(
        uid=derived_uid("device", issue.bundle.sha256),
        name=f"{MANUFACTURER} {issue.bundle.manifest.name}",
        manufacturer_name=MANUFACTURER,
        model_name=issue.bundle.manifest.name,
        serial_number=issue.bundle.sha256,
    )
    return ObservationContext(observer_device_context=ObserverContext(codes.DCM.Device, device))


def _group(
    issue: Issue, prediction: Prediction, predicted: FindingPrediction
) -> MeasurementsAndQualitativeEvaluations:
    source, finding = issue.source, predicted.finding
    probability = Measurement(
        private_code("PROBABILITY"), 100 * predicted.probability, public_code(*_PERCENT)
    )
    decision = predicted.decision
    decided = (
        []
        if decision is None
        else [QualitativeEvaluation(public_code(*_PRESENCE), public_code(*_DECISIONS[decision]))]
    )
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=derived_uid("finding", issue.key, source.uid, finding.name),
            identifier=f"Thorax {finding.label}",
        ),
        finding_type=finding_code(finding),
        finding_sites=[FindingSite(finding_site(finding))],
        algorithm_id=AlgorithmIdentification(
            name=f"Thorax {issue.bundle.manifest.name}",
            version=algorithm_version(issue.bundle),
            parameters=finding_parameters(issue.bundle, prediction, predicted),
            family=codes.DCM.ArtificialIntelligence,
            manufacturer=MANUFACTURER,
        ),
        measurements=[probability],
        qualitative_evaluations=decided,
        source_images=[
            SourceImageForMeasurementGroup(source.header.SOPClassUID, source.header.SOPInstanceUID)
        ],
    )
    # In continuous text, viewers leave out the names of values: "37.1 % Present".
    group[0].ContinuityOfContent = "SEPARATE"
    return group


def _about(issue: Issue) -> list[ContentItem]:
    """Return what the model is not for, and what it learned from."""
    statement = issue.bundle.manifest.statement
    purpose = f"{PURPOSE}. {statement.title}: {statement.purpose}." if statement else f"{PURPOSE}."
    texts = [_said("TRAINING", text) for text in training_texts(issue.bundle)]
    return [_said("PURPOSE", purpose), *texts]


def _coded(name: str, value: CodedConcept) -> CodeContentItem:
    return CodeContentItem(private_code(name), value, relationship_type=_CONTAINS)


def _said(name: str, text: str) -> TextContentItem:
    return TextContentItem(private_code(name), text, relationship_type=_CONTAINS)
