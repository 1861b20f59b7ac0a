"""Labels and scores of named images, validated on construction."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from thorax.arrays import Rows, Scores, Targets
from thorax.errors import DataError
from thorax.findings import NO_FINDING, Findings

__all__ = ["LabeledImages", "ScoredImages", "ScoredRuns", "aligned_scores", "check_shapes"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabeledImages:
    """Images with their labels, one row each.

    Attributes:
        images: Names, without repeats.
        patients: The patient of each image.
        targets: One row per image, one column per finding; only 1 and 0 count.
        findings: The findings of the columns.
        sexes: "F", "M" or "O", "" where unknown. None, like the columns below, where all are unknown.
        ages: In years; NaN where unknown.
        views: "PA", "AP" or "LL"; "" where unknown.
        follow_ups: Number of the image among those of its patient, from 0; NaN where unknown.

    Raises:
        DataError: There are no images or no findings, lengths differ, or an image is listed twice.
    """

    images: Sequence[str]
    patients: Sequence[str]
    targets: Targets
    findings: Findings
    sexes: Sequence[str] | None = None
    ages: Float64[np.ndarray, " n"] | None = None
    views: Sequence[str] | None = None
    follow_ups: Float64[np.ndarray, " n"] | None = None

    def __post_init__(self) -> None:
        """Refuse columns of different lengths, and repeated images."""
        check_shapes(len(self.images), self.findings, targets=self.targets)
        columns = (self.patients, self.sexes, self.ages, self.views, self.follow_ups)
        lengths = [len(column) for column in columns if column is not None]
        if any(length != len(self.images) for length in lengths):
            raise DataError(
                f"columns of {', '.join(map(str, lengths))} rows do not fit {len(self.images)} images; give "
                "one row per image"
            )
        _check_unique("the labels", self.images)

    def patients_of_findings(self) -> list[tuple[int, int]]:
        """Return how many patients have each finding in an image, and how many lack it in one."""
        patients = np.asarray(self.patients)
        return [
            (len(np.unique(patients[labels == 1])), len(np.unique(patients[labels == 0])))
            for finding, labels in zip(self.findings, self.targets.T, strict=True)
            if finding != NO_FINDING
        ]

    def take(self, rows: Rows) -> "LabeledImages":
        """Return the images of these rows, in their order."""

        def texts(values: Sequence[str]) -> list[str]:
            return [values[row] for row in rows]

        return replace(
            self,
            images=texts(self.images),
            patients=texts(self.patients),
            targets=self.targets[rows],
            sexes=None if self.sexes is None else texts(self.sexes),
            ages=None if self.ages is None else self.ages[rows],
            views=None if self.views is None else texts(self.views),
            follow_ups=None if self.follow_ups is None else self.follow_ups[rows],
        )

    def of_findings(self, findings: Findings) -> "LabeledImages":
        """Return the same images with the labels of these findings, all of which they must have."""
        columns = [self.findings.index(finding) for finding in findings]
        return replace(self, targets=self.targets[:, columns], findings=findings)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredImages:
    """One model's scores for some images.

    Attributes:
        model: The name of the model.
        images: Names, without repeats, in any order.
        scores: One row per image; larger means more likely.
        findings: The findings of the columns, in the model's order.

    Raises:
        DataError: Shapes differ, an image is listed twice, or a score is not a number.
    """

    model: str
    images: Sequence[str]
    scores: Scores
    findings: Findings

    def __post_init__(self) -> None:
        """Refuse a score array of another shape, repeated images and NaN."""
        check_shapes(len(self.images), self.findings, whose=f" of model {self.model}", scores=self.scores)
        _check_unique(f"model {self.model}", self.images)
        bad = np.isnan(self.scores)
        if np.any(bad):
            row, column = np.argwhere(bad)[0]
            raise DataError(
                f"{int(np.sum(bad))} scores of model {self.model} are not a number (first: "
                f"{self.findings[column]} of {self.images[row]}); find out why the model gave none"
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredRuns:
    """The scores of a model that was trained several times, with other seeds.

    Attributes:
        model: The name of the model.
        runs: The scores of each run, under the run's own name.

    Raises:
        DataError: There is no run, two have one name, or two have the same scores.
    """

    model: str
    runs: tuple[ScoredImages, ...]

    def __post_init__(self) -> None:
        """Refuse a run that is given twice: it would pass for one whose seed changes nothing."""
        names = [run.model for run in self.runs]
        if not names or len(set(names)) < len(names):
            raise DataError(
                f"model {self.model} needs runs of different names; got {', '.join(names) or 'none'}"
            )
        for place, run in enumerate(self.runs):
            for other in self.runs[:place]:
                if run.findings == other.findings and np.array_equal(
                    run.scores[np.argsort(run.images)], other.scores[np.argsort(other.images)]
                ):
                    raise DataError(
                        f"runs {other.model} and {run.model} of model {self.model} have the same scores; "
                        "give each run once, and only runs with different seeds"
                    )

    @property
    def findings(self) -> Findings:
        """The findings that all runs have, in the first one's order."""
        first, *others = self.runs
        return tuple(finding for finding in first.findings if all(finding in run.findings for run in others))


def aligned_scores(labeled: LabeledImages, model: ScoredImages) -> Scores:
    """Return the model's scores in the order of the labeled images.

    Raises:
        DataError: The model did not score exactly the labeled images.
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


def check_shapes(num_images: int, findings: Findings, *, whose: str = "", **arrays: np.ndarray) -> None:
    """Refuse arrays without one row per image and one column per finding, or without any rows or columns.

    Raises:
        DataError: There are no images or no findings, or an array has another shape.
    """
    shape = (num_images, len(findings))
    if any(array.shape != shape for array in arrays.values()):
        *names, last = arrays
        listed = f"{', '.join(names)} and {last}" if names else last
        shapes = ", ".join(str(array.shape) for array in arrays.values())
        raise DataError(
            f"{listed} of shape {shapes}{whose} do not fit {num_images} images and {len(findings)} "
            "findings; give one row per image, one column per finding"
        )
    if 0 in shape:
        raise DataError(
            f"there is nothing to measure: {num_images} images, {len(findings)} findings; "
            "choose a part of the split that has images"
        )


def _check_unique(whose: str, images: Sequence[str]) -> None:
    repeated = [image for image, count in Counter(images).items() if count > 1]
    if repeated:
        raise DataError(
            f"{len(repeated)} of {len(images)} images of {whose} are listed more than once (first: "
            f"{repeated[0]}); keep one row of each"
        )
