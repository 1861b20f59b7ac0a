"""The methods that explain a bundle, and the protocol of explainers. Without torch."""

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
"""Every method, from those that need one pass through the network to those that need hundreds."""

NOT_OF_A_FINDING: Final[frozenset[Method]] = frozenset({"eigen-cam", "rollout"})
"""Methods whose map is the same for every finding: they show where the network looks, not for what."""

Maps = Float32[np.ndarray, "n k height width"]
"""How much each location of an image supports each finding, in the method's unit, often the logit's."""


def best_method(bundle: Bundle) -> Method:
    """Return the exact CAM if every member has one, otherwise Grad-CAM."""
    return "cam" if all(member.exact_cam for member in bundle.manifest.members) else "grad-cam"


def methods_named(names: Sequence[str], bundle: Bundle) -> tuple[Method, ...]:
    """Return the methods with these names in the order of `METHODS`; without names, the `best_method`.

    Raises:
        RecipeError: A name is not that of a method.
    """
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        raise RecipeError(f"there is no method {unknown[0]!r} for maps; choose from {', '.join(METHODS)}")
    wanted = names or (best_method(bundle),)
    return tuple(method for method in METHODS if method in wanted)


def reading_notes(bundle: Bundle, methods: Sequence[Method]) -> list[str]:
    """Return caveats for readers of a bundle's maps, as sentences without a period."""
    several = len(bundle.manifest.members) > 1
    views = any(not member.test_time.is_plain for member in bundle.manifest.members)
    return [
        *(
            f"{method} shows where the network looks, and is the same for every finding"
            for method in methods
            if method in NOT_OF_A_FINDING
        ),
        *(["the maps are the mean over several networks, which is an approximation"] if several else []),
        *(["the maps explain the whole image only, not the other views that are averaged"] if views else []),
    ]


@runtime_checkable
class Explainer(Protocol):
    """Something that maps where a bundle's networks see a finding.

    A member sees the whole image once, whatever its test-time augmentation; the maps of several members are
    averaged with the ensemble's weights. For CAM this is exact if `Bundle.exact_cam` is true: the mean of a
    map over its locations, plus a bias, is the bundle's logit. Otherwise it is an approximation. Locations
    are drawn at the centers of their receptive fields (`Member.places`), so the mean over pixels differs.
    """

    @property
    def bundle(self) -> Bundle:
        """The bundle that is explained."""

    @property
    def library(self) -> str:
        """The distribution that computes: "torch" or "onnxruntime"."""

    def maps(self, pixels: PixelsBatch, findings: Findings, *, method: Method, seed: int = 0) -> Maps:
        """Return the maps of findings (n, k, s, s) for prepared pixels (n, s, s).

        Args:
            pixels: Images, prepared as the bundle requires.
            findings: Some of the bundle's findings, in any order.
            method: One of `METHODS`.
            seed: Seed of the random methods.

        Raises:
            DataError: The bundle does not predict one of the findings.
            RecipeError: A network or the explainer does not support the method.
        """


def refuse_unknown(bundle: Bundle, findings: Findings) -> None:
    """Refuse findings that a bundle does not predict.

    Raises:
        DataError: The bundle does not predict one of the findings, or none is given.
    """
    unknown = [finding.name for finding in findings if finding not in bundle.findings]
    if unknown or not findings:
        known = ", ".join(finding.name for finding in bundle.findings)
        raise DataError(
            f"{' and '.join(unknown) or 'no finding'} cannot be explained by the bundle "
            f"{bundle.folder}; choose from its findings: {known}"
        )
