"""Prediction: what a bundle says about one radiograph."""

from dataclasses import dataclass
from typing import Any

from thorax.findings import Finding

__all__ = ["FindingPrediction", "ModelIdentity", "Prediction"]


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which model spoke: enough to find the run that made it.

    Attributes:
        name: The recipe's name.
        bundle_sha256: SHA-256 of the bundle's manifest.
        calibrated: Whether the probabilities passed a calibration fitted for this exact pipeline.
    """

    name: str
    bundle_sha256: str
    calibrated: bool


@dataclass(frozen=True, slots=True)
class FindingPrediction:
    """One finding of one radiograph.

    Attributes:
        finding: The finding.
        probability: In [0, 1].
        threshold: The operating point's threshold, None where the bundle has none for it.
    """

    finding: Finding
    probability: float
    threshold: float | None

    @property
    def positive(self) -> bool | None:
        """Whether the probability reaches the threshold; None without a threshold."""
        return None if self.threshold is None else self.probability >= self.threshold


@dataclass(frozen=True, slots=True)
class Prediction:
    """All findings of one radiograph.

    Attributes:
        source: The path or name that was given.
        findings: One entry per finding of the model, in its order.
        operating_point: Name of the rule that chose the thresholds, or "" without any.
        model: Which model spoke.
        warnings: What a reader must know, for example that the view is lateral.
    """

    source: str
    findings: tuple[FindingPrediction, ...]
    operating_point: str
    model: ModelIdentity
    warnings: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return plain values for JSON, keyed by finding name."""
        return {
            "source": self.source,
            "findings": {
                each.finding.name: {
                    "probability": each.probability,
                    "threshold": each.threshold,
                    "positive": each.positive,
                }
                for each in self.findings
            },
            "operating_point": self.operating_point,
            "model": {
                "name": self.model.name,
                "bundle_sha256": self.model.bundle_sha256,
                "calibrated": self.model.calibrated,
            },
            "warnings": list(self.warnings),
        }
