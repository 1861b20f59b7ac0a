"""Explanations: where in a radiograph a finding comes from, and how faithful such maps are.

Nothing here imports torch by itself; `thorax.explain.torch_explainer.explain` makes maps of a net
that is in memory.
"""

from thorax.explain.explainers import open_explainer, open_torch_explainer
from thorax.explain.geometry import box_on_radiograph, map_on_radiograph
from thorax.explain.methods import (
    METHODS,
    NOT_OF_A_FINDING,
    Explainer,
    Maps,
    Method,
    best_method,
    reading_notes,
)

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
