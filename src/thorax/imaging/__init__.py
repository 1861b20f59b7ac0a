"""Read files and arrays as radiographs, and prepare the square images that stores and networks use."""

from thorax.imaging.guarded import read_guarded
from thorax.imaging.in_memory import ValueRange
from thorax.imaging.read import ImageSource, image_files, read_radiograph, source_name
from thorax.imaging.resize import map_box, prepare

__all__ = [
    "ImageSource",
    "ValueRange",
    "image_files",
    "map_box",
    "prepare",
    "read_guarded",
    "read_radiograph",
    "source_name",
]
