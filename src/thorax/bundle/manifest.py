"""Types of `bundle.json`: the pipeline from members to operating points, with provenance."""

from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from thorax.bands import Bands
from thorax.bundle.input_gate import InputGate
from thorax.bundle.points import OperatingPoints
from thorax.bundle.statement import Statement
from thorax.calibration import Calibration, Platt
from thorax.distributions import ValidationDistribution
from thorax.errors import DataError
from thorax.findings import finding_or_new
from thorax.image_set import ImageSet
from thorax.quoting import is_formula
from thorax.rates import HitRates
from thorax.recipe.literals import MeanOf
from thorax.recipe.sections import Network, Preparation, Section, TestTime

__all__ = [
    "LAST_EPOCH",
    "EngineKind",
    "Ensemble",
    "Exported",
    "ExportedFile",
    "ExportedNet",
    "FeatureGrid",
    "Imported",
    "InitialWeights",
    "Manifest",
    "Member",
    "OperatingPoints",
    "Parity",
    "Precision",
    "Provenance",
    "SeenFile",
    "SiteCalibration",
    "Trained",
]


_MOST_MEMBERS: Final = 64
_MOST_FINDINGS: Final = 1000
_LONGEST_NAME: Final = 200


def _named(text: str) -> str:
    if not text.isprintable() or len(text) > _LONGEST_NAME or is_formula(text):
        raise ValueError(
            f"a name has at most {_LONGEST_NAME} characters, all of which print, and is not a formula"
        )
    return text


def _once(names: tuple[str, ...]) -> tuple[str, ...]:
    try:
        findings = set(map(finding_or_new, names))
    except DataError as error:
        raise ValueError(str(error)) from error
    if len(findings) < len(names):
        raise ValueError("a finding is listed twice")
    return names


Name = Annotated[str, AfterValidator(_named)]
"""Text of one line, for people."""

FindingNames = Annotated[
    tuple[str, ...], Field(min_length=1, max_length=_MOST_FINDINGS), AfterValidator(_once)
]
"""Names of findings, each once."""

LAST_EPOCH: Final = "last epoch"
"""`Trained.selected_by` where no score chose the weights."""


class InitialWeights(Section):
    """A file of weights from which training started. Which patients they were trained on is not known."""

    file: str
    """Its name."""
    sha256: str


