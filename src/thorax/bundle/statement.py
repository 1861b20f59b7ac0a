"""What a published bundle states about itself wherever it is used: what it is, and what it is not for."""

from collections.abc import Iterator

from pydantic import Field

from thorax.image_set import ImageSet
from thorax.recipe.sections import Fraction, Section
from thorax.wording import percent

__all__ = ["MeanAuc", "Statement"]


class MeanAuc(Section):
    """A mean AUC over findings, with its 95 % interval by resamples of patients."""

    value: Fraction
    low: Fraction
    high: Fraction
    num_findings: int
    num_images: int
    num_patients: int

    def __str__(self) -> str:
        """Return such as "0.744 (0.721 to 0.765)"."""
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


class Statement(Section):
    """What a bundle says of itself."""

    title: str
    """What it is, such as "starter model"."""
    purpose: str
    """What it is for, and what not."""
    out_of_fold: MeanAuc
    """Of its recipe, whose folds predicted the images that they left out."""
    folds: int = Field(ge=2)
    """Number of these folds."""
    candidates: int = Field(ge=1)
    """Number of recipes among which these folds chose."""
    test: MeanAuc
    """Of the bundle itself on a test part that was looked at before."""
    test_looks: int = Field(ge=1)
    """How often results on this test part were looked at, with this result."""
    prevalence: dict[str, Fraction]
    """By finding: the share of training images that have it. The probabilities hold at this prevalence."""
    images_seen: tuple[str, ...] = ()
    """`Radiograph.pixels_sha256` of public example images that it was trained on."""

    def sentence(self, trained_on: ImageSet, calibrated_on: ImageSet) -> str:
        """Return one sentence, without its period: what the model is, its data, its AUC and its purpose."""
        return (
            f"{self.title}, {trained_on.num_images:,} training and {calibrated_on.num_images:,} calibration "
            f"images, out-of-fold mean AUC {self.out_of_fold}: {self.purpose}"
        )

    def details(self) -> Iterator[str]:
        """Yield sentences with what else to know about its figures and probabilities."""
        folds, test = self.out_of_fold, self.test
        yield (
            f"The out-of-fold mean AUC is over {folds.num_findings} findings in {folds.num_images:,} images "
            f"of {folds.num_patients:,} patients, predicted in {self.folds} folds by patient; it belongs to "
            f"the best of {self.candidates} candidates on the folds that chose it, and so flatters a little."
        )
        yield (
            f"On {test.num_images:,} test images of {test.num_patients:,} patients, which were seen before "
            f"in development ({self.test_looks} looks), its mean AUC over {test.num_findings} findings is "
            f"{test}."
        )
        common = max(self.prevalence, key=self.prevalence.__getitem__)
        yield (
            "Its probabilities hold at the prevalence of its training images, which are not a random sample: "
            f"{common} is in {percent(self.prevalence[common], 0)} of them."
        )
