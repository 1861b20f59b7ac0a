"""Export: nets as graphs for other engines, each behind a parity gate."""

from thorax.exporting.attach import CHECKED_IMAGES, export_float32, export_int8, export_or_say, spread

__all__ = ["CHECKED_IMAGES", "export_float32", "export_int8", "export_or_say", "spread"]
