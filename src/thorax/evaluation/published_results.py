"""Published results on NIH ChestX-ray14, each with its split, its source and how well the source is known.

The same model scores about 3 points higher on a random split than on the official one. Their results are
therefore never listed together: a `ComparableResults` with both cannot be constructed.
"""

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Final, Literal

from thorax.errors import DataError
from thorax.evaluation.statistics.intervals import Interval
from thorax.findings import NIH14, NO_FINDING, Finding, Findings, parse_finding

__all__ = [
    "PNEUMONIA_F1",
    "PUBLISHED",
    "PUBLISHED_ON",
    "ComparableResults",
    "Grade",
    "PublishedF1",
    "PublishedResult",
    "SplitKind",
    "comparable_results",
    "covers_nih14",
    "split_kind",
]

SplitKind = Literal["official", "random", "other"]
"""The published test list; patients drawn at random; anything else, which no published result matches."""

PUBLISHED_ON: Final = "nih-chestxray14"
"""The data set of all these results, by its name in `datasets`."""

Grade = Literal["read", "excerpt"]
"""Whether the source itself was read, or only an excerpt of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedResult:
    """A published mean AUC.

    Attributes:
        name: The model.
        split: The kind of split.
        auc: Mean AUC over the 14 findings; without ends where no interval is known.
        source: Where it is published.
        grade: How the source was read.
        by_finding: AUC of each finding, where known.
        remark: What a reader must know to compare, or "".
    """

    name: str
    split: Literal["official", "random"]
    auc: Interval
    source: str
    grade: Grade
    by_finding: Mapping[Finding, float] = field(default_factory=dict)
    remark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedF1:
    """A published F1 of pneumonia, by a model or by radiologists, and why ours does not compare with it.

    Attributes:
        reader: Who read the images.
        finding: Pneumonia.
        f1: F1 with its published interval.
        num_images: The number of images read.
        source: Where it is published.
        grade: How the source was read.
        differs: How it differs from an F1 measured on NIH labels, in sentences.
    """

    reader: str
    finding: Finding
    f1: Interval
    num_images: int
    source: str
    grade: Grade
    differs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ComparableResults:
    """Published results that compare with each other.

    Attributes:
        split: The kind of split that all of them share.
        results: The results by increasing mean AUC.
    """

    split: SplitKind
    results: tuple[PublishedResult, ...]

    def __post_init__(self) -> None:
        """Refuse a result of another kind of split."""
        others = [result for result in self.results if result.split != self.split]
        if others:
            raise DataError(
                f"{others[0].name} was measured on a split of kind {others[0].split!r} and cannot "
                f"be listed with results of kind {self.split!r}; list it separately"
            )


def split_kind(split: str, *, dataset: str) -> SplitKind:
    """Return the kind of a split by its name, for example "official" for "nih-official".

    Folds of cross-validation, lists from a file and splits of other data sets are "other".

    Args:
        split: Name of the split.
        dataset: Name of the data set.
    """
    if dataset != PUBLISHED_ON or "/" in split:
        return "other"
    if split == "nih-official":
        return "official"
    return "random" if split == "nih-random-patient" or split.startswith("patient-") else "other"


def covers_nih14(findings: Findings) -> bool:
    """Return whether a mean over these findings, without No Finding, is one over the 14 of NIH."""
    return {finding for finding in findings if finding != NO_FINDING} == set(NIH14)


def comparable_results(split: str, *, dataset: str, part: str) -> ComparableResults:
    """Return the published results that compare with an evaluation of the whole part.

    Args:
        split: Name of the split.
        dataset: Name of the data set.
        part: Only "test" has published results; validation is used to choose models.
    """
    kind = split_kind(split, dataset=dataset) if part == "test" else "other"
    results = sorted(
        (result for result in PUBLISHED if result.split == kind), key=lambda result: result.auc.value
    )
    return ComparableResults(kind, tuple(results))


def _interval(value: float, ends: Sequence[float] = (math.nan, math.nan)) -> Interval:
    low, high = ends
    return Interval(value, low, high)


def _result(
    auc: float,
    interval: Sequence[float] = (math.nan, math.nan),
    by_finding: Sequence[float] = (),
    **rest: Any,
) -> PublishedResult:
    aucs = dict(zip(NIH14, by_finding, strict=True)) if by_finding else {}
    return PublishedResult(auc=_interval(auc, interval), by_finding=aucs, **rest)


def _pneumonia_f1(f1: float, interval: Sequence[float], differs: Sequence[str], **rest: Any) -> PublishedF1:
    finding = parse_finding("Pneumonia", where="the published results")
    return PublishedF1(finding=finding, f1=_interval(f1, interval), differs=tuple(differs), **rest)


_TABLES: Final = tomllib.loads(
    files("thorax.evaluation").joinpath("published_results.toml").read_text("utf-8")
)

PUBLISHED: Final = tuple(_result(**table) for table in _TABLES["results"])
"""Every published result whose source is known well enough to print."""

PNEUMONIA_F1: Final = tuple(_pneumonia_f1(**table) for table in _TABLES["pneumonia_f1"])
"""Radiologists and CheXNet on pneumonia, as the CheXNet paper reports them."""
