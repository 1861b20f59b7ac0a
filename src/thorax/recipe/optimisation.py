"""Optimisers and learning-rate schedules that a recipe can name; `thorax.training.optim` computes them."""

from typing import Annotated, Literal

from pydantic import Field

from thorax.recipe.section import Fraction, Section

__all__ = ["Adam", "AdamW", "Constant", "Cosine", "Optim", "Plateau", "Schedule", "Sgd", "WarmRestarts"]

Beta = Annotated[float, Field(ge=0, lt=1)]


class _Optimiser(Section):
    lr: float = Field(1e-3, gt=0)
    """Peak learning rate, reached after warm-up."""
    weight_decay: float = Field(0.0, ge=0)
    """Weight decay."""
    decay_norms: bool = False
    """Whether biases and norms decay too, as torch's optimisers have it by default."""
    layer_decay: float = Field(1.0, gt=0, le=1)
    """Factor on the learning rate for each layer further from the head."""


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
"""One of the optimisers."""


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
