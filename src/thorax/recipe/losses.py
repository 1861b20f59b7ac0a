"""Losses that a recipe can name. Each counts known labels only; `thorax.training.losses` computes them."""

from typing import Annotated, Literal

from pydantic import Field

from thorax.recipe.section import Fraction, Section

__all__ = ["Asymmetric", "AucMargin", "BalancedBce", "Bce", "Focal", "Loss", "WeightedBce"]


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
