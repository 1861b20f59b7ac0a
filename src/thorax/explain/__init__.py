"""Explanations: where in a radiograph a finding comes from, and how faithful such maps are.

Nothing here imports torch by itself; maps of a net that is in memory are `thorax.explain.methods.explain`.
"""

from thorax.explain.choices import METHODS, NOT_OF_A_FINDING, Maps, Method, best_method, reading_notes
from thorax.explain.explainer import Explainer
from thorax.explain.geometry import box_on_radiograph, map_on_radiograph
from thorax.explain.open_explainer import open_explainer, open_torch_explainer

__all__ = [
    "METHODS",
    "NOT_OF_A_FINDING",
    "Explainer",
    "Maps",
    "Method",
    "best_method",
    "box_on_radiograph",
    "map_on_radiograph",
    "open_explainer",
    "open_torch_explainer",
    "reading_notes",
]
