"""Frozen, typed sections of a recipe: preparation, model, test time, loss, optimizer and schedule."""

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
    "Network",
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
"""A fraction or a probability."""

Range = tuple[float, float]
"""Lower and upper end."""


class Section(BaseModel):
    """A section of a recipe or manifest. The text under a field is its help."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Preparation(Section):
    """How a radiograph becomes a square of uint8; recorded in every store and bundle."""

    size: int = Field(256, ge=32, le=2048)
    """Side of the prepared square in pixels."""
    fit: Fit = "pad"
    """How a radiograph that is not square is fitted."""


class Head(Section):
    """The head: from the backbone's features to one logit per finding."""

    pool: Literal["backbone", "lse", "attention", "convolutions"] = "backbone"
    """backbone: the backbone's own pooling (mostly the mean over locations); lse: log-sum-exp (Pinheiro and
    Collobert 2015); attention: each finding weights locations by its own probability there (PCAM, Ye et al.
    2020); convolutions: the mean over locations after convolutions with `hidden` channels, as in
    CustomDenseNet121: all 3 x 3 but the last, which is 1 x 1, norm and ReLU before each, the 2 x 2 mean after
    them."""
    lse_r: float = Field(10.0, gt=0)
    """Sharpness of log-sum-exp pooling: approaches the mean towards 0, the maximum towards infinity."""
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Sizes of hidden layers, each followed by ReLU; with `pool = "convolutions"`, their channels."""
    dropout: Fraction = 0.0
    """Dropout before each linear layer."""

    @model_validator(mode="after")
    def _convolutions_have_channels(self) -> "Head":
        if self.pool == "convolutions" and not self.hidden:
            raise ValueError(
                "model.head.pool = convolutions needs the channels of its convolutions; set "
                "model.head.hidden=[256,256,128], for example"
            )
        return self

    @model_validator(mode="after")
    def _attention_is_linear(self) -> "Head":
        if self.pool == "attention" and self.hidden:
            raise ValueError(
                f"model.head.hidden = {list(self.hidden)} does not go with model.head.pool = attention, "
                "whose weights come from its single linear layer; set model.head.hidden=[]"
            )
        return self


class Network(Section):
    """Backbone, head and input of the net."""

    backbone: str
    """Name of a timm model."""
    arguments: dict[str, bool | int | float | str | tuple[int, ...]] = Field(default_factory=dict)
    """Further keyword arguments of the backbone's constructor, such as layers and channels."""
    weights: str = "none"
    """Initial weights: none; timm (timm's default for the backbone); timm:TAG; file:PATH (safetensors); or
    bundle:PATH (the backbone of a bundle, whose patients then count as seen)."""
    channels: Literal[1, 3] = 1
    """Input channels; for three, the gray image is repeated."""
    input_size: int = Field(224, ge=32, le=1024)
    """Side of the net's input in pixels; at most the store's."""
    mean: tuple[float, ...] = (0.5,)
    """Mean of each input channel, for pixels in [0, 1]; a single value applies to all channels."""
    std: tuple[float, ...] = (0.25,)
    """Standard deviation of each input channel, for pixels in [0, 1]."""
    drop_path: Fraction = 0.0
    """Rate of stochastic depth, if the backbone supports it."""
    head: Head = Head()
    """The layers after the backbone."""

    @model_validator(mode="after")
    def _constants_fit_channels(self) -> "Network":
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in {1, self.channels}:
                raise ValueError(
                    f"model.{name} has {len(values)} values for {self.channels} channel(s); give one value, "
                    "or one per channel"
                )
        if min(self.std) <= 0:
            raise ValueError(f"model.std must be above 0, not {min(self.std)}")
        return self


class TestTime(Section):
    """Views of one image whose outputs are averaged: every scale, every crop of it, and its mirror image."""

    __test__ = False  # not a test class, despite its name

    flip: bool = False
    """Whether each view is also mirrored."""
    five_crops: bool = False
    """Whether the four corners and the center replace the whole image (with `flip`: ten-crop)."""
    crop_part: float = Field(0.875, gt=0, lt=1)
    """Side of such a crop as a fraction of the image's (224 of 256 pixels)."""
    scales: tuple[Annotated[float, Field(ge=0.5, le=2)], ...] = Field((1.0,), min_length=1, max_length=8)
    """Magnifications around the center; below 1 the image gets a black margin."""
    mean_of: MeanOf = "probabilities"
    """Whether probabilities or logits are averaged over the views."""

    @property
    def is_plain(self) -> bool:
        """Whether the only view is the unchanged image."""
        return not self.flip and not self.five_crops and self.scales == (1.0,)


class Bce(Section):
    """Binary cross-entropy, averaged over the known labels."""

    kind: Literal["bce"] = "bce"


ClassWeights = tuple[Annotated[float, Field(gt=0)], ...] | None
"""One weight for each finding, in the order of `data.findings`."""


