"""How often a model was right: at its thresholds on validation, and with its maps on images with boxes."""

from pydantic import Field, model_validator

from thorax.image_set import ImageSet
from thorax.recipe.sections import Fraction, Section

__all__ = ["FindingRates", "HitRate", "HitRates", "MeasuredRates", "Share"]


class Share(Section):
    """A share of images, with its 95 % interval by patient."""

    value: Fraction
    low: Fraction
    high: Fraction
    matching: int = Field(ge=0)
    """Images that count."""
    images: int = Field(ge=1)
    """Images of which they are a share."""
    patients: int = Field(ge=1)
    """Patients with one of these images."""

    @model_validator(mode="after")
    def _consistent(self) -> "Share":
        if not (self.matching <= self.images and self.patients <= self.images):
            raise ValueError(
                f"{self.matching} of {self.images} images of {self.patients} patients is not a share"
            )
        if not self.low <= self.value <= self.high:
            raise ValueError(f"{self.value} is not between {self.low} and {self.high}")
        return self


class FindingRates(Section):
    """How often one finding was called, apart where it was present and where it was absent."""

    sensitivity: Share | None
    """Called, of the images with the finding; None without such an image or without a threshold."""
    specificity: Share | None
    """Not called, of the images without it; None likewise."""


class MeasuredRates(Section):
    """Sensitivity and specificity at the thresholds of a model.

    If the images also chose the thresholds, the rates flatter a little.
    """

    findings: dict[str, FindingRates]
    """By finding."""
    measured_on: ImageSet


class HitRate(Section):
    """How often maps have their maximum in a box, with the 95 % interval by patient."""

    value: Fraction
    low: Fraction | None
    """None, as for `high`, where there are too few patients for an interval."""
    high: Fraction | None
    boxes: int = Field(ge=1)
    """Boxed findings in images; if several places share the maximum, each counts equally."""
    patients: int = Field(ge=1)


class HitRates(Section):
    """How often the maps of one method point at what they are of."""

    method: str
    findings: dict[str, HitRate]
    """By finding, for those that have boxes."""
    pooled: HitRate
    """Over all boxes."""
    measured_on: ImageSet
