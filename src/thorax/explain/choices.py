"""The methods by name, and which one a bundle is best explained with. No torch."""

from collections.abc import Sequence
from typing import Final, Literal, get_args

import numpy as np
from jaxtyping import Float32

from thorax.bundle import Bundle

__all__ = ["METHODS", "NOT_OF_A_FINDING", "Maps", "Method", "best_method", "reading_notes"]

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