class Trained(Section):
    """Provenance of a net trained from a recipe: enough to train it again."""

    kind: Literal["trained"] = "trained"
    recipe: str
    recipe_sha256: str
    seed: int
    dataset: str
    store_fingerprint: str
    trained_on: ImageSet
    selected_on: ImageSet
    selected_by: str
    """The metric and rule that chose the weights, for example "best macro-auc on val"."""
    epoch: int
    """The epoch whose weights these are, counted from 1."""
    started_from: str | None = None
    """SHA-256 of the manifest of the bundle whose backbone training started from; None without one."""
    initial_weights: InitialWeights | None = None
    """The file whose weights training started from; None without one."""
    versions: dict[str, str]

    @model_serializer(mode="wrap")
    def _without_absent_file(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without_absent(write(self), "initial_weights")


class Imported(Section):
    """Provenance of a net imported from another project's checkpoint. Which patients it saw is not known."""

    kind: Literal["imported"] = "imported"
    source: str
    """Description of the checkpoint."""
    file_sha256: str
    self_test: float
    """Largest difference of a logit from the source's own architecture on a probe image."""
    compared_with: str
    """Description of that architecture."""
    notes: tuple[str, ...]
    """What to know before comparing results."""
    versions: dict[str, str]


Provenance = Annotated[Trained | Imported, Field(discriminator="kind")]
"""Where a member's weights came from."""


class FeatureGrid(Section):
    """Centers of the receptive fields of a net's last feature map, along both axes, in input pixels."""

    start: float
    """Center of the first cell's receptive field; the center of the first pixel is 0.5."""
    step: float = Field(gt=0)
    """Distance between the centers of neighboring cells."""


class Member(Section):
    """One net of the pipeline, and the views of an image that it receives."""

    weights: str | None = None
    """File name within the bundle; None in a bundle that has its exported graphs alone."""
    sha256: str | None = None
    """SHA-256 of that file."""
    model: Network
    findings: FindingNames
    """In the order of the net's outputs."""
    exact_cam: bool
    """Whether the class activation map is exact: global average pooling, then one linear layer."""
    places: FeatureGrid | None = None
    """Receptive field centers of its feature map; None: the centers of equal squares."""
    test_time: TestTime = TestTime()
    provenance: Provenance

    @model_serializer(mode="wrap")
    def _without_absent_weights(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without_absent(write(self), "weights", "sha256")


class Ensemble(Section):
    """How the members' outputs are averaged."""

    mean_of: MeanOf
    weights: tuple[Annotated[float, Field(ge=0, le=1)], ...]
    """One per member; they sum to 1."""
    fitted_on: ImageSet | None
    """The images that the weights were fitted on; None if they are equal."""


EngineKind = Literal["onnx", "openvino"]
"""Runtime of an exported net: onnxruntime or OpenVINO."""

Precision = Literal["float32", "int8"]
"""Numeric precision of an exported net."""


class ExportedFile(Section):
    """One file of an exported net."""

    name: str
    """File name within the bundle."""
    sha256: str


class ExportedNet(Section):
    """A member with its views and constants as one graph."""

    files: tuple[ExportedFile, ...] = Field(min_length=1, max_length=2)
    """The graph, and its weights if they are in a separate file."""
    cam: bool
    """Whether the exact class activation map is an output besides the logits."""


class Parity(Section):
    """Differences between an exported engine's calibrated probabilities and the reference's."""

    compared_with: str
    """For example "torch 2.13.0" or "onnx float32"."""
    compared_on: ImageSet
    num_images: int
    """Number of images of that part."""
    largest_difference: float
    """Largest difference of a probability, rounded up to one digit."""
    percentile_99: float | None = None
    """99th percentile of the differences; this and the fields below are for quantized nets."""
    macro_auc_change: float | None = None
    operating_point_change: float | None = None
    """Largest change of a sensitivity or specificity at an operating point."""
    gated: tuple[str, ...] = ()
    """Findings on which the last two were measured."""


class Exported(Section):
    """The nets of all members for one engine, with the results of its gate."""

    kind: EngineKind
    precision: Precision
    nets: tuple[ExportedNet, ...] = Field(min_length=1)
    """In the order of the members."""
    parity: Parity
    operating_points: OperatingPoints | None = None
    """Refitted for this engine; None: those of the bundle."""
    bands: Bands | None = None
    """Set for this engine, if it has operating points of its own."""
    quantised_with: ImageSet | None = None
    """The images whose activations determined the scales of a quantized net."""
    versions: dict[str, str]

    @model_serializer(mode="wrap")
    def _without_absent_bands(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without_absent(write(self), "bands")


class SeenFile(Section):
    """The file of fingerprints of the images that a bundle saw."""

    name: str
    """File name within the bundle."""
    sha256: str
    num_images: dict[str, Annotated[int, Field(ge=0)]]
    """Fingerprints by what saw the images, as in `patients.json`, in the order of the file."""


class SiteCalibration(Section):
    """A calibration for the patients of one site, in place of the bundle's own."""

    site: Annotated[Name, Field(min_length=1, max_length=100)]
    """Name of the site, unique in the bundle."""
    adjusts: Literal["auto", "intercept", "slope", "all"]
    """What was fitted on the site's images, beyond the bundle's own calibration; "auto": by finding."""
    calibration: Calibration
    """From the pipeline's logits to probabilities, with that of the bundle already in it."""
    operating_points: OperatingPoints | None
    """Thresholds on these probabilities; None if there are none."""


class Manifest(Section):
    """The pipeline: members -> views -> mean -> calibration -> operating points."""

    format: Literal[1, 2] = 1
    """2 if the bundle has something that format 1 does not know; see docs/bundle.md."""
    name: Name
    findings: FindingNames
    """In the order of the bundle's probabilities."""
    preparation: Preparation
    members: tuple[Member, ...] = Field(min_length=1, max_length=_MOST_MEMBERS)
    ensemble: Ensemble | None = None
    """None for a single member."""
    calibration: Calibration | None
    operating_points: OperatingPoints | None
    patients_sha256: str
    """SHA-256 of `patients.json`."""
    engines: tuple[Exported, ...] = ()
    """The pipeline in engines other than torch, exported from exactly these members and views."""
    statement: Statement | None = None
    """What the bundle says of itself wherever it speaks; None for most bundles."""
    seen: SeenFile | None = None
    """Fingerprints of the images that training and selection saw; None if it does not keep any."""
    sites: tuple[SiteCalibration, ...] = ()
    """Calibrations for other sites."""
    bands: Bands | None = None
    """Where findings are not decided; None if every finding with a threshold always is."""
    hit_rates: tuple[HitRates, ...] = ()
    """How often its maps point at boxes, by method; empty if that was not measured."""
    gate: InputGate | None = None
    """What is not predicted at all; None for a bundle without a gate."""
    distribution: ValidationDistribution | None = None
    """How validation images were predicted, for monitoring; None if the bundle does not keep it."""

    @model_serializer(mode="wrap")
    def _without_absent_sections(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without_absent(write(self), *_SECTIONS_OF_FORMAT_2)

    @property
    def has_weights(self) -> bool:
        """Whether the members' weights are in the bundle, which torch needs."""
        return all(member.weights is not None for member in self.members)

    @property
    def from_files(self) -> tuple[InitialWeights, ...]:
        """The files of weights from which the members' training started, each once."""
        origins = [member.provenance for member in self.members]
        files = [origin.initial_weights for origin in origins if isinstance(origin, Trained)]
        return tuple(dict.fromkeys(file for file in files if file is not None))

    @property
    def stated(self) -> str:
        """What to say of the bundle wherever it speaks, without a period; "" without a statement."""
        if self.statement is None or self.calibration is None:
            return ""
        trained = self.members[0].provenance
        assert isinstance(trained, Trained)
        return self.statement.sentence(trained.trained_on, self.calibration.fitted_on)

    @property
    def stated_in_full(self) -> tuple[str, ...]:
        """The same with what else to know of its figures and probabilities, as sentences."""
        if self.statement is None:
            return ()
        return (f"{self.stated[0].upper()}{self.stated[1:]}.", *self.statement.details())

    @model_validator(mode="after")
    def _format_fits(self) -> "Manifest":
        for name in _SECTIONS_OF_FORMAT_2:
            if self.format == 1 and getattr(self, name):
                raise ValueError(f"the section {name} needs format 2")
        if self.format == 1 and self.operating_points and self.operating_points.measured:
            raise ValueError("rates at the thresholds need format 2")
        if self.statement is not None:
            trained = all(isinstance(member.provenance, Trained) for member in self.members)
            if not trained or self.calibration is None:
                raise ValueError("a statement needs a calibration, and members that were trained")
        if self.has_weights:
            return self
        if self.format == 1:
            raise ValueError("a member without weights needs format 2")
        if any(member.weights is not None for member in self.members):
            raise ValueError("some members have weights and some have none")
        if ("onnx", "float32") not in {(exported.kind, exported.precision) for exported in self.engines}:
            raise ValueError("members without weights need an exported graph (onnx, float32)")
        return self

    @model_validator(mode="after")
    def _members_fit(self) -> "Manifest":
        for number, member in enumerate(self.members, start=1):
            absent = set(self.findings) - set(member.findings)
            if absent:
                raise ValueError(f"member {number} does not predict {', '.join(sorted(absent))}")
        weights = self.ensemble.weights if self.ensemble else (1.0,)
        if len(weights) != len(self.members):
            raise ValueError(f"{len(weights)} weights do not fit {len(self.members)} members")
        for calibration in (self.calibration, *(site.calibration for site in self.sites)):
            if isinstance(calibration, Platt) and set(self.findings) != calibration.slopes.keys():
                raise ValueError("the calibration needs one slope and intercept for each finding")
        if self.distribution and self.distribution.findings.keys() != set(self.findings):
            raise ValueError("the distribution on validation needs each finding")
        names = [site.site for site in self.sites]
        if len(set(names)) != len(names):
            raise ValueError("a site is listed twice")
        return self

    @model_validator(mode="after")
    def _bands_fit(self) -> "Manifest":
        for bands in (self.bands, *(exported.bands for exported in self.engines)):
            if bands is None:
                continue
            if self.format == 1:
                raise ValueError("bands need format 2")
            if bands.bands.keys() | bands.absent.keys() != set(self.findings):
                raise ValueError("each finding needs a band, or the reason why it has none")
        return self

    @model_validator(mode="after")
    def _engines_fit(self) -> "Manifest":
        for exported in self.engines:
            if len(exported.nets) != len(self.members):
                raise ValueError(f"{len(exported.nets)} exported nets do not fit {len(self.members)} members")
        names = [(exported.kind, exported.precision) for exported in self.engines]
        if len(set(names)) != len(names):
            raise ValueError("an engine is listed twice")
        return self


_SECTIONS_OF_FORMAT_2: Final = ("statement", "seen", "sites", "bands", "hit_rates", "gate", "distribution")


def _without_absent(written: dict[str, Any], *names: str) -> dict[str, Any]:
    """Leave out settings that are None or empty: what format 1 did not know is not written into it."""
    return {name: value for name, value in written.items() if value not in (None, []) or name not in names}
