"""What `bundle.json` says: the pipeline from members to operating points, and where each part came from."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from thorax.calibration import Calibration, Platt
from thorax.image_set import ImageSet
from thorax.recipe.literals import MeanOf, OperatingPointRule
from thorax.recipe.sections import Model, Preparation, Section, TestTime

__all__ = [
    "EngineKind",
    "Ensemble",
    "Exported",
    "ExportedFile",
    "ExportedNet",
    "FeatureGrid",
    "Imported",
    "Manifest",
    "Member",
    "OperatingPoints",
    "Parity",
    "Precision",
    "Provenance",
    "Trained",
]


class OperatingPoints(Section):
    """Thresholds on the probabilities that the bundle gives."""

    rule: OperatingPointRule | Literal["source"]
    """How they were chosen; "source": they came with a foreign checkpoint."""
    thresholds: dict[str, float | None]
    """By finding; None where there is none, for example because validation had no positive."""
    chosen_on: ImageSet | None
    """None where nothing of ours chose them: the rule one-half, and those of a source."""


class Trained(Section):
    """A net that a recipe trained: enough to make it again."""

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
    """SHA-256 of the manifest of the bundle whose backbone it began with; None: none of a bundle."""
    versions: dict[str, str]


class Imported(Section):
    """A net from a foreign checkpoint. Which patients it saw is not known."""

    kind: Literal["imported"] = "imported"
    source: str
    """What the checkpoint is, in words."""
    file_sha256: str
    self_test: float
    """Largest difference of a logit from the source's own architecture on a probe image."""
    compared_with: str
    """That architecture, in words."""
    notes: tuple[str, ...]
    """What somebody who compares figures must know."""
    versions: dict[str, str]


Provenance = Annotated[Trained | Imported, Field(discriminator="kind")]
"""Where a member's weights came from."""


class FeatureGrid(Section):
    """Where the places of a net's last map look, along both axes, in pixels of its input."""

    start: float
    """The middle of what the first place looks at; the first pixel's middle is 0.5."""
    step: float = Field(gt=0)
    """From the middle of each place to that of the next."""


class Member(Section):
    """One net of the pipeline, and the views of an image that it is shown."""

    weights: str
    """File name within the bundle."""
    sha256: str
    model: Model
    findings: tuple[str, ...] = Field(min_length=1)
    """In the order of the net's outputs."""
    exact_cam: bool
    """Whether the class activation map is exact: global average pooling, then one linear layer."""
    places: FeatureGrid | None = None
    """Where the places of its maps look; None: at the middles of equal squares."""
    test_time: TestTime = TestTime()
    provenance: Provenance


class Ensemble(Section):
    """How the members' outputs become one."""

    mean_of: MeanOf
    weights: tuple[Annotated[float, Field(ge=0, le=1)], ...]
    """Of the members; they add up to 1."""
    fitted_on: ImageSet | None
    """What the weights were fitted on; None where they are equal."""


EngineKind = Literal["onnx", "openvino"]
"""What runs an exported net: onnxruntime, or OpenVINO."""

Precision = Literal["float32", "int8"]
"""What an exported net computes with."""


class ExportedFile(Section):
    """One file of an exported net."""

    name: str
    """Within the bundle."""
    sha256: str


class ExportedNet(Section):
    """A member, its views and its constants as one graph."""

    files: tuple[ExportedFile, ...] = Field(min_length=1, max_length=2)
    """The graph, and its weights where they stand in a file of their own."""
    cam: bool
    """Whether the exact class activation map is an output beside the logits."""


class Parity(Section):
    """How far an exported engine's calibrated probabilities are from those they were compared with."""

    compared_with: str
    """For example "torch 2.13.0" or "onnx float32"."""
    compared_on: ImageSet
    num_images: int
    """How many images of that part."""
    largest_difference: float
    """Of a probability, rounded up to one digit."""
    percentile_99: float | None = None
    """Of the differences of probabilities; this and what follows: of quantised nets."""
    macro_auc_change: float | None = None
    operating_point_change: float | None = None
    """Largest change of a sensitivity or specificity at an operating point."""
    gated: tuple[str, ...] = ()
    """Findings that the last two were measured on."""


class Exported(Section):
    """The nets of all members for one engine, and what the gate in front of it found."""

    kind: EngineKind
    precision: Precision
    nets: tuple[ExportedNet, ...] = Field(min_length=1)
    """In the order of the members."""
    parity: Parity
    operating_points: OperatingPoints | None = None
    """Refitted for this engine; None: those of the bundle."""
    quantised_with: ImageSet | None = None
    """The images whose activations chose the scales of a quantised net."""
    versions: dict[str, str]


class Manifest(Section):
    """The pipeline: members -> views -> mean -> calibration -> operating points."""

    format: Literal[1] = 1
    name: str
    findings: tuple[str, ...] = Field(min_length=1)
    """In the order of the bundle's probabilities."""
    preparation: Preparation
    members: tuple[Member, ...] = Field(min_length=1)
    ensemble: Ensemble | None = None
    """None with one member."""
    calibration: Calibration | None
    operating_points: OperatingPoints | None
    patients_sha256: str
    """SHA-256 of `patients.json`."""
    engines: tuple[Exported, ...] = ()
    """The pipeline in other engines than torch; they belong to exactly these members and their views."""

    @model_validator(mode="after")
    def _members_fit(self) -> "Manifest":
        for member in self.members:
            absent = set(self.findings) - set(member.findings)
            if absent:
                raise ValueError(f"member {member.weights} does not give {', '.join(sorted(absent))}")
        weights = self.ensemble.weights if self.ensemble else (1.0,)
        if len(weights) != len(self.members):
            raise ValueError(f"{len(weights)} weights do not fit {len(self.members)} members")
        if isinstance(self.calibration, Platt) and set(self.findings) != self.calibration.slopes.keys():
            raise ValueError("the calibration needs one slope and intercept for each finding")
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
