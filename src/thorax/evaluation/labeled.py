"""Labels and scores of named images: what a comparison is made from, valid from birth."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from thorax.arrays import Rows, Scores, Targets
from thorax.errors import DataError
from thorax.findings import Findings

__all__ = ["Cohort", "LabeledImages", "ScoredImages", "aligned_scores"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cohort:
    """Images with their labels, one row each.

    Attributes:
        images: Names.
        patients: Which patient each is of.
        targets: Labels; only 1 and 0 count.
        findings: What the columns stand for.
        sexes: "F", "M", "O"; "" where not known.
        ages: Years; NaN where not known.
        views: "PA", "AP", "LL"; "" where not known.
        follow_ups: Number of the image among the patient's, from 0; NaN where not known.
    """

    images: Sequence[str]
    patients: Sequence[str]
    targets: Targets
    findings: Findings
    sexes: Sequence[str]
    ages: Float64[np.ndarray, " n"]
    views: Sequence[str]
    follow_ups: Float64[np.ndarray, " n"]

    def __post_init__(self) -> None:
        """Refuse what does not fit together."""
        columns = (self.patients, self.sexes, self.ages, self.views, self.follow_ups)
        shape = (len(self.images), len(self.findings))
        if self.targets.shape != shape or any(len(each) != shape[0] for each in columns):
            lengths = ", ".join(str(len(each)) for each in columns)
            raise DataError(
                f"targets of shape {self.targets.shape} and columns of {lengths} rows do not fit {shape[0]} "
                f"images and {shape[1]} findings; give one row per image"
            )

    def take(self, rows: Rows) -> "Cohort":
        """Return some of the images, in the order of `rows`."""

        def taken(values: Sequence[str]) -> list[str]:
            return [values[row] for row in rows]

        return Cohort(
            images=taken(self.images),
            patients=taken(self.patients),
            targets=self.targets[rows],
            findings=self.findings,
            sexes=taken(self.sexes),
            ages=self.ages[rows],
            views=taken(self.views),
            follow_ups=self.follow_ups[rows],
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabeledImages:
    """The images that models are compared on.

    Attributes:
        images: Their names, each once.
        patients: Which patient each is of.
        targets: One row per image; only 1 and 0 count.
        findings: What the columns stand for.

    Raises:
        DataError: There is nothing, the lengths differ, or an image stands twice.
    """

    images: Sequence[str]
    patients: Sequence[str]
    targets: Targets
    findings: Findings

    def __post_init__(self) -> None:
        """Refuse what does not fit together."""
        shape = (len(self.images), len(self.findings))
        if 0 in shape or self.targets.shape != shape or len(self.patients) != shape[0]:
            raise DataError(
                f"targets of shape {self.targets.shape} and {len(self.patients)} patients do not fit "
                f"{shape[0]} images and {shape[1]} findings; give one row per image, at least one"
            )
        _check_unique("the labels", self.images)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredImages:
    """What one model says about images.

    Attributes:
        model: Its name.
        images: Names of the images, each once, in any order.
        scores: One row per image; larger means more likely.
        findings: What the columns stand for, in the model's order.

    Raises:
        DataError: The shapes differ, an image stands twice, or a score is not a number.
    """

    model: str
    images: Sequence[str]
    scores: Scores
    findings: Findings

    def __post_init__(self) -> None:
        """Refuse what does not fit together."""
        shape = (len(self.images), len(self.findings))
        if self.scores.shape != shape:
            raise DataError(
                f"scores of shape {self.scores.shape} of model {self.model} do not fit {shape[0]} images "
                f"and {shape[1]} findings; give one row per image, one column per finding"
            )
        _check_unique(f"model {self.model}", self.images)
        bad = np.isnan(self.scores)
        if np.any(bad):
            row, column = np.argwhere(bad)[0]
            raise DataError(
                f"{int(np.sum(bad))} scores of model {self.model} are not a number (first: "
                f"{self.findings[column]} of {self.images[row]}); find out why the model gave none"
            )


def aligned_scores(labeled: LabeledImages, model: ScoredImages) -> Scores:
    """Return the model's scores in the order of the labelled images.

    Raises:
        DataError: The model scored other images than those that are labelled.
    """
    wanted, given = set(labeled.images), set(model.images)
    if wanted != given:
        missing, extra = sorted(wanted - given), sorted(given - wanted)
        raise DataError(
            f"model {model.model} was not evaluated on the images of the comparison: of {len(wanted)} it "
            f"lacks {len(missing)}, and it has {len(extra)} others (first: {(missing or extra)[0]}); let "
            "every model score the same images"
        )
    row = {image: number for number, image in enumerate(model.images)}
    return model.scores[[row[image] for image in labeled.images]]


def _check_unique(whose: str, images: Sequence[str]) -> None:
    repeated = [image for image, count in Counter(images).items() if count > 1]
    if repeated:
        raise DataError(
            f"{len(repeated)} of {len(images)} images of {whose} stand there twice or more (first: "
            f"{repeated[0]}); keep one row of each"
        )
