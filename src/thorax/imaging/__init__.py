"""Read files and arrays as radiographs, and prepare the square images that stores and networks use."""

from typing import TYPE_CHECKING

from thorax.packages import lazy_names

if TYPE_CHECKING:
    from thorax.imaging.folders import image_files
    from thorax.imaging.guarded import read_guarded
    from thorax.imaging.in_memory import ValueRange
    from thorax.imaging.read import ImageSource, read_radiograph, source_name
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

# Lazy, because decode processes import this package too: to read a file they do not need the checks of
# recipes (pydantic, a third of their start).
__getattr__ = lazy_names(
    __name__,
    {
        "ImageSource": "thorax.imaging.read",
        "ValueRange": "thorax.imaging.in_memory",
        "image_files": "thorax.imaging.folders",
        "map_box": "thorax.imaging.resize",
        "prepare": "thorax.imaging.resize",
        "read_guarded": "thorax.imaging.guarded",
        "read_radiograph": "thorax.imaging.read",
        "source_name": "thorax.imaging.read",
    },
)
