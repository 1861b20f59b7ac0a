"""Sets of thresholds with their provenance: the images on which they were chosen, if any.

A threshold chosen on the reported images inflates every rate at it. Such a set is refused or, with
`allow_test_tuning`, marked permanently.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from thorax.arrays import Probabilities, Targets
from thorax.atomic_io import read_json
from thorax.errors import DataError
from thorax.evaluation.operating_points import Fixed, ThresholdRule, choose_thresholds
from thorax.findings import Finding, Findings, find_finding
from thorax.image_set import ImageSet

__all__ = [
    "ONE_HALF",
    "TUNED_MARK",
    "ThresholdSet",
    "choose_threshold_set",
    "is_tuned",
    "one_half",
    "read_threshold_set",
    "refuse_tuned",
]

ONE_HALF: Final = "one-half"
"""The rule of a threshold of 0.5 for every finding."""

TUNED_MARK: Final = "TUNED ON THE REPORTED PART"
"""The mark on every number at thresholds that were chosen on the reported images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdSet:
    """A threshold for each finding.

    Attributes:
        rule: How they were chosen, for example "f1-optimal".
        findings: The findings, in the order of the thresholds.
        thresholds: One per finding; None where there is none.
        chosen_on: The images on which they were chosen; None if no images that we know of.
        origin: Where they come from, as text.
        test_tuned: Whether they were chosen on the reported images.
    """

    rule: str
    findings: Findings
    thresholds: tuple[float | None, ...]
    chosen_on: ImageSet | None
    origin: str
    test_tuned: bool = False

    @property
    def name(self) -> str:
        """The rule, marked if the thresholds were chosen on the reported images."""
        return f"{self.rule}, {TUNED_MARK}" if self.test_tuned else self.rule

    def of_findings(self, findings: Findings) -> "ThresholdSet":
        """Return the thresholds of these findings, all of which must be among the set's."""
        thresholds = tuple(self.thresholds[self.findings.index(finding)] for finding in findings)
        return replace(self, findings=findings, thresholds=thresholds)

    def describe(self) -> str:
        """Return where the thresholds come from, as a sentence without its period."""
        if self.chosen_on is None:
            return self.origin
        mark = f"{TUNED_MARK}: " if self.test_tuned else ""
        return f"{mark}{self.origin}, chosen on the {self.chosen_on}"


def one_half(findings: Findings) -> ThresholdSet:
    """Return a threshold of 0.5 for each finding, chosen on no images."""
    return ThresholdSet(
        rule=ONE_HALF,
        findings=findings,
        thresholds=(0.5,) * len(findings),
        chosen_on=None,
        origin="0.5 for every finding, whatever its prevalence",
    )


def choose_threshold_set(
    rule: ThresholdRule,
    targets: Targets,
    probabilities: Probabilities,
    *,
    findings: Findings,
    chosen_on: ImageSet,
) -> ThresholdSet:
    """Choose thresholds on these images; `refuse_tuned` checks on which others they may be reported.

    A fixed threshold is not chosen on any images, and its set says so.
    """
    if isinstance(rule, Fixed):
        return _fixed(rule, findings)
    return ThresholdSet(
        rule=rule.name,
        findings=findings,
        thresholds=choose_thresholds(rule, targets, probabilities),
        chosen_on=chosen_on,
        origin=f"thresholds by the rule {rule.name}",
    )


def _fixed(rule: Fixed, findings: Findings) -> ThresholdSet:
    if rule.name == ONE_HALF:
        return one_half(findings)
    return ThresholdSet(
        rule=rule.name,
        findings=findings,
        thresholds=(rule.threshold,) * len(findings),
        chosen_on=None,
        origin=f"{rule.threshold:g} for every finding, as given",
    )


