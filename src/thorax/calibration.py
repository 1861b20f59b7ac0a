"""Conversion between logits and probabilities: the only sigmoid, and the calibrations applied before it."""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float, Float64
from pydantic import Field, model_validator

from thorax.arrays import Probabilities, Scores
from thorax.image_set import ImageSet
from thorax.recipe.sections import Section

__all__ = ["Calibration", "Platt", "Temperature", "logit", "sigmoid"]

_FLOOR = 1e-9
"""Distance from 0 and 1 at which probabilities are clipped: rounded ones are 0 and 1 in files."""


def sigmoid(logits: Float[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    """Return 1 / (1 + exp(-logits)) in float64, without overflow."""
    small = np.exp(-np.abs(logits.astype(np.float64)))
    return np.asarray(np.where(logits >= 0, 1.0, small) / (1.0 + small))


def logit(
    probabilities: Float[np.ndarray, "*shape"], *, floor: float = _FLOOR
) -> Float64[np.ndarray, "*shape"]:
    """Return log(p / (1 - p)), with probabilities clipped to at least `floor` from 0 and 1."""
    clipped = np.clip(probabilities, floor, 1 - floor)
    return np.asarray(np.log(clipped) - np.log1p(-clipped), dtype=np.float64)


class Temperature(Section):
    """One temperature for all findings: the probability is sigmoid(logit / temperature)."""

    kind: Literal["temperature"] = "temperature"
    temperature: float = Field(gt=0)
    """Above 1 it moves probabilities toward one half."""
    fitted_on: ImageSet

    def __str__(self) -> str:
        return f"temperature {self.temperature:.3f}"

    def apply(self, logits: Scores, findings: Sequence[str]) -> Probabilities:  # noqa: ARG002 - not by finding
        """Return the calibrated probabilities (n, k) of logits (n, k); `findings` names the columns."""
        return sigmoid(np.asarray(logits / self.temperature))

    def inverse(
        self,
        probabilities: Probabilities,
        findings: Sequence[str],  # noqa: ARG002 - one temperature for all findings
    ) -> Float64[np.ndarray, "n k"]:
        """Return the logits (n, k) that `apply` turns into these probabilities, up to float64 precision."""
        return logit(probabilities) * self.temperature


class Platt(Section):
    """Platt scaling by finding: the probability is sigmoid(slope * logit + intercept)."""

    kind: Literal["platt"] = "platt"
    slopes: dict[str, Annotated[float, Field(gt=0)]]
    """By finding. Above 0, so that the ranking of images is unchanged."""
    intercepts: dict[str, float]
    """By finding."""
    kept: dict[str, str]
    """Findings that were not fitted, with the reason: their logits are unchanged (slope 1, intercept 0) or,
    for a site, calibrated as by the bundle itself."""
    fitted_on: ImageSet

    @model_validator(mode="after")
    def _same_findings(self) -> "Platt":
        if self.slopes.keys() != self.intercepts.keys():
            raise ValueError("the calibration needs one slope and intercept for each finding")
        return self

    def __str__(self) -> str:
        return f"Platt scaling of {self.num_fitted} of {len(self.slopes)} findings"

    @property
    def num_fitted(self) -> int:
        """Number of findings with a fitted slope and intercept."""
        return len(self.slopes) - len(self.kept)

    def apply(self, logits: Scores, findings: Sequence[str]) -> Probabilities:
        """Return the calibrated probabilities (n, k) of logits (n, k); `findings` names the columns."""
        slopes, intercepts = self._columns(findings)
        return sigmoid(np.asarray(logits * slopes + intercepts))

    def inverse(self, probabilities: Probabilities, findings: Sequence[str]) -> Float64[np.ndarray, "n k"]:
        """Return the logits (n, k) that `apply` turns into these probabilities, up to float64 precision."""
        slopes, intercepts = self._columns(findings)
        return np.asarray((logit(probabilities) - intercepts) / slopes)

    def _columns(
        self, findings: Sequence[str]
    ) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
        slopes = np.array([self.slopes[name] for name in findings], dtype=np.float64)
        return slopes, np.array([self.intercepts[name] for name in findings], dtype=np.float64)


Calibration = Annotated[Temperature | Platt, Field(discriminator="kind")]
"""The step between a pipeline's logits and the sigmoid."""
