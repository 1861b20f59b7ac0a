"""Files to radiographs, and radiographs to the square images that nets and stores take."""

from thorax.imaging.prepare import map_box, prepare
from thorax.imaging.read import read_radiograph

__all__ = ["map_box", "prepare", "read_radiograph"]
