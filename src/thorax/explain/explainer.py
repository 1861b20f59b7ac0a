"""What explains a bundle: maps of named findings on prepared images, whatever computes them. No torch."""

from typing import Protocol, runtime_checkable

from thorax.arrays import PixelsBatch
from thorax.bundle import Bundle
from thorax.errors import DataError
from thorax.explain.choices import Maps, Method
from thorax.findings import Findings

__all__ = ["Explainer", "refuse_unknown"]


@runtime_checkable
class Explainer(Protocol):
    """A bundle's nets, to be asked where they see a finding.

    A member is shown the whole image as it is, once, whatever its test-time augmentation; the maps of several
    members are averaged with the ensemble's weights. For CAM, that is exact where `Bundle.exact_cam` says so:
    the mean of a map over its places plus a bias is the bundle's logit. Elsewhere it is an approximation.
    Places are drawn where they look (`Member.places`), so that their mean is not that over the pixels.
    """

    @property
    def bundle(self) -> Bundle:
        """Whose nets."""

    @property
    def library(self) -> str:
        """The distribution that computes: "torch" or "onnxruntime"."""

    def maps(self, pixels: PixelsBatch, findings: Findings, *, method: Method, seed: int = 0) -> Maps:
        """Return the maps of findings (n, k, s, s) on prepared pixels (n, s, s).

        Args:
            pixels: Images, prepared as the bundle wants them.
            findings: Some of the bundle's, in any order.
            method: See `methods.explain`.
            seed: Of the methods that draw.

        Raises:
            DataError: The bundle does not know one of the findings.
            RecipeError: The method does not go with a net, or not with what computes.
        """


def refuse_unknown(bundle: Bundle, findings: Findings) -> None:
    """Refuse to explain what a bundle does not know.

    Raises:
        DataError: It does not know one of the findings, or there is none.
    """
    unknown = [finding.name for finding in findings if finding not in bundle.findings]
    if unknown or not findings:
        known = ", ".join(finding.name for finding in bundle.findings)
        raise DataError(
            f"{' and '.join(unknown) or 'no finding'} cannot be explained by the bundle "
            f"{bundle.folder}; ask for some of its findings: {known}"
        )
