"""Data sets: reading label files and folders into one sample table, and splitting it."""

__all__ = ["NIH_DATASET"]

NIH_DATASET = "nih-chestxray14"
"""Name of NIH ChestX-ray14 in stores, bundles and reports."""
