"""Sizes and hashes of the splits of NIH ChestX-ray14, and the patients of its official test."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

__all__ = [
    "NIH_IMAGES",
    "NIH_OFFICIAL_TEST_IMAGES",
    "NIH_SPLIT_IMAGES",
    "NIH_SPLIT_SHA256",
    "nih_official_test_patients",
]

NIH_IMAGES = 112_120
"""Number of images in NIH ChestX-ray14 (Wang et al. 2017)."""

NIH_OFFICIAL_TEST_IMAGES = 25_596
"""Number of images in its published test list."""

NIH_SPLIT_SHA256: Final[Mapping[str, str]] = {
    "nih-official": "8938610de67e091f65bf3a9d21f2ff595f26b8922099e3e369383bd375a027fa",
    "nih-random-patient": "5f2836e30b982c0cee3301f5c9a7caf0ebe0347c8a0ab3fd89b3d4ff0175503e",
    "patient-80-10-10": "c6276737b7ba716281df33188aea49583e03310032226de43bdc23153d11da6c",
    "patient-70-15-15": "7be2f0bba74a73785eac3b14da6415833f7b2a9b83b47dcaf190a3fa63d57e3a",
    "patient-92.8-5.2-2": "b203611ac011c6f291fdfb8cc912e9c82307b6274c77420639ead054bfe42c88",
}
"""SHA-256 of each registered split over all 112,120 images of NIH ChestX-ray14."""

NIH_SPLIT_IMAGES: Final[Mapping[str, Mapping[str, int]]] = {
    "nih-official": {"train": 78_071, "val": 8_453, "test": NIH_OFFICIAL_TEST_IMAGES},
    "nih-random-patient": {"train": 79_258, "val": 10_654, "test": 22_208},
    "patient-80-10-10": {"train": 90_118, "val": 11_326, "test": 10_676},
    "patient-70-15-15": {"train": 77_870, "val": 16_630, "test": 17_620},
    "patient-92.8-5.2-2": {"train": 103_628, "val": 6_313, "test": 2_179},
}
"""Number of images in each part of the registered splits of NIH ChestX-ray14."""


@cache
def nih_official_test_patients() -> frozenset[str]:
    """Return the ids of the 2,797 patients of NIH's published test list, without leading zeros."""
    text = (files("thorax.datasets") / "nih_official_test_patients.txt").read_text(encoding="ascii")
    return frozenset(text.split())
