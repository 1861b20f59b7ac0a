"""What explains a bundle: maps of named findings on prepared images, whatever computes them. No torch."""

from collections.abc import Sequence
from typing import Final, Literal, Protocol, get_args, runtime_checkable

import numpy as np
from jaxtyping import Float32

from thorax.arrays import PixelsBatch
from thorax.bundle import Bundle
from thorax.errors import DataError, RecipeError
from thorax.findings import Findings

__all__ = [
    "METHODS",
    "NOT_OF_A_FINDING",
    "Explainer",
    "Maps",
    "Method",
    "best_method",
    "methods_named",
    "reading_notes",
    "refuse_unknown",
]

Method = Literal[
    "cam",
    "grad-cam",
    "grad-cam++",
    "hirescam",
    "layer-cam",
    "eigen-cam",
    "rollout",
    "gradient-rollout",
    "integrated-gradients",
    "smooth-grad",
    "occlusion",
    "rise",
]

METHODS: Final[tuple[Method, ...]] = get_args(Method)
"""Every method, from those that need one pass through the net to those that need hundreds."""

NOT_OF_A_FINDING: Final[frozenset[Method]] = frozenset({"eigen-cam", "rollout"})
"""Methods that give the same map for every finding: they show where the net looks, and not for what."""

Maps = Float32[np.ndarray, "n k height width"]
"""How much each place of each image speaks for each finding; in the method's own unit, often the logit's."""


def best_method(bundle: Bundle) -> Method:
    """Return the exact CAM where every member has one, else Grad-CAM."""
    return "cam" if all(member.exact_cam for member in bundle.manifest.members) else "grad-cam"


def methods_named(names: Sequence[str], bundle: Bundle) -> tuple[Method, ...]:
    """Return the methods of these names in the order of `METHODS`; without names, the best for the bundle.

    Raises:
        RecipeError: There is no method of one of the names.
    """
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        raise RecipeError(f"there is no method {unknown[0]!r} for maps; choose from {', '.join(METHODS)}")
    wanted = names or (best_method(bundle),)
    return tuple(method for method in METHODS if method in wanted)


def reading_notes(bundle: Bundle, methods: Sequence[Method]) -> list[str]:
    """Say what a reader must know about a bundle's maps, each a sentence without its full stop."""
    several = len(bundle.manifest.members) > 1
    views = any(not member.test_time.is_plain for member in bundle.manifest.members)
    return [
        *(
            f"{each} shows where the net looks, and is the same for every finding"
            for each in methods
            if each in NOT_OF_A_FINDING
        ),
        *(["the maps are the mean of several nets': an approximation"] if several else []),
        *(
            ["the maps are of the whole image alone, not of the further views that are averaged"]
            if views
            else []
        ),
    ]


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
