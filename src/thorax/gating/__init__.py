"""Fitting an input gate on the training images of a bundle, with NumPy and Pillow alone."""

from thorax.gating.fit import FittedGate, GateImages, fit_gate
from thorax.gating.of_store import fit_store_gate, known_ages, too_few

__all__ = ["FittedGate", "GateImages", "fit_gate", "fit_store_gate", "known_ages", "too_few"]
