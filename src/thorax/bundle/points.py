"""Thresholds of a bundle, and how often they were right on validation."""

from typing import Any, Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer, model_validator

from thorax.image_set import ImageSet
from thorax.rates import MeasuredRates
from thorax.recipe.literals import OperatingPointRule
from thorax.recipe.sections import Fraction, Section

__all__ = ["OperatingPoints"]


class OperatingPoints(Section):
    """Thresholds on the bundle's probabilities."""

    rule: OperatingPointRule | Literal["source"]
    """How they were chosen; "source" means that they came with an imported checkpoint."""
    thresholds: dict[str, Fraction | None]
    """By finding; None if there is none, for example because validation had no positives."""
    chosen_on: ImageSet | None
    """None for the rule one-half and for those of a source, which were not chosen on images of ours."""
    measured: MeasuredRates | None = None
    """How often they were right on validation; None in bundles made before it was kept."""

    @model_serializer(mode="wrap")
    def _without_absent_rates(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        return written if self.measured else {name: written[name] for name in written if name != "measured"}

    @model_validator(mode="after")
    def _rates_fit(self) -> "OperatingPoints":
        unknown = sorted(self.measured.findings.keys() - self.thresholds.keys()) if self.measured else []
        if unknown:
            raise ValueError(f"rates of {', '.join(unknown)} need a threshold")
        return self
