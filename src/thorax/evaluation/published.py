"""Published results on NIH ChestX-ray14, each with its split, its source and how well we know it.

The same model scores about 3 points more on a random split than on the official one, so that figures of the
two never stand in one column: a `ComparableResults` with both cannot be made.
"""

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Final, Literal

from thorax.errors import DataError
from thorax.evaluation.statistics.intervals import Interval
from thorax.findings import NIH14, Finding, parse_finding

__all__ = [
    "PNEUMONIA_F1",
    "PUBLISHED",
    "ComparableResults",
    "Grade",
    "PublishedF1",
    "PublishedResult",
    "SplitKind",
    "comparable_results",
    "split_kind",
]

SplitKind = Literal["official", "random", "other"]
"""The published test list; patients drawn at random; anything else, with which nothing published compares."""

_NIH: Final = "nih-chestxray14"
"""The data set of all these results, as `datasets` names it."""

Grade = Literal["read", "excerpt"]
"""Read in the source's own files, or in an excerpt of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedResult:
    """What somebody reported.

    Attributes:
        name: The model.
        split: On which kind of split.
        auc: Mean AUC over the 14 findings; without ends where none were reported, or found.
        source: Where it is published.
        grade: How well we know that it says so.
        by_finding: AUC of each finding, where we have them.
        remark: What a reader must know to compare, "" if nothing.
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
    """An F1 of pneumonia, by a model or by radiologists, and why it is not ours to beat.

    Attributes:
        reader: Who read the images.
        finding: Pneumonia.
        f1: With the interval that was published.
        num_images: Images read.
        source: Where it is published.
        grade: How well we know that it says so.
        differs: What differs from an F1 measured on NIH labels, each in a sentence.
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
    """Results that may stand beside one another.

    Attributes:
        split: The kind of split of all of them.
        results: The results, from the lowest mean AUC to the highest.
    """

    split: SplitKind
    results: tuple[PublishedResult, ...]

    def __post_init__(self) -> None:
        """Refuse a result of another kind of split."""
        strangers = [result for result in self.results if result.split != self.split]
        if strangers:
            raise DataError(
                f"{strangers[0].name} was measured on a split of kind {strangers[0].split!r} and cannot "
                f"stand in a column of kind {self.split!r}; give it a column of its own"
            )


def split_kind(split: str, *, dataset: str) -> SplitKind:
    """Return the kind of a split by its name, for example "official" for "nih-official".

    Folds of cross-validation, lists from a file and splits of other data sets are "other".

    Args:
        split: Name of the split.
        dataset: Name of the data set that it divides.
    """
    if dataset != _NIH or "/" in split:
        return "other"
    if split == "nih-official":
        return "official"
    return "random" if split == "nih-random-patient" or split.startswith("patient-") else "other"


def comparable_results(split: str, *, dataset: str, part: str) -> ComparableResults:
    """Return the published results that a measurement may stand beside, if it is of the whole part.

    Args:
        split: Name of the split.
        dataset: Name of the data set that it divides.
        part: Only "test" has any; validation is what models are chosen on.
    """
    kind = split_kind(split, dataset=dataset) if part == "test" else "other"
    results = sorted((each for each in PUBLISHED if each.split == kind), key=lambda each: each.auc.value)
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
    named = dict(zip(NIH14, by_finding, strict=True)) if by_finding else {}
    return PublishedResult(auc=_interval(auc, interval), by_finding=named, **rest)


def _pneumonia_f1(f1: float, interval: Sequence[float], differs: Sequence[str], **rest: Any) -> PublishedF1:
    finding = parse_finding("Pneumonia", where="the published results")
    return PublishedF1(finding=finding, f1=_interval(f1, interval), differs=tuple(differs), **rest)


_TABLES: Final = tomllib.loads(files("thorax.evaluation").joinpath("published.toml").read_text("utf-8"))

PUBLISHED: Final = tuple(_result(**table) for table in _TABLES["results"])
"""Every result we know well enough to print."""

PNEUMONIA_F1: Final = tuple(_pneumonia_f1(**table) for table in _TABLES["pneumonia_f1"])
"""Radiologists and CheXNet on pneumonia, as the CheXNet paper reports them."""
