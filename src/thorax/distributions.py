"""How a model's probabilities and its gate's scores were distributed on validation, for monitoring."""

from collections.abc import Callable
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from thorax.image_set import ImageSet
from thorax.recipe.sections import Fraction, Section

__all__ = [
    "GATE_SCORES",
    "CountedShare",
    "FindingDistribution",
    "GateDistribution",
    "GateScoreName",
    "Histogram",
    "ValidationDistribution",
]

GateScoreName = Literal["upright", "unlike", "mirrored"]

GATE_SCORES: Final[tuple[GateScoreName, ...]] = ("upright", "unlike", "mirrored")
"""The scores of an input gate, as `inference.gate_scores` has them."""

_MOST_BINS: Final = 100


class Histogram(Section):
    """Counts of images in bins of a number.

    Bin 0 holds what is below the first edge, the last bin what reaches the last edge, and a bin between what
    reaches its lower edge and is below its upper one.
    """

    edges: tuple[float, ...] = Field(min_length=1, max_length=_MOST_BINS)
    """Ascending."""
    counts: tuple[int, ...]
    """One more than there are edges."""
    design_effect: float = Field(default=1.0, ge=1)
    """How many images weigh as much as one of another patient, since images of a patient resemble each
    other: 1 if each patient has one image."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.counts) != len(self.edges) + 1 or min(self.counts) < 0 or not sum(self.counts):
            raise ValueError("a histogram has one count more than edges, and counts something")
        if any(low >= high for low, high in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError("the edges of a histogram ascend")
        return self

    @property
    def total(self) -> int:
        """Number of images."""
        return sum(self.counts)

    def moved(self, move: Callable[[float], float]) -> "Histogram":
        """Return the histogram of numbers that an ascending function makes of these."""
        return self.model_copy(update={"edges": tuple(map(move, self.edges))})


class CountedShare(Section):
    """Of how many images something is true."""

    count: int = Field(ge=0)
    of: int = Field(ge=1)
    design_effect: float = Field(default=1.0, ge=1)
    """As in `Histogram`."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.count > self.of:
            raise ValueError(f"{self.count} of {self.of} images is not a share")
        return self

    @property
    def value(self) -> float:
        """The share."""
        return self.count / self.of


class FindingDistribution(Section):
    """How one finding was predicted."""

    probabilities: Histogram
    """Calibrated probabilities."""
    threshold: Fraction | None
    """The operating point; None without one."""
    positive: CountedShare | None
    """Images whose probability reaches it; None likewise."""
    prevalence: Fraction | None
    """Share of the images with a known label that have the finding; None if no label is known."""
    sensitivity: Fraction | None
    """At the threshold, on these images; None without a threshold or an image with the finding."""
    specificity: Fraction | None
    """Likewise, without an image without it."""

    def moved(self, move: Callable[[float], float]) -> "FindingDistribution":
        """Return how it is predicted by probabilities that an ascending function makes of these."""
        threshold = None if self.threshold is None else move(self.threshold)
        return self.model_copy(
            update={"probabilities": self.probabilities.moved(move), "threshold": threshold}
        )

    @model_validator(mode="after")
    def _threshold_fits(self) -> Self:
        if (self.threshold is None) != (self.positive is None):
            raise ValueError("a threshold has a share of images that reach it, and the share a threshold")
        return self


class GateDistribution(Section):
    """What the input gate said."""

    upright: Histogram
    unlike: Histogram
    mirrored: Histogram
    held_back: CountedShare
    warned: CountedShare
    """Images that pass with a warning."""

    def score(self, name: str) -> Histogram:
        """Return the distribution of a score, one of `GATE_SCORES`."""
        return {"upright": self.upright, "unlike": self.unlike, "mirrored": self.mirrored}[name]


class ValidationDistribution(Section):
    """What a node's images are compared with."""

    measured_on: ImageSet
    findings: dict[str, FindingDistribution]
    """By finding, over the images that the gate lets pass."""
    gate: GateDistribution | None = None
    """Over all images; None for a bundle without a gate."""
