"""Calibration on trial: what one temperature, or Platt's scaling of each finding, makes of probabilities.

Both are fitted on validation and looked at on the part that is reported, beside the probabilities as they
are. Fitted on the reported part itself they would seem to help whatever they are: that is refused, or marked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

import numpy as np

from thorax.arrays import Probabilities, Targets
from thorax.errors import DataError
from thorax.evaluation.calibration import Platt, fit_platt, fit_temperature, platt_logits, to_logits
from thorax.evaluation.threshold_sets import TUNED_MARK, ChosenOn, is_tuned

__all__ = ["Recalibrated", "Recalibration", "fit_recalibrations", "recalibrate"]

Kind = Literal["none", "temperature", "platt"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalibration:
    """What is done to logits before the sigmoid.

    Attributes:
        kind: "none" takes a bundle's own calibration back, and does nothing else.
        temperature: What logits are divided by; 1 where that is not done.
        platt: Slope and intercept of each finding; empty where that is not done.
        fitted_on: The images; None for "none".
        test_tuned: Whether they are those that are reported.
    """

    kind: Kind
    temperature: float = 1.0
    platt: tuple[Platt, ...] = ()
    fitted_on: ChosenOn | None = None
    test_tuned: bool = False

    @property
    def name(self) -> str:
        """What it is called in a table, with the mark where the reported images fitted it."""
        match self.kind:
            case "none":
                return "Not calibrated"
            case "temperature":
                name = f"Temperature {self.temperature:.3g}"
            case "platt":
                name = f"Platt, {sum(not each.kept for each in self.platt)} of {len(self.platt)} findings"
            case _:
                assert_never(self.kind)
        return f"{name}, {TUNED_MARK}" if self.test_tuned else name

    def apply(self, probabilities: Probabilities) -> Probabilities:
        """Return the probabilities that it makes of others, of images in rows and findings in columns."""
        logits = to_logits(probabilities, floor=_FLOOR)
        scaled = platt_logits(self.platt, logits) if self.platt else logits / self.temperature
        return np.asarray(0.5 * (1 + np.tanh(scaled / 2)))


@dataclass(frozen=True, slots=True, eq=False)
class Recalibrated:
    """Probabilities of the reported images, and what was done to them."""

    how: Recalibration
    probabilities: Probabilities


_FLOOR = 1e-9
"""How near 0 and 1 probabilities are taken at their word; files have zeros where they were rounded."""


def fit_recalibrations(
    targets: Targets,
    probabilities: Probabilities,
    *,
    fitted_on: ChosenOn,
    reported: ChosenOn,
    allow: bool,
    patients_shared: int = 0,
) -> tuple[Recalibration, Recalibration]:
    """Fit one temperature, and Platt's scaling of each finding, on these images.

    Args:
        targets: Labels of validation images; only 1 and 0 count.
        probabilities: What the model says of them, not calibrated.
        fitted_on: What the images are.
        reported: The images that are reported.
        allow: Whether to mark instead of refusing.
        patients_shared: Patients of the reported images among those of `fitted_on`, where it is known.

    Raises:
        DataError: The images are the reported ones, or of a test part, and `allow` does not say so; or none
            is labelled.
    """
    tuned = is_tuned(fitted_on, reported, patients_shared=patients_shared)
    if tuned and not allow:
        raise DataError(
            f"calibration would be fitted on the {fitted_on}, and the figures are of the same; fit it on "
            "validation, or mark every figure of it with --allow-test-tuning"
        )
    known, logits = (targets == 0) | (targets == 1), to_logits(probabilities, floor=_FLOOR)
    return (
        Recalibration(
            kind="temperature",
            temperature=fit_temperature(targets, known, logits),
            fitted_on=fitted_on,
            test_tuned=tuned,
        ),
        Recalibration(
            kind="platt", platt=fit_platt(targets, known, logits), fitted_on=fitted_on, test_tuned=tuned
        ),
    )


def recalibrate(
    probabilities: Probabilities, recalibrations: Sequence[Recalibration]
) -> tuple[Recalibrated, ...]:
    """Return what each makes of the probabilities of the reported images, which are not calibrated."""
    return tuple(Recalibrated(each, each.apply(probabilities)) for each in recalibrations)
