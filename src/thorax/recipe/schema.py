"""The schema of recipes: frozen, typed sections.

The text under a field is its help. Unknown keys are errors, and constraints between settings are checked
here, once. A component takes its own section or plain numbers, never the whole recipe.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from thorax.findings import Findings, parse_findings
from thorax.recipe.literals import OperatingPointRule
from thorax.recipe.sections import (
    Adam,
    AdamW,
    Asymmetric,
    AucMargin,
    BalancedBce,
    Bce,
    Constant,
    Cosine,
    Focal,
    Fraction,
    Head,
    Loss,
    Network,
    Optim,
    Plateau,
    Preparation,
    Range,
    Schedule,
    Section,
    Sgd,
    TestTime,
    WarmRestarts,
    WeightedBce,
)

__all__ = [
    "Adam",
    "AdamW",
    "Asymmetric",
    "AucMargin",
    "Augment",
    "BalancedBce",
    "Bce",
    "Constant",
    "Cosine",
    "Data",
    "EarlyStopping",
    "Focal",
    "Freeze",
    "Head",
    "Loss",
    "Network",
    "Optim",
    "Plateau",
    "Preparation",
    "Recipe",
    "Schedule",
    "Section",
    "Selection",
    "Sgd",
    "TestTime",
    "Training",
    "WarmRestarts",
    "WeightedBce",
]


class Data(Section):
    """Images and labels to use."""

    findings: Literal["NIH14", "NIH15"] | tuple[str, ...] = "NIH14"
    """The findings to learn, by name, in the order of the model's outputs."""
    split: str = "nih-official"
    """Name of a registered split, or file:PATH."""
    views: tuple[Literal["PA", "AP"], ...] = ()
    """Keep only these view positions; empty keeps every image."""
    uncertain: Literal["ignore", "positive", "negative"] = "ignore"
    """How training treats an uncertain label."""
    sample: int | None = Field(None, ge=1)
    """Use this many images of the data set (training and validation keep their share of them; the test part
    stays whole). A hash of their names selects them, never their labels."""

    def finding_tuple(self) -> Findings:
        """Return the findings of this section in order."""
        return parse_findings(self.findings)


class Freeze(Section):
    """Which stages of the backbone learn, and from which epoch on. The head always learns.

    Stages are named from the image to the head: stem, stage1, stage2 ..., and norm if a separate
    normalization follows. Frozen stages keep their weights and their batch statistics.
    """

    trained: tuple[str, ...] | None = None
    """Stages that learn from the start; all of them if unset."""
    unfreeze_epochs: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """At the end of each of these epochs the frozen stage nearest to the head is unfrozen."""

    @model_validator(mode="after")
    def _epochs_rise(self) -> "Freeze":
        if list(self.unfreeze_epochs) != sorted(set(self.unfreeze_epochs)):
            raise ValueError(f"freeze.unfreeze_epochs must increase, not be {list(self.unfreeze_epochs)}")
        if self.unfreeze_epochs and self.trained is None:
            raise ValueError("freeze.unfreeze_epochs needs freeze.trained: without it nothing is frozen")
        return self


