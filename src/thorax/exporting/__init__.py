"""Exports networks for other engines, behind a parity gate."""

from thorax.exporting.attach import (
    CHECKED_IMAGES,
    evenly_spaced,
    export_float32,
    export_if_possible,
    export_int8,
)

__all__ = ["CHECKED_IMAGES", "evenly_spaced", "export_float32", "export_if_possible", "export_int8"]
