"""Explanations: which locations of a radiograph support a finding, and how faithful the maps are.

Importing this package does not import torch. For a network in memory, see
`thorax.explain.torch_explainer.explain`.
"""

from thorax.explain.explainers import (
    METHODS,
    NOT_OF_A_FINDING,
    Explainer,
    Maps,
    Method,
    best_method,
    open_explainer,
    open_torch_explainer,
    reading_notes,
)
from thorax.explain.geometry import box_on_radiograph, map_on_radiograph

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
