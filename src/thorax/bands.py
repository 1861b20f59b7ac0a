"""Bands of probability in which a model does not decide whether a radiograph has a finding."""

from typing import Final

from pydantic import Field, model_validator

from thorax.image_set import ImageSet
from thorax.recipe.sections import Fraction, Section

__all__ = ["VALID_FOR", "Band", "Bands", "fewest_patients"]

VALID_FOR: Final = "holds for patients like those of validation; at another hospital nothing is guaranteed"
"""Said wherever a band is shown."""

_ROUNDING: Final = 1e-9

_CHECKPOINT: Final[dict[bool | None, str]] = {
    True: " The same patients chose the checkpoint, which costs some of it.",
    False: "",
    None: " Whether they also chose the checkpoint, which would cost some of it, is not known.",
}


class Band(Section):
    """Where one finding is not decided.

    With probability `Bands.level`, a new patient with the finding reaches `low`, and one without it does not
    exceed `high`. Below `low` the finding is ruled out, and above `high` its absence is. If `low` is above
    `high`, the model separates the two better than the level requires.
    """

    low: Fraction
    """Lowest probability at which the finding is not ruled out."""
    high: Fraction
    """Highest probability at which its absence is not ruled out."""
    patients_with: int = Field(ge=1)
    """Validation patients with the finding in one of their images."""
    patients_without: int = Field(ge=1)
    """Validation patients without the finding in one of their images."""

    def undecided(self, threshold: float) -> tuple[float, float]:
        """Return the lowest and the highest probability that are not decided.

        The threshold's answer counts where the band rules out the opposite one. The ends are equal to the
        threshold if that is everywhere.
        """
        return min(self.low, threshold), max(self.high, threshold)


class Bands(Section):
    """The bands of a model, which were set on validation images."""

    level: float = Field(ge=0.5, lt=1)
    """How often an answer must not be wrong, for the patients with a finding and for those without it."""
    bands: dict[str, Band]
    """By finding."""
    absent: dict[str, str]
    """Why other findings have none."""
    chosen_on: ImageSet
    chose_checkpoint: bool | None
    """Whether these patients chose a net's checkpoint by its score, which costs coverage; None: unknown."""

    @model_validator(mode="after")
    def _one_or_the_other(self) -> "Bands":
        both = sorted(self.bands.keys() & self.absent.keys())
        if both:
            raise ValueError(f"{', '.join(both)} cannot both have a band and have none")
        return self

    @property
    def promise(self) -> str:
        """What the bands mean and where it holds, as sentences."""
        wrong = f"at most {100 * (1 - self.level):.3g} %"
        return (
            f"On average {wrong} of the patients with a finding get a no, and {wrong} of those without it a "
            f"yes; between, it is not decided. This {VALID_FOR}.{_CHECKPOINT[self.chose_checkpoint]}"
        )


def fewest_patients(level: float) -> int:
    """Return how many validation patients of each class a band needs: 9 at 90 %, 4 at 80 %."""
    return next(count for count in range(1, 10**6) if count + _ROUNDING >= level * (count + 1))
