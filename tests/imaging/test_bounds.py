"""Files made to cost much: refused or read in at most 2 s and 0.2 s per megabyte of CPU time."""

import io
import struct
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image

from thorax.errors import ImageError
from thorax.imaging import read_radiograph

SCENE = np.add.outer(np.arange(64), np.arange(72)).astype(np.uint8)


def read_in_time(data):
    """Read an image, or return what is said about it; in the time that its size allows."""
    begin = time.process_time()
    outcome: Any
    try:
        outcome = read_radiograph(data, name="made")
    except ImageError as error:
        outcome = str(error)
        assert len(outcome) <= 300
    taken = time.process_time() - begin
    assert taken <= 2 + 0.2 * len(data) / 1e6
    return outcome


def as_jpeg(array):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "JPEG", quality=95)
    return stream.getvalue()


JPEG = as_jpeg(SCENE)


def test_fill_bytes_of_a_jpeg():
    radiograph = read_in_time(JPEG[:2] + b"\xff" * 20_000_000 + JPEG[2:])
    assert np.array_equal(radiograph.pixels, read_radiograph(JPEG).pixels)


@pytest.mark.parametrize("segment", [b"\xff\xe1\0\x08Exif\0\0", b"\xff\xfe\0\x02"])
def test_segments_of_a_jpeg(segment):
    radiograph = read_in_time(JPEG[:2] + segment * 3_000 + JPEG[2:])
    assert np.array_equal(radiograph.pixels, read_radiograph(JPEG).pixels)
    assert "its header does not lead to an image" in read_in_time(JPEG[:2] + segment * 500_000 + JPEG[2:])


def test_a_jpeg_of_100_megapixels_without_data():
    at = JPEG.index(b"\xff\xc0") + 5
    huge = JPEG[:at] + struct.pack(">HH", 10_000, 10_000) + JPEG[at + 4 :]
    assert "its data end before the image does" in read_in_time(huge)
