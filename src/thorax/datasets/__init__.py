"""Data sets: label files and folders to one sample table, and the splits over it."""

__all__ = ["NIH_DATASET"]

NIH_DATASET = "nih-chestxray14"
"""What the whole NIH ChestX-ray14 is called in stores, bundles and reports."""
