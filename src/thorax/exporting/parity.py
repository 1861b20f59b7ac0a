"""The parity gate: how far an exported engine may differ from the engine it replaces. Without torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float64

from thorax.arrays import Probabilities, Targets
from thorax.bundle.manifest import OperatingPoints, Parity
from thorax.errors import BundleError
from thorax.evaluation.statistics.ranking import auroc_score, count_by_threshold
from thorax.findings import NO_FINDING, Findings
from thorax.image_set import ImageSet

__all__ = [
    "AUC_LIMIT",
    "FLOAT_LIMIT",
    "MIN_POSITIVES",
    "PERCENTILE_LIMIT",
    "POINT_LIMIT",
    "EngineComparison",
    "float_parity",
    "quantized_parity",
    "refuse_few_positives",
]

FLOAT_LIMIT: Final = 1e-4
"""float32: limit for the largest difference of probabilities."""

PERCENTILE_LIMIT: Final = 0.05
"""int8: limit for the 99th percentile of the differences of probabilities."""

AUC_LIMIT: Final = 0.002
"""int8: limit for the change of the macro AUC."""

POINT_LIMIT: Final = 0.01
"""int8: limit for the change of a sensitivity or specificity at an operating point."""

MIN_POSITIVES: Final = 100
"""int8: positives that a finding needs; with fewer, a sensitivity has no resolution of 0.01."""

_REMEDY = "the engine was not added to the bundle"


@dataclass(frozen=True, eq=False)
class EngineComparison:
    """Calibrated probabilities of two engines on the same images.

    Attributes:
        expected: Probabilities from the reference engine.
        found: Probabilities from the new engine.
        compared_with: The reference engine, for people.
        compared_on: Describes the images.
    """

    expected: Probabilities
    found: Probabilities
    compared_with: str
    compared_on: ImageSet

    @property
    def differences(self) -> Float64[np.ndarray, "n k"]:
        """Absolute differences of the probabilities."""
        return np.asarray(np.abs(self.expected - self.found))

    def parity(self) -> Parity:
        """Return the parity with the fields that every engine has.

        Raises:
            BundleError: A probability is not finite.
        """
        if not np.isfinite(self.differences).all():
            raise BundleError(f"the exported engine gives probabilities that are not numbers; {_REMEDY}")
        return Parity(
            compared_with=self.compared_with,
            compared_on=self.compared_on,
            num_images=len(self.found),
            largest_difference=_rounded_up(float(self.differences.max())),
        )


def float_parity(comparison: EngineComparison) -> Parity:
    """Return the parity of a float32 engine.

    Raises:
        BundleError: A probability differs by more than `FLOAT_LIMIT`.
    """
    parity = comparison.parity()
    largest = float(comparison.differences.max())
    if largest > FLOAT_LIMIT:
        raise BundleError(
            f"the exported engine's probabilities differ from those of {parity.compared_with} by up to "
            f"{largest:.2g} on {parity.num_images} validation images ({FLOAT_LIMIT:g} is allowed); {_REMEDY}"
        )
    return parity


def refuse_few_positives(targets: Targets, findings: Findings, gated: Sequence[str]) -> None:
    """Refuse to judge a quantized engine on too little validation data.

    Args:
        targets: Labels of all validation images.
        findings: The findings of the columns.
        gated: Names of the findings to judge by.

    Raises:
        BundleError: There is no finding to judge by, the bundle does not predict one, or one has too few
            positives.
    """
    names = [finding.name for finding in findings]
    unknown = [name for name in gated if name not in names]
    if unknown or not gated:
        raise BundleError(
            f"the bundle predicts {', '.join(names)}, not {', '.join(unknown) or 'nothing'}; name some of "
            "its findings with `gated`"
        )
    counts = {name: int((targets[:, names.index(name)] == 1).sum()) for name in gated}
    few = [f"{name} {count}" for name, count in counts.items() if count < MIN_POSITIVES]
    if few:
        raise BundleError(
            f"the validation part has too few positives to judge a quantized network ({', '.join(few)}; "
            f"{MIN_POSITIVES} are needed); {_REMEDY}; use the float32 engine or a larger store, or name the "
            "findings to judge by with `gated`: the others then have no operating point in that engine"
        )


def quantized_parity(
    comparison: EngineComparison,
    targets: Targets,
    *,
    findings: Findings,
    gated: Sequence[str],
    points: OperatingPoints | None,
) -> tuple[Parity, OperatingPoints | None]:
    """Return the parity of a quantized engine, and the operating points refitted for it.

    Each threshold is moved to where this engine's sensitivity and specificity are closest to those of the
    bundle's own threshold on the same images, so that an operating point keeps its meaning. Applying the rule
    again would not do that: for slightly different probabilities, the highest F1 is often at quite another
    sensitivity.

    Args:
        comparison: The comparison on all images of a validation part.
        targets: Their labels; only 1 and 0 count.
        findings: The findings of the columns.
        gated: Names of the findings to judge by; the others get no threshold.
        points: The bundle's operating points.

    Raises:
        BundleError: The engine differs too much from the other one; the message has the value.
    """
    parity = comparison.parity()
    percentile = float(np.percentile(comparison.differences, 99))
    columns = _columns(comparison, targets, findings, gated)
    auc_change = _macro_auc_change(columns)
    refitted, point_change = _refitted(columns, points, comparison.compared_on)
    _refuse_beyond("the 99th percentile of the differences of probabilities", percentile, PERCENTILE_LIMIT)
    _refuse_beyond("the macro AUC's change", auc_change, AUC_LIMIT)
    _refuse_beyond(
        "the largest change of a sensitivity or specificity at an operating point", point_change, POINT_LIMIT
    )
    values = {
        "percentile_99": _rounded_up(percentile),
        "macro_auc_change": None if auc_change is None else _rounded_up(auc_change),
        "operating_point_change": None if point_change is None else _rounded_up(point_change),
        "gated": tuple(gated),
    }
    return parity.model_copy(update=values), refitted


@dataclass(frozen=True, eq=False)
class _Column:
    """One gated finding on the images whose label is known."""

    name: str
    target: Bool[np.ndarray, " n"]
    expected: Float64[np.ndarray, " n"]
    found: Float64[np.ndarray, " n"]

    def rates(self, predicted_positive: Bool[np.ndarray, " n"]) -> tuple[float, float]:
        """Return sensitivity and specificity."""
        sensitivity = predicted_positive[self.target].mean()
        return float(sensitivity), float(1 - predicted_positive[~self.target].mean())


def _columns(
    comparison: EngineComparison, targets: Targets, findings: Findings, gated: Sequence[str]
) -> list[_Column]:
    columns = []
    for index, finding in enumerate(findings):
        target = targets[:, index]
        known = target >= 0
        if finding.name in gated and (target == 1).any() and (target == 0).any():
            expected, found = comparison.expected[known, index], comparison.found[known, index]
            columns.append(_Column(finding.name, target[known] == 1, expected, found))
    return columns


def _macro_auc_change(columns: Sequence[_Column]) -> float | None:
    changes = [
        auroc_score(column.target, column.found) - auroc_score(column.target, column.expected)
        for column in columns
        if column.name != NO_FINDING.name
    ]
    return abs(float(np.mean(changes))) if changes else None


def _refitted(
    columns: Sequence[_Column], points: OperatingPoints | None, chosen_on: ImageSet
) -> tuple[OperatingPoints | None, float | None]:
    """Return the thresholds for the new engine, and the largest remaining change of a rate."""
    if points is None:
        return None, None
    thresholds: dict[str, float | None] = dict.fromkeys(points.thresholds)
    changes = []
    for column in columns:
        old = points.thresholds.get(column.name)
        if old is not None:
            fixed = old if points.rule == "one-half" else None
            thresholds[column.name], change = _nearest_threshold(column, old, fixed=fixed)
            changes.append(change)
    images = None if points.rule == "one-half" else chosen_on
    refitted = points.model_copy(update={"thresholds": thresholds, "chosen_on": images})
    return refitted, max(changes, default=None)


def _nearest_threshold(column: _Column, old: float, *, fixed: float | None) -> tuple[float, float]:
    """Return the threshold whose rates are closest to those of the old one, and the larger difference."""
    sensitivity, specificity = column.rates(column.expected >= old)
    if fixed is not None:
        rates = column.rates(column.found >= fixed)
        return fixed, max(abs(rates[0] - sensitivity), abs(rates[1] - specificity))
    counts = count_by_threshold(column.target, column.found)
    positives, negatives = int(column.target.sum()), int((~column.target).sum())
    changes = np.maximum(
        np.abs(counts.true_positives / positives - sensitivity),
        np.abs(1 - counts.false_positives / negatives - specificity),
    )
    best = int(np.argmin(changes))
    # Midway between two images; the first threshold is infinite, with no predicted positive.
    upper = min(float(counts.threshold[best]), 1.0)
    lower = float(counts.threshold[best + 1]) if best + 1 < len(changes) else 0.0
    middle = (upper + lower) / 2
    return (middle if middle > lower else upper), float(changes[best])


def _refuse_beyond(what: str, value: float | None, limit: float) -> None:
    if value is not None and value > limit:
        raise BundleError(
            f"{what} is {value:.2g} in the quantized engine, but {limit:g} is allowed; {_REMEDY}; use the "
            "float32 engine"
        )


def _rounded_up(value: float) -> float:
    """Round up to one significant digit, so that what is written does not depend on a sum's last bits."""
    if value == 0:
        return 0.0
    unit = 10.0 ** math.floor(math.log10(value))
    return float(f"{math.ceil(value / unit - 1e-9) * unit:.0e}")
