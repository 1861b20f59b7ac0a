"""Typed, frozen sections of a recipe: the net, its losses, its optimizer and schedule."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from thorax.recipe.literals import Fit, MeanOf

__all__ = [
    "Adam",
    "AdamW",
    "Asymmetric",
    "AucMargin",
    "BalancedBce",
    "Bce",
    "Constant",
    "Cosine",
    "Focal",
    "Fraction",
    "Head",
    "Loss",
    "Model",
    "Optim",
    "Plateau",
    "Preparation",
    "Range",
    "Schedule",
    "Section",
    "Sgd",
    "TestTime",
    "WarmRestarts",
    "WeightedBce",
]

Fraction = Annotated[float, Field(ge=0, le=1)]
"""A part of a whole, or a probability."""

Range = tuple[float, float]
"""From, to."""


class Section(BaseModel):
    """A part of a recipe or manifest. The text under a field is its help."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Preparation(Section):
    """How a radiograph becomes a square of uint8: travels with every store and bundle."""

    size: int = Field(256, ge=32, le=2048)
    """Side of the prepared square in pixels."""
    fit: Fit = "pad"
    """What happens to a radiograph that is not square."""


class Head(Section):
    """From the backbone's features to one logit per finding."""

    pool: Literal["backbone", "lse", "attention"] = "backbone"
    """backbone: as the backbone pools (mostly the mean over places); lse: log-sum-exp (Pinheiro and
    Collobert 2015); attention: each finding weighs places by its own probability there (PCAM, Ye et al.
    2020)."""
    lse_r: float = Field(10.0, gt=0)
    """Sharpness of log-sum-exp pooling: towards 0 it is the mean, towards infinity the maximum."""
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Sizes of hidden layers, each followed by ReLU."""
    dropout: Fraction = 0.0
    """Dropout before each linear layer."""

    @model_validator(mode="after")
    def _attention_is_linear(self) -> "Head":
        if self.pool == "attention" and self.hidden:
            raise ValueError(
                f"model.head.hidden = {list(self.hidden)} does not go with pool attention, whose weights are "
                "those of its one linear layer; set model.head.hidden=[]"
            )
        return self


class Model(Section):
    """Backbone, head and the net's input."""

    backbone: str
    """Any model name that timm knows."""
    arguments: dict[str, bool | int | float | str | tuple[int, ...]] = Field(default_factory=dict)
    """Further keyword arguments of the backbone's constructor, for example layers and channels."""
    weights: str = "none"
    """none; timm (what timm publishes under the backbone's name); timm:TAG; file:PATH (safetensors); or
    bundle:PATH (the backbone of a bundle, whose patients then count as seen)."""
    channels: Literal[1, 3] = 1
    """Input channels; a gray image is repeated for three."""
    input_size: int = Field(224, ge=32, le=1024)
    """Side of the net's input in pixels; at most the store's."""
    mean: tuple[float, ...] = (0.5,)
    """Mean of each input channel, for pixels in [0, 1]; one value serves all channels."""
    std: tuple[float, ...] = (0.25,)
    """Standard deviation of each input channel, for pixels in [0, 1]."""
    drop_path: Fraction = 0.0
    """Stochastic depth, where the backbone has it."""
    head: Head = Head()
    """What follows the backbone."""

    @model_validator(mode="after")
    def _constants_fit_channels(self) -> "Model":
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in {1, self.channels}:
                raise ValueError(f"model.{name} has {len(values)} values for {self.channels} channel(s)")
        if min(self.std) <= 0:
            raise ValueError(f"model.std must be above 0, not {min(self.std)}")
        return self


