"""Pixel data inflated at once is what zlib makes of it; what is not sound is left to the slow way."""

import zlib
from dataclasses import replace

import numpy as np
import pytest

from thorax.imaging.png.chunks import GRAY, RGBA, Png, num_bytes, stored_stream, take_apart


def png(*, height=300, width=299, depth=8, color=GRAY, interlaced=False, stream=b""):
    empty = Png(
        name="x", width=width, height=height, depth=depth, color=color, interlaced=interlaced, palette=b"",
        transparency=None, stream=stream,
    )  # fmt: skip
    rows = np.random.default_rng(0).integers(0, 5, num_bytes(empty), dtype=np.uint8).tobytes()
    return empty if stream else replace(empty, stream=zlib.compress(rows)), rows


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"depth": 16, "color": RGBA},
        {"depth": 1, "interlaced": True},
        {"height": 64, "width": 64},
        {"height": 65535 // 5, "width": 4},  # exactly one block
    ],
    ids=str,
)
def test_the_bytes_are_those_of_zlib(shape):
    sound, rows = png(**shape)
    stream = stored_stream(sound)
    assert stream is not None
    assert zlib.decompress(stream) == rows == zlib.decompress(sound.stream)
    # Not compressed: two bytes in front, four behind, five for each block.
    assert len(stream) == 6 + len(rows) + 5 * -(-len(rows) // 65535)


def test_what_is_not_sound_is_left_to_the_slow_way():
    sound, rows = png()
    damaged = bytearray(sound.stream)
    damaged[len(damaged) // 2] ^= 8
    for stream in (
        bytes(damaged),
        sound.stream[:-1],
        sound.stream[:-4] + b"\0\0\0\0",
        zlib.compress(rows[:-1]),
        zlib.compress(rows + b"x"),
        b"no zlib at all",
        b"",
    ):
        assert stored_stream(replace(sound, stream=stream)) is None


def test_bytes_behind_the_end_change_no_pixel(shared_data):
    """They are passed over, whichever way the rows were inflated."""
    sound, rows = png()
    stream = stored_stream(replace(sound, stream=sound.stream + b"more"))
    assert stream is None or zlib.decompressobj().decompress(stream[:-4]) == rows


def test_real_nih_files_take_the_quick_way(shared_data):
    for path in sorted((shared_data / "nih-originals").glob("*.png")):
        found = take_apart(path.read_bytes(), path.name)
        stream = stored_stream(found)
        assert stream is not None
        assert zlib.decompress(stream) == zlib.decompress(found.stream)


def test_a_file_beyond_64_megapixels_is_left_to_the_slow_way():
    assert stored_stream(png(height=1, width=1)[0]) is not None
    huge = Png(
        name="x", width=9000, height=9000, depth=8, color=GRAY, interlaced=False, palette=b"",
        transparency=None, stream=zlib.compress(bytes(9001 * 9000), 1),
    )  # fmt: skip
    assert stored_stream(huge) is None
