"""Files to radiographs, and radiographs to the square images that nets and stores take."""

from thorax.imaging.in_memory import ValueRange
from thorax.imaging.prepare import map_box, prepare
from thorax.imaging.read import ImageSource, read_radiograph, source_name

__all__ = ["ImageSource", "ValueRange", "map_box", "prepare", "read_radiograph", "source_name"]