class TestTime(Section):
    """Views of one image whose outputs are averaged: each scale, of it each crop, of it the mirror image."""

    __test__ = False  # no class of tests, whatever its name begins with

    flip: bool = False
    """Whether each view is also seen mirrored."""
    five_crops: bool = False
    """Whether the four corners and the center are seen instead of the whole (with `flip`: ten-crop)."""
    crop_part: float = Field(0.875, gt=0, lt=1)
    """Side of such a crop as a part of the image's (224 of 256 pixels)."""
    scales: tuple[Annotated[float, Field(ge=0.5, le=2)], ...] = Field((1.0,), min_length=1, max_length=8)
    """Magnifications about the center; below 1 the image gets a black margin."""
    mean_of: MeanOf = "probabilities"
    """What is averaged over the views."""

    @property
    def is_plain(self) -> bool:
        """Whether there is one view: the whole image as it is."""
        return not self.flip and not self.five_crops and self.scales == (1.0,)


class Bce(Section):
    """Binary cross-entropy, the mean over the labels that are known."""

    kind: Literal["bce"] = "bce"


class WeightedBce(Section):
    """Binary cross-entropy whose positives weigh as many times more as negatives are more frequent."""

    kind: Literal["weighted-bce"] = "weighted-bce"
    max_weight: float = Field(100.0, ge=1)
    """Largest weight of a positive; else it is negatives / positives of the finding among training rows."""


class BalancedBce(Section):
    """The sum over findings of the mean over images of -[w+ y log p + w- (1 - y) log(1 - p)].

    w+ is the part of negatives and w- the part of positives of the finding among training rows, so that both
    classes weigh the same (ChestXpert).
    """

    kind: Literal["balanced-bce"] = "balanced-bce"


class Focal(Section):
    """Cross-entropy times alpha (1 - p_t)^gamma: what is easy counts less (Lin et al., ICCV 2017)."""

    kind: Literal["focal"] = "focal"
    alpha: float = Field(1.0, gt=0)
    """Factor on every label, positive or negative."""
    gamma: float = Field(2.0, ge=0)
    """How fast easy labels lose weight; 0 is plain cross-entropy."""


class Asymmetric(Section):
    """Focal loss with its own gamma for negatives, the easiest of which count nothing.

    Ridnik et al., ICCV 2021.
    """

    kind: Literal["asymmetric"] = "asymmetric"
    gamma_positive: float = Field(1.0, ge=0)
    """How fast easy positives lose weight."""
    gamma_negative: float = Field(4.0, ge=0)
    """How fast easy negatives lose weight."""
    clip: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Taken from the probability of negatives: those below it count nothing."""


class AucMargin(Section):
    """A surrogate of one minus the AUC: the squared-margin loss of Yuan et al. (ICCV 2021) in closed form.

    A finding without both classes in a batch adds nothing to this part.
    """

    kind: Literal["auc-margin"] = "auc-margin"
    margin: float = Field(1.0, gt=0)
    """How far the mean probability of positives should lie above that of negatives."""
    bce_part: Fraction = 0.5
    """Part of binary cross-entropy in the loss, from which findings learn that the batch has one class of."""


Loss = Annotated[
    Bce | WeightedBce | BalancedBce | Focal | Asymmetric | AucMargin, Field(discriminator="kind")
]
"""One of the losses."""

Beta = Annotated[float, Field(ge=0, lt=1)]


class _Optimizer(Section):
    lr: float = Field(1e-3, gt=0)
    """Peak learning rate, reached after warm-up."""
    weight_decay: float = Field(0.0, ge=0)
    """Weight decay."""
    decay_norms: bool = False
    """Whether biases and norms decay too, as torch's optimizers have it by default."""
    layer_decay: float = Field(1.0, gt=0, le=1)
    """Factor on the learning rate for each layer further from the head."""


class Adam(_Optimizer):
    """Adam, its weight decay added to the gradient (L2)."""

    kind: Literal["adam"] = "adam"
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Decay of the two moments."""


class AdamW(_Optimizer):
    """Adam with decoupled weight decay."""

    kind: Literal["adamw"] = "adamw"
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Decay of the two moments."""


class Sgd(_Optimizer):
    """Stochastic gradient descent."""

    kind: Literal["sgd"] = "sgd"
    momentum: Fraction = 0.9
    """Momentum."""
    nesterov: bool = True
    """Nesterov's variant."""


Optim = Annotated[Adam | AdamW | Sgd, Field(discriminator="kind")]
"""One of the optimizers."""


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
"""One of the schedules."""
