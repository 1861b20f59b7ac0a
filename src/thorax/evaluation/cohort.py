"""The images that are measured: whose they are, what is labelled, and who the patients are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from thorax.arrays import Rows, Targets
from thorax.errors import DataError
from thorax.findings import Findings

__all__ = ["Cohort"]


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
