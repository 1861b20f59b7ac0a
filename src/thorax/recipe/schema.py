"""What a recipe can say: frozen, typed sections.

The text under a field is its help. Unknown keys are errors, and what must fit together is checked
once, here. A component takes its own section, or plain numbers; never the whole recipe.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from thorax.findings import Findings, parse_findings

__all__ = [
    "Adam",
    "AdamW",
    "Augment",
    "Bce",
    "Constant",
    "Cosine",
    "Data",
    "EarlyStopping",
    "Fit",
    "Model",
    "Optim",
    "Plateau",
    "Preparation",
    "Recipe",
    "Schedule",
    "Section",
    "Selection",
    "Sgd",
    "Training",
    "WarmRestarts",
]

Fit = Literal["pad", "crop", "stretch"]
"""How a radiograph that is not square becomes one: black bars, the centre, or distortion."""

Fraction = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Range = tuple[float, float]


class Section(BaseModel):
    """A part of a recipe or manifest: frozen, and closed to keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class Preparation(Section):
    """How a radiograph becomes a square of uint8: travels with every store and bundle."""

    size: int = Field(256, ge=32, le=2048)
    """Side of the prepared square in pixels."""
    fit: Fit = "pad"
    """What happens to a radiograph that is not square."""


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

    def finding_tuple(self) -> Findings:
        """Return the findings of this section in order."""
        return parse_findings(self.findings)


class Model(Section):
    """Backbone, head and the net's input."""

    backbone: str
    """Any model name that timm knows."""
    arguments: dict[str, bool | int | float | str | tuple[int, ...]] = {}
    """Further keyword arguments of the backbone's constructor, for example layers and channels."""
    weights: str = "none"
    """none; timm (what timm publishes under the backbone's name); timm:TAG; or file:PATH (safetensors)."""
    channels: Literal[1, 3] = 1
    """Input channels; a grey image is repeated for three."""
    input_size: int = Field(224, ge=32, le=1024)
    """Side of the net's input in pixels; at most the store's."""
    mean: tuple[float, ...] = (0.5,)
    """Mean of each input channel, for pixels in [0, 1]; one value serves all channels."""
    std: tuple[float, ...] = (0.25,)
    """Standard deviation of each input channel, for pixels in [0, 1]."""
    dropout: Fraction = 0.0
    """Dropout before the head."""
    drop_path: Fraction = 0.0
    """Stochastic depth, where the backbone has it."""

    @model_validator(mode="after")
    def _constants_fit_channels(self) -> "Model":
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in {1, self.channels}:
                raise ValueError(f"model.{name} has {len(values)} values for {self.channels} channel(s)")
        if min(self.std) <= 0:
            raise ValueError(f"model.std must be above 0, not {min(self.std)}")
        return self


class Augment(Section):
    """What is drawn for each training image: one affine map, then grey values. All zero: none."""

    flip: Fraction = 0.0
    """Probability of a left-right mirror image."""
    rotate: float = Field(0.0, ge=0, le=180)
    """Largest rotation in degrees, either way."""
    translate: Fraction = 0.0
    """Largest shift along each axis, as a part of the side."""
    zoom: Range = (1.0, 1.0)
    """Range of the magnification, drawn evenly in its logarithm."""
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
        for name, (low, high) in (("zoom", self.zoom), ("gamma", self.gamma)):
            if not 0 < low <= high:
                raise ValueError(f"augment.{name} must rise from above 0, not go from {low} to {high}")
        return self


class Bce(Section):
    """Binary cross-entropy, the mean over the labels that are known."""

    kind: Literal["bce"] = "bce"


class _Optimiser(Section):
    lr: float = Field(1e-3, gt=0)
    """Peak learning rate, reached after warm-up."""
    weight_decay: float = Field(0.0, ge=0)
    """Weight decay; biases and norms are spared."""


class Adam(_Optimiser):
    """Adam, its weight decay added to the gradient (L2)."""

    kind: Literal["adam"] = "adam"
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Decay of the two moments."""


class AdamW(_Optimiser):
    """Adam with decoupled weight decay."""

    kind: Literal["adamw"] = "adamw"
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Decay of the two moments."""


class Sgd(_Optimiser):
    """Stochastic gradient descent."""

    kind: Literal["sgd"] = "sgd"
    momentum: Fraction = 0.9
    """Momentum."""
    nesterov: bool = True
    """Nesterov's variant."""


Optim = Annotated[Adam | AdamW | Sgd, Field(discriminator="kind")]


class _Schedule(Section):
    warmup_epochs: float = Field(0.0, ge=0)
    """Linear warm-up from 0, in epochs (parts of one are fine)."""


class Constant(_Schedule):
    """The peak learning rate throughout."""

    kind: Literal["constant"] = "constant"


class Cosine(_Schedule):
    """Half a cosine from the peak down to `final` of it at the last step."""

    kind: Literal["cosine"] = "cosine"
    final: Fraction = 0.0
    """Learning rate at the end as a part of the peak."""


class WarmRestarts(_Schedule):
    """Cosines that start again, each `factor` times as long as the one before (SGDR)."""

    kind: Literal["warm-restarts"] = "warm-restarts"
    first_epochs: int = Field(10, ge=1)
    """Length of the first cosine in epochs (T_0)."""
    factor: int = Field(2, ge=1)
    """How much longer each next one is (T_mult)."""
    final: Fraction = 0.0
    """Learning rate at the end of each cosine as a part of the peak."""


class Plateau(_Schedule):
    """Times `factor` after more than `patience` epochs without a better validation loss."""

    kind: Literal["plateau"] = "plateau"
    patience: int = Field(1, ge=0)
    """Epochs without improvement that are borne."""
    factor: float = Field(0.1, gt=0, lt=1)
    """What the learning rate is then multiplied by."""


Schedule = Annotated[Constant | Cosine | WarmRestarts | Plateau, Field(discriminator="kind")]

Metric = Literal["macro-auc", "loss"]


class Selection(Section):
    """Which weights become the bundle. Only validation data is ever looked at."""

    checkpoint: Literal["best", "last"] = "best"
    """The best epoch by `metric`, or the last one."""
    metric: Metric = "macro-auc"
    """Validation metric that orders the epochs."""


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
    loss: Bce = Bce()
    optim: Optim = AdamW()
    schedule: Schedule = Constant()
    training: Training
    selection: Selection = Selection()
    early_stopping: EarlyStopping | None = None

    @model_validator(mode="before")
    @classmethod
    def _kinds_by_default(cls, values: Any) -> Any:
        """Let `optim.lr` alone mean the default optimiser's, and so for schedules."""
        if not isinstance(values, dict):
            return values
        sections = {name: values.get(name) for name in ("optim", "schedule")}
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
        return self