def read_threshold_set(path: Path, findings: Findings) -> ThresholdSet:
    """Read thresholds from JSON: `rule`, `thresholds` by finding, and `chosen_on`, as in a bundle's manifest.

    `chosen_on` has split, part, sha256, images_sha256, num_images and num_patients; null means that the
    images are unknown, or that there are none. Findings that the file does not name get no threshold. Of the
    `metrics.json` of a report, the first operating point is read.

    Args:
        path: The file, or the folder of a report.
        findings: The findings of the set, in this order.

    Raises:
        DataError: The file cannot be read, or is malformed.
    """
    path = path / "metrics.json" if path.is_dir() else path
    try:
        value = read_json(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}); give a file with thresholds") from error
    origin = ""
    if isinstance(value, dict) and isinstance(points := value.get("operating_points"), list) and points:
        value = points[0]  # a metrics.json
        origin = str(value.get("origin", "")) if isinstance(value, dict) else ""
    needed = ("rule", "thresholds", "chosen_on")
    if not isinstance(value, dict) or any(name not in value for name in needed):
        raise DataError(f"{path} needs the keys {', '.join(needed)}; say with chosen_on where they come from")
    by_finding = _thresholds(value["thresholds"], path)
    chosen_on = None if value["chosen_on"] is None else _chosen_on(value["chosen_on"], path)
    unknown_origin = f"thresholds of {path.name}, which does not say what chose them"
    return ThresholdSet(
        rule=str(value["rule"]),
        findings=findings,
        thresholds=tuple(by_finding.get(finding) for finding in findings),
        chosen_on=chosen_on,
        origin=origin or (f"thresholds of {path.name}" if chosen_on else unknown_origin),
    )


def refuse_tuned(
    points: ThresholdSet, reported: ImageSet, *, allow: bool, patients_shared: int = 0
) -> ThresholdSet:
    """Refuse thresholds that were chosen on the reported images, or mark them if `allow` is set.

    Args:
        points: The thresholds.
        reported: The reported images.
        allow: Whether to mark instead of refusing.
        patients_shared: How many patients of the reported images are among those of `chosen_on`, if known.

    Raises:
        DataError: They were chosen on the reported part, on some of its images, or on any test part.
    """
    chosen = points.chosen_on
    if chosen is None:
        return points
    if not is_tuned(chosen, reported, patients_shared=patients_shared):
        return points
    if not allow:
        raise DataError(
            f"the thresholds {points.rule} were chosen on the {chosen}, which the figures also describe; "
            "choose them on validation, or mark every figure at them with `allow_test_tuning`"
        )
    return replace(points, test_tuned=True)


def is_tuned(chosen: ImageSet, reported: ImageSet, *, patients_shared: int = 0) -> bool:
    """Return whether a choice was made on the reported part, on some of its patients, or on any test part."""
    same_part = bool(chosen.split) and (chosen.split, chosen.part) == (reported.split, reported.part)
    same_images = chosen.images_sha256 == reported.images_sha256
    return same_part or same_images or chosen.part == "test" or patients_shared > 0


def _thresholds(value: Any, path: Path) -> Mapping[Finding, float | None]:
    if not isinstance(value, dict):
        raise DataError(f"{path}: thresholds must be an object with one number per finding")
    thresholds: dict[Finding, float | None] = {}
    for name, threshold in value.items():
        number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
        if threshold is not None and not (number and math.isfinite(threshold) and 0 <= threshold <= 1):
            raise DataError(
                f"{path}: the threshold of {name} is {threshold!r}; give a probability in [0, 1], or null"
            )
        thresholds[find_finding(name) or Finding(name)] = threshold
    return thresholds


def _chosen_on(value: Any, path: Path) -> ImageSet:
    texts: Sequence[str] = ("split", "part", "sha256", "images_sha256")
    numbers: Sequence[str] = ("num_images", "num_patients")
    if not isinstance(value, dict) or any(name not in value for name in (*texts, *numbers)):
        raise DataError(f"{path}: chosen_on needs {', '.join((*texts, *numbers))}, or must be null")
    if not all(isinstance(value[name], int) for name in numbers):
        raise DataError(f"{path}: {' and '.join(numbers)} of chosen_on must be whole numbers")
    return ImageSet(
        dataset=str(value.get("dataset", "")),
        split=str(value["split"]),
        part=str(value["part"]),
        sha256=str(value["sha256"]),
        images_sha256=str(value["images_sha256"]),
        num_images=int(value["num_images"]),
        num_patients=int(value["num_patients"]),
    )
