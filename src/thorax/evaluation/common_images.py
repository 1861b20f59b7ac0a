"""The images that all compared models have, and what each lacks of the others'."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from thorax.errors import DataError

__all__ = ["CommonImages", "common_images"]


@dataclass(frozen=True, slots=True)
class CommonImages:
    """The images on which models can be compared.

    Attributes:
        images: Those that every model has.
        num_all: How many images at least one model has.
        lacking: How many of these each model lacks, by its name; without models that lack none.
        example: An image that a model lacks; "" without one.
    """

    images: frozenset[str]
    num_all: int
    lacking: Mapping[str, int]
    example: str = ""

    @property
    def is_partial(self) -> bool:
        """Whether images were left out because a model lacks them."""
        return bool(self.lacking)

    @property
    def counts(self) -> str:
        """How many of how many images, and who lacks how many."""
        names = ", ".join(f"{name} lacks {count:,}" for name, count in self.lacking.items())
        return f"{len(self.images):,} of {self.num_all:,}{f': {names}' if names else ''}"

    @property
    def remark(self) -> str:
        """What a headline says if images were left out; otherwise ""."""
        return f"ONLY THE IMAGES THAT ALL MODELS HAVE ({self.counts})" if self.is_partial else ""

    @property
    def warning(self) -> str:
        """What a reader must know, as a sentence; "" if nothing was left out."""
        if not self.is_partial:
            return ""
        return f"{self.remark}. They were not drawn at random: these numbers do not hold for the whole part."

    def or_refuse(self, *, allow: bool) -> "CommonImages":
        """Return itself if there are common images, and all are common or `allow` is set.

        Raises:
            DataError: The models have no image in common, or not the same images although they must.
        """
        if not self.images:
            raise DataError(
                f"the models have no image in common ({self.counts}); let them predict the same ones"
            )
        if self.is_partial and not allow:
            raise DataError(
                f"the models have not predicted the same images: all of them have {self.counts} (first: "
                f"{self.example}); predict the others as well, or compare on those images alone with `common`"
            )
        return self


def common_images(images: Mapping[str, Sequence[str]]) -> CommonImages:
    """Return the images that all models have.

    Args:
        images: The images of each model, by its name; at least one model.
    """
    sets = {name: frozenset(own) for name, own in images.items()}
    every = frozenset().union(*sets.values())
    lacking = {name: every - own for name, own in sets.items() if len(own) < len(every)}
    return CommonImages(
        images=every.intersection(*sets.values()),
        num_all=len(every),
        lacking={name: len(missing) for name, missing in lacking.items()},
        example=min((min(missing) for missing in lacking.values()), default=""),
    )
