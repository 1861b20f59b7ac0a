"""What a recipe can say: frozen, typed sections.

The text under a field is its help. Unknown keys are errors, and what must fit together is checked
once, here. A component takes its own section, or plain numbers; never the whole recipe.
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
    Model,
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
    "Model",
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
    """Which images and labels are used."""

    findings: Literal["NIH14", "NIH15"] | tuple[str, ...] = "NIH14"
    """The findings to learn, by name, in the order of the model's outputs."""
    split: str = "nih-official"
    """Name of a registered split, or file:PATH."""
    views: tuple[Literal["PA", "AP"], ...] = ()
    """Keep only these views; empty keeps every image."""
    uncertain: Literal["ignore", "positive", "negative"] = "ignore"
    """What an uncertain label means to training."""
    sample: int | None = Field(None, ge=1)
    """Learn from this many images of the data set (training and validation keep those of them that are
    theirs; the test part stays whole). Which ones is decided by a hash of their names, never by labels."""

    def finding_tuple(self) -> Findings:
        """Return the findings of this section in order."""
        return parse_findings(self.findings)


class Freeze(Section):
    """Which parts of the backbone learn, and from when. The head always does.

    Stages are named as the net has them: stem, stage1, stage2 ... from the image to the head, and norm where
    a normalization of its own follows. What is frozen keeps its weights and its batch statistics.
    """

    trained: tuple[str, ...] | None = None
    """Stages that learn from the start; none given: all of them."""
    unfreeze_epochs: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """At the end of each of these epochs the frozen stage nearest to the head begins to learn."""

    @model_validator(mode="after")
    def _epochs_rise(self) -> "Freeze":
        if list(self.unfreeze_epochs) != sorted(set(self.unfreeze_epochs)):
            raise ValueError(f"freeze.unfreeze_epochs must rise, not be {list(self.unfreeze_epochs)}")
        if self.unfreeze_epochs and self.trained is None:
            raise ValueError("freeze.unfreeze_epochs needs freeze.trained: without it nothing is frozen")
        return self


class Augment(Section):
    """What is drawn for each training image: one affine map, then gray values. All zero: none."""

    flip: Fraction = 0.0
    """Probability of a left-right mirror image."""
    rotate: float = Field(0.0, ge=0, le=180)
    """Largest rotation in degrees, either way."""
    translate: Fraction = 0.0
    """Largest shift along each axis, as a part of the side."""
    shear: float = Field(0.0, ge=0, le=60)
    """Largest shear of the columns in degrees, either way."""
    zoom: Range = (1.0, 1.0)
    """Range of the magnification, drawn evenly in its logarithm."""
    crop_area: Range = (1.0, 1.0)
    """Range of the part of the image's area that is cropped and resized to the net's input."""
    crop_aspect: Range = (1.0, 1.0)
    """Range of the crop's width over its height, drawn evenly in its logarithm."""
    gain: Fraction = 0.0
    """Largest relative change of all pixels, either way (torchvision's brightness jitter)."""
    brightness: Fraction = 0.0
    """Largest change added to pixels in [0, 1], either way."""
    contrast: Fraction = 0.0
    """Largest relative change of contrast about the image's mean, either way."""
    gamma: Range = (1.0, 1.0)
    """Range of the exponent on pixels in [0, 1], drawn evenly in its logarithm."""
    erase: Fraction = 0.0
    """Probability that one rectangle of 2 to 20 % of the area becomes the image's mean."""
    mixup: Fraction = 0.0
    """Alpha of the beta distribution that mixes pairs of images and their targets; 0 mixes none."""

    @model_validator(mode="after")
    def _ranges_rise(self) -> "Augment":
        for name in ("zoom", "crop_area", "crop_aspect", "gamma"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"augment.{name} must rise from above 0, not go from {low} to {high}")
        if self.crop_area[1] > 1:
            raise ValueError(f"augment.crop_area = {list(self.crop_area)} is more than the image; end at 1")
        return self


Metric = Literal["macro-auc", "loss"]


class Selection(Section):
    """Which weights become the bundle. Only validation data is ever looked at."""

    checkpoint: Literal["best", "last"] = "best"
    """The best epoch by `metric`, or the last one."""
    metric: Metric = "macro-auc"
    """Validation metric that orders the epochs."""
    operating_point: OperatingPointRule = "f1-optimal"
    """How the thresholds of the bundle are chosen."""


class EarlyStopping(Section):
    """Stops when the validation metric has not improved for `patience` epochs."""

    metric: Metric = "macro-auc"
    """Validation metric that is watched."""
    patience: int = Field(5, ge=1)
    """Epochs without improvement that are borne."""


class Training(Section):
    """The loop."""

    epochs: int = Field(ge=1)
    """Passes over the training part, at most."""
    batch_size: int = Field(32, ge=2)
    """Images per step. The last, smaller batch of an epoch is left out (and drawn anew in the next)."""
    seed: int = 0
    """Seed of every draw and of the first weights."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Arithmetic of the forward pass; auto is float32 on a CPU, on a GPU the best it has."""
    determinism: Literal["exact", "fast"] = "exact"
    """exact: same seed, same bytes on the same kind of machine. fast: as the libraries like it."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Whether torch.compile makes few kernels of net and augmentation, which takes minutes at the start;
    auto: on a GPU, where the run is long enough to gain by it."""
    gradient_clip: float | None = Field(None, gt=0)
    """Largest norm of the gradient; longer ones are shortened."""
    ema: float | None = Field(None, gt=0, lt=1)
    """Decay per step of the exponential moving average of the weights that is validated and kept."""
    checkpoint_minutes: float = Field(5.0, ge=0)
    """Longest time between checkpoints inside an epoch."""


class Recipe(Section):
    """Everything that a training run depends on, apart from the images."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    """What `thorax train NAME` calls it."""
    summary: str
    """One line for the list of recipes."""
    source: str = ""
    """Where the settings come from."""
    cost: str = ""
    """What a run takes, and on which machine that was measured."""
    data: Data = Data()
    store: Preparation = Preparation()
    """The store that the recipe wants."""
    model: Model
    augment: Augment = Augment()
    freeze: Freeze = Freeze()
    loss: Loss = Bce()
    optim: Optim = AdamW()
    schedule: Schedule = Constant()
    training: Training
    selection: Selection = Selection()
    early_stopping: EarlyStopping | None = None
    test_time: TestTime = TestTime()
    """How the trained net is asked."""

    @model_validator(mode="before")
    @classmethod
    def _kinds_by_default(cls, values: Any) -> Any:
        """Let `optim.lr` alone mean the default optimizer's, and so for losses and schedules."""
        if not isinstance(values, dict):
            return values
        sections = {name: values.get(name) for name in ("loss", "optim", "schedule")}
        return values | {
            name: {"kind": cls.model_fields[name].default.kind, **section}
            for name, section in sections.items()
            if isinstance(section, dict)
        }

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
                f"training.epochs ({self.training.epochs})"
            )
        late = [epoch for epoch in self.freeze.unfreeze_epochs if epoch >= self.training.epochs]
        if late:
            raise ValueError(
                f"freeze.unfreeze_epochs = {late} must be below training.epochs ({self.training.epochs})"
            )
        return self