class Augment(Section):
    """Random changes to each training image: one affine map, then gray values. All off by default."""

    flip: Fraction = 0.0
    """Probability of a left-right mirror image."""
    rotate: float = Field(0.0, ge=0, le=180)
    """Largest rotation in degrees, either way."""
    translate: Fraction = 0.0
    """Largest shift along each axis, as a fraction of the side."""
    shear: float = Field(0.0, ge=0, le=60)
    """Largest shear of the columns in degrees, either way."""
    zoom: Range = (1.0, 1.0)
    """Range of the magnification, drawn log-uniformly."""
    crop_area: Range = (1.0, 1.0)
    """Range of the fraction of the image's area that is cropped and resized to the net's input."""
    crop_aspect: Range = (1.0, 1.0)
    """Range of the crop's width over its height, drawn log-uniformly."""
    gain: Fraction = 0.0
    """Largest relative change of all pixels, either way (torchvision's brightness jitter)."""
    brightness: Fraction = 0.0
    """Largest change added to pixels in [0, 1], either way."""
    contrast: Fraction = 0.0
    """Largest relative change of the contrast around the image's mean, either way."""
    gamma: Range = (1.0, 1.0)
    """Range of the exponent on pixels in [0, 1], drawn log-uniformly."""
    erase: Fraction = 0.0
    """Probability that one rectangle of 2 to 20 % of the area is filled with the image's mean."""
    mixup: Fraction = 0.0
    """Alpha of the beta distribution that mixes pairs of images and their targets; 0 turns it off."""

    @model_validator(mode="after")
    def _ranges_rise(self) -> "Augment":
        for name in ("zoom", "crop_area", "crop_aspect", "gamma"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(
                    f"augment.{name} must be above 0 and not fall, but goes from {low} to {high}"
                )
        if self.crop_area[1] > 1:
            raise ValueError(
                f"augment.crop_area = {list(self.crop_area)} exceeds the whole image; end it at 1"
            )
        return self


Metric = Literal["macro-auc", "loss"]


class Selection(Section):
    """Which weights become the bundle. Only validation data is used to choose them."""

    checkpoint: Literal["best", "last"] = "best"
    """The best epoch by `metric`, or the last one."""
    metric: Metric = "macro-auc"
    """Validation metric by which epochs are ranked."""
    operating_point: OperatingPointRule = "f1-optimal"
    """Rule that chooses the thresholds of the bundle."""


class EarlyStopping(Section):
    """Stop training when the validation metric has not improved for `patience` epochs."""

    metric: Metric = "macro-auc"
    """Validation metric to monitor."""
    patience: int = Field(5, ge=1)
    """Epochs without improvement after which training stops."""


class Training(Section):
    """The training loop."""

    epochs: int = Field(ge=1)
    """Passes over the training part, at most."""
    batch_size: int = Field(32, ge=2)
    """Images per step. The last, smaller batch of an epoch is skipped (each epoch is shuffled anew)."""
    seed: int = 0
    """Seed of every random draw and of the initial weights."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Arithmetic of the forward pass; auto is float32 on a CPU, and bfloat16 or float16 on a GPU."""
    determinism: Literal["exact", "fast"] = "exact"
    """exact: the same seed gives the same bytes on the same kind of machine. fast: the libraries' fastest
    algorithms."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Whether net and augmentation are compiled with torch.compile, which takes minutes at the start; auto:
    on a GPU, if the run is long enough to benefit."""
    gradient_clip: float | None = Field(None, gt=0)
    """Largest norm of the gradient; a larger one is scaled down to it."""
    ema: float | None = Field(None, gt=0, lt=1)
    """Decay per step of the exponential moving average of the weights, which is validated and kept."""
    sync_batch_norm: bool = False
    """Whether batch norm takes its statistics over the images of all processes, as one process does;
    otherwise each process normalizes with those of its own images. Nothing changes with one process."""
    checkpoint_minutes: float = Field(5.0, ge=0)
    """Longest time between checkpoints inside an epoch."""


class Recipe(Section):
    """Every setting of a training run; everything it depends on apart from the images."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    """The NAME of `thorax train NAME`."""
    summary: str
    """One line for the list of recipes."""
    source: str = ""
    """Where the settings come from."""
    cost: str = ""
    """Time that a run takes, and the machine on which it was measured."""
    data: Data = Data()
    store: Preparation = Preparation()
    """The preparation of the store that the recipe needs."""
    model: Network
    augment: Augment = Augment()
    freeze: Freeze = Freeze()
    loss: Loss = Bce()
    optim: Optim = AdamW()
    schedule: Schedule = Constant()
    training: Training
    selection: Selection = Selection()
    early_stopping: EarlyStopping | None = None
    test_time: TestTime = TestTime()
    """Test-time augmentation of the trained net."""

    @model_validator(mode="before")
    @classmethod
    def _kinds_by_default(cls, values: Any) -> Any:
        """Let `optim.lr` without a kind apply to the default optimizer; likewise for loss and schedule."""
        if not isinstance(values, dict):
            return values
        sections = {name: values.get(name) for name in ("loss", "optim", "schedule")}
        return values | {
            name: {"kind": cls.model_fields[name].default.kind, **section}
            for name, section in sections.items()
            if isinstance(section, dict)
        }

    @model_validator(mode="after")
    def _weights_fit_findings(self) -> "Recipe":
        if isinstance(self.loss, WeightedBce | BalancedBce):
            findings = self.data.finding_tuple()
            for name in ("positive_weights", "negative_weights"):
                weights = getattr(self.loss, name)
                if weights is not None and len(weights) != len(findings):
                    raise ValueError(
                        f"loss.{name} has {len(weights)} values for {len(findings)} findings; give one for "
                        f"each of data.findings, in this order: {', '.join(map(str, findings))}"
                    )
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> "Recipe":
        if self.model.input_size > self.store.size:
            raise ValueError(
                f"model.input_size ({self.model.input_size}) is larger than store.size ({self.store.size}); "
                "raise store.size and prepare a store of that size"
            )
        if self.schedule.warmup_epochs >= self.training.epochs:
            raise ValueError(
                f"schedule.warmup_epochs ({self.schedule.warmup_epochs}) must be below "
                f"training.epochs ({self.training.epochs}); lower schedule.warmup_epochs too, for example "
                f"with schedule.warmup_epochs={min(1, self.training.epochs - 1)}, or raise training.epochs"
            )
        late = [epoch for epoch in self.freeze.unfreeze_epochs if epoch >= self.training.epochs]
        if late:
            raise ValueError(
                f"freeze.unfreeze_epochs = {late} must be below training.epochs ({self.training.epochs})"
            )
        return self
