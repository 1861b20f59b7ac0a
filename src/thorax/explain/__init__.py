"""Explanations: where in a radiograph a finding comes from, and how faithful such maps are."""

from thorax.explain.explainer import Explainer
from thorax.explain.geometry import box_on_radiograph, map_on_radiograph
from thorax.explain.methods import METHODS, NOT_OF_A_FINDING, Maps, Method, best_method, explain

__all__ = [
    "METHODS",
    "NOT_OF_A_FINDING",
    "Explainer",
    "Maps",
    "Method",
    "best_method",
    "box_on_radiograph",
    "explain",
    "map_on_radiograph",
]
