"""Published results on NIH ChestX-ray14, each with its split, its source and how well we know it.

The same model scores about 3 points more on a random split than on the official one, so that figures of the
two never stand in one column: a `ComparableResults` with both cannot be made.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

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


def _in_order(values: str) -> Mapping[Finding, float]:
    """Name 14 AUCs, given in CheXNet's order."""
    return dict(zip(NIH14, map(float, values.split()), strict=True))


def _family(
    models: Mapping[str, float],
    split: Literal["official", "random"],
    *,
    source: str,
    grade: Grade,
    remark: str,
) -> tuple[PublishedResult, ...]:
    """Make results that differ in nothing but the model."""
    return tuple(
        PublishedResult(
            name=name,
            split=split,
            auc=Interval(auc, math.nan, math.nan),
            source=source,
            grade=grade,
            remark=remark,
        )
        for name, auc in models.items()
    )


_CHEXNET: Final = "Rajpurkar et al., CheXNet, arXiv:1711.05225, 2017"
_DNETLOC: Final = "Gündel et al., Location-Aware Dense Networks, arXiv:1803.04565, 2018"

_OFFICIAL: Final[tuple[PublishedResult, ...]] = (
    PublishedResult(
        name="Wang 2017",
        split="official",
        auc=Interval(0.745, math.nan, math.nan),
        source="Wang et al., ChestX-ray8, CVPR 2017 and arXiv:1705.02315",
        grade="read",
        by_finding=_in_order(
            ".7003 .8100 .7585 .6614 .6933 .6687 .6580 .7993 .7032 .8052 .8330 .7859 .6835 .8717"
        ),
    ),
    PublishedResult(
        name="Yao 2018",
        split="official",
        auc=Interval(0.761, math.nan, math.nan),
        source="Yao et al., Weakly Supervised Medical Diagnosis and Localization, arXiv:1803.07703, 2018",
        grade="read",
    ),
    PublishedResult(
        name="Baltruschat 2019",
        split="official",
        auc=Interval(0.806, math.nan, math.nan),
        source="Baltruschat et al., Scientific Reports 9:6381, 2019",
        grade="excerpt",
    ),
    PublishedResult(
        name="DNetLoc",
        split="official",
        auc=Interval(0.807, math.nan, math.nan),
        source=_DNETLOC,
        grade="excerpt",
        by_finding=_in_order(".767 .883 .828 .709 .821 .758 .731 .846 .745 .835 .895 .818 .761 .896"),
    ),
    PublishedResult(
        name="SwinCheX",
        split="official",
        auc=Interval(0.810, math.nan, math.nan),
        source="Taslimi et al., SwinCheX, arXiv:2206.04246, 2022",
        grade="excerpt",
    ),
    PublishedResult(
        name="DenseNet-121 with an interval",
        split="official",
        auc=Interval(0.811, 0.804, 0.816),
        source="an excerpt that does not name its paper",
        grade="excerpt",
    ),
    PublishedResult(
        name="XProtoNet",
        split="official",
        auc=Interval(0.822, math.nan, math.nan),
        source="Kim et al., XProtoNet, CVPR 2021",
        grade="excerpt",
    ),
    PublishedResult(
        name="AE-CNN",
        split="official",
        auc=Interval(0.8241, math.nan, math.nan),
        source="Ranjan et al., Jointly Learning Convolutional Representations, ICVGIP 2018",
        grade="read",
        by_finding=_in_order(
            ".7821 .9008 .8356 .7087 .8379 .7881 .7363 .8684 .7608 .8498 .9221 .8402 .7828 .9242"
        ),
        remark="a public reproduction reached .807",
    ),
    *_family(
        {"Medical MAE, DenseNet-121": 0.822, "Medical MAE, ViT-S": 0.823, "Medical MAE, ViT-B": 0.830},
        "official",
        source="Xiao et al., Delving into Masked Autoencoders, WACV 2023",
        grade="read",
        remark="the largest AUC seen on the test part is reported",
    ),
    *_family(
        {"EVA-X-Ti": 0.824, "EVA-X-S": 0.833, "EVA-X-B": 0.835},
        "official",
        source="Yao et al., EVA-X, github.com/hustvl/EVA-X, 2024",
        grade="read",
        remark="the checkpoint was chosen by its AUC on the test part",
    ),
)

_RANDOM: Final[tuple[PublishedResult, ...]] = (
    PublishedResult(
        name="CheXNet",
        split="random",
        auc=Interval(0.8414, math.nan, math.nan),
        source=_CHEXNET,
        grade="read",
        by_finding=_in_order(
            ".8094 .9248 .8638 .7345 .8676 .7802 .7680 .8887 .7901 .8878 .9371 .8047 .8062 .9164"
        ),
    ),
    *_family({"DNetLoc": 0.841}, "random", source=_DNETLOC, grade="excerpt", remark=""),
    *_family(
        {"arnoweng/CheXNet": 0.843, "arnoweng/CheXNet, improved": 0.847},
        "random",
        source="github.com/arnoweng/CheXNet",
        grade="read",
        remark="mean over ten crops of each test image",
    ),
    *_family(
        {"reproduce-chexnet": 0.836},
        "random",
        source="Zech, github.com/jrzech/reproduce-chexnet, 2018",
        grade="read",
        remark="",
    ),
    *_family(
        {"zoogzog/chexnet": 0.8508},
        "random",
        source="github.com/zoogzog/chexnet",
        grade="read",
        remark="mean over ten crops of each test image",
    ),
    *_family(
        {"DacNet": 0.8527, "DacNet's replica of CheXNet": 0.7928, "DacNet's ViT": 0.7940},
        "random",
        source="Strick et al., Reproducing and Improving CheXNet, arXiv:2505.06646, 2025",
        grade="read",
        remark="tested on 2 % of the patients",
    ),
    *_family(
        {"SynthEnsemble": 0.854},
        "random",
        source="Ashraf et al., SynthEnsemble, arXiv:2311.07750, 2023",
        grade="excerpt",
        remark="an ensemble, weighted by differential evolution",
    ),
)

PUBLISHED: Final[tuple[PublishedResult, ...]] = (*_OFFICIAL, *_RANDOM)
"""Every result we know well enough to print."""

_DIFFERS: Final = (
    "Its 420 images are a test set of its own, not the part that is measured here.",
    "Its truth is what other radiologists said of these images, not what a program read from reports.",
    "Each F1 is a mean of four, each against the labels of another reader.",
    "F1 rises with the share of images that have the finding, which differs between the two.",
)

PNEUMONIA_F1: Final[tuple[PublishedF1, ...]] = (
    PublishedF1(
        reader="radiologists, mean of four",
        finding=parse_finding("Pneumonia", where="the published results"),
        f1=Interval(0.387, 0.330, 0.442),
        num_images=420,
        source=_CHEXNET,
        grade="read",
        differs=(*_DIFFERS, "Radiologists say yes or no: no threshold was chosen for their F1."),
    ),
    PublishedF1(
        reader="CheXNet",
        finding=parse_finding("Pneumonia", where="the published results"),
        f1=Interval(0.435, 0.387, 0.481),
        num_images=420,
        source=_CHEXNET,
        grade="read",
        differs=_DIFFERS,
    ),
)
"""Radiologists and CheXNet on pneumonia, as the CheXNet paper reports them."""