class WeightedBce(Section):
    """Binary cross-entropy with positives weighted by the ratio of negatives to positives."""

    kind: Literal["weighted-bce"] = "weighted-bce"
    max_weight: float = Field(100.0, ge=1)
    """Upper limit of the weight, which is negatives / positives of the finding among training rows."""
    positive_weights: ClassWeights = None
    """Weights of your own for positives, one for each finding in order, instead of those ratios."""
    negative_weights: ClassWeights = None
    """Weights of your own for negatives, one for each finding in order, instead of 1."""


class BalancedBce(Section):
    """The sum over findings of the mean over images of -[w+ y log p + w- (1 - y) log(1 - p)].

    w+ is the share of negatives and w- that of positives of the finding among training rows, so that both
    classes have equal total weight (ChestXpert).
    """

    kind: Literal["balanced-bce"] = "balanced-bce"
    positive_weights: ClassWeights = None
    """Your own w+, one for each finding in order."""
    negative_weights: ClassWeights = None
    """Your own w-, one for each finding in order."""


class Focal(Section):
    """Cross-entropy times alpha (1 - p_t)^gamma, so that easy labels count less (Lin et al., ICCV 2017)."""

    kind: Literal["focal"] = "focal"
    alpha: float = Field(1.0, gt=0)
    """Factor on all labels, positive or negative."""
    gamma: float = Field(2.0, ge=0)
    """How fast easy labels lose weight; 0 is plain cross-entropy."""


class Asymmetric(Section):
    """Focal loss with a separate gamma for negatives, the easiest of which are ignored.

    Ridnik et al., ICCV 2021.
    """

    kind: Literal["asymmetric"] = "asymmetric"
    gamma_positive: float = Field(1.0, ge=0)
    """How fast easy positives lose weight."""
    gamma_negative: float = Field(4.0, ge=0)
    """How fast easy negatives lose weight."""
    clip: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Subtracted from the probability of negatives; those below it are ignored."""


class AucMargin(Section):
    """A surrogate for one minus the AUC: the squared-margin loss of Yuan et al. (ICCV 2021) in closed form.

    Findings without both classes in a batch do not contribute to this term.
    """

    kind: Literal["auc-margin"] = "auc-margin"
    margin: float = Field(1.0, gt=0)
    """Desired distance between the mean probabilities of positives and negatives."""
    bce_part: Fraction = 0.5
    """Weight of binary cross-entropy in the loss, from which findings with one class in the batch learn."""


Loss = Annotated[
    Bce | WeightedBce | BalancedBce | Focal | Asymmetric | AucMargin, Field(discriminator="kind")
]
"""Any loss."""

Beta = Annotated[float, Field(ge=0, lt=1)]


class _Optimizer(Section):
    lr: float = Field(1e-3, gt=0)
    """Peak learning rate, reached after warm-up."""
    weight_decay: float = Field(0.0, ge=0)
    """Weight decay."""
    decay_norms: bool = False
    """Whether biases and norms decay too, as in torch's optimizers by default."""
    layer_decay: float = Field(1.0, gt=0, le=1)
    """Factor on the learning rate for each layer away from the head."""


class Adam(_Optimizer):
    """Adam, with weight decay added to the gradient (L2)."""

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
    """Whether to use Nesterov momentum."""


Optim = Annotated[Adam | AdamW | Sgd, Field(discriminator="kind")]
"""Any optimizer."""


class _Schedule(Section):
    warmup_epochs: float = Field(0.0, ge=0)
    """Length of the linear warm-up from 0, in epochs (may be fractional)."""


class Constant(_Schedule):
    """A constant learning rate."""

    kind: Literal["constant"] = "constant"


class Cosine(_Schedule):
    """Half a cosine, from the peak down to `final` times the peak at the last step."""

    kind: Literal["cosine"] = "cosine"
    final: Fraction = 0.0
    """Learning rate at the end as a fraction of the peak."""


class WarmRestarts(_Schedule):
    """Cosines with restarts, each `factor` times as long as the previous one (SGDR)."""

    kind: Literal["warm-restarts"] = "warm-restarts"
    first_epochs: int = Field(10, ge=1)
    """Length of the first cosine in epochs (T_0)."""
    factor: int = Field(2, ge=1)
    """Length of each cosine relative to the previous one (T_mult)."""
    final: Fraction = 0.0
    """Learning rate at the end of each cosine as a fraction of the peak."""


class Plateau(_Schedule):
    """Multiply the rate by `factor` after more than `patience` epochs without a better validation loss.

    The loss is the recipe's own. As in torch's ReduceLROnPlateau, it is better if it falls by more than 1e-4
    of the best so far, and the rate stays where it would fall by at most 1e-8.
    """

    kind: Literal["plateau"] = "plateau"
    patience: int = Field(1, ge=0)
    """Epochs without improvement that are tolerated."""
    factor: float = Field(0.1, gt=0, lt=1)
    """Factor on the learning rate."""


Schedule = Annotated[Constant | Cosine | WarmRestarts | Plateau, Field(discriminator="kind")]
"""Any schedule."""
