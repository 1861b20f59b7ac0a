"""Files made to cost much: refused or read in at most 2 s and 0.2 s per megabyte of CPU time."""

import io
import struct
import time
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tests.helpers.dicom_writing import dataset, to_bytes
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


def test_a_png_of_a_million_chunks():
    stream = io.BytesIO()
    Image.fromarray(SCENE).save(stream, "PNG")
    data = stream.getvalue()
    chunk = b"\0\0\0\0tEXt" + struct.pack(">I", zlib.crc32(b"tEXt"))
    assert "it has over 200,000 chunks" in read_in_time(data[:33] + chunk * 1_000_000 + data[33:])
    assert np.array_equal(read_in_time(data[:33] + chunk * 1_000 + data[33:]).pixels, SCENE)


# ---- DICOM ----------------------------------------------------------------------------------------


def deflated(filling, *, head=b""):
    """A deflated DICOM file whose data set is one filling; `head` replaces preamble and meta information."""
    ds = dataset(SCENE, bits=8)
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data = to_bytes(ds)
    start = 144 + int.from_bytes(data[140:144], "little")
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    block = deflater.compress(bytes(1_000_000)) + deflater.flush(zlib.Z_FULL_FLUSH)
    return (head or data[:start]) + block * filling


def meta(*elements):
    """Meta information without preamble; each element is a number, a VR and a value."""
    parts = [struct.pack("<HH2sH", 2, number, vr, len(value)) + value for number, vr, value in elements]
    return b"".join(parts)


UID_OF_DEFLATED = DeflatedExplicitVRLittleEndian.encode()


@pytest.mark.parametrize(
    "head",
    [
        b"",
        meta((0x0010, b"UI", UID_OF_DEFLATED)),
        meta((0x0000, b"UL", b"\xff\xff\0\0"), (0x0010, b"UI", UID_OF_DEFLATED)),
        bytes(128) + b"DICM" + meta((0x0000, b"UL", b"\0\0\0\0"), (0x0010, b"UI", UID_OF_DEFLATED)),
        struct.pack("<HH2sHI", 2, 0x0102, b"OB", 0, 4) + bytes(4) + meta((0x0010, b"UI", UID_OF_DEFLATED)),
        meta((0x0010, b"UI", b"1.2.840.10008.1.2.1"), (0x0010, b"UI", UID_OF_DEFLATED)),
        meta((0x0002, b"UI", b"1" * 60_000)) * 20 + meta((0x0010, b"UI", UID_OF_DEFLATED)),
        meta((0x0003, b"UI", b"")) * 2_000 + meta((0x0010, b"UI", UID_OF_DEFLATED)),
    ],
)
def test_a_deflated_bomb_whatever_its_meta_information_says(head):
    message = read_in_time(deflated(4_200, head=head))
    assert "deflat" in message


def test_an_inflated_data_set_is_not_inflated_again():
    inner = meta((0x0010, b"UI", UID_OF_DEFLATED)) + deflated(100)[-90_000:]
    packed = zlib.compress(inner, wbits=-zlib.MAX_WBITS)
    assert "deflated DICOM file is truncated or damaged" in read_in_time(
        meta((0x0010, b"UI", UID_OF_DEFLATED)) + packed
    )


@pytest.mark.parametrize("implicit", [False, True])
def test_millions_of_tiny_elements(implicit):
    ds = dataset(SCENE, bits=8)
    data = to_bytes(ds, preamble=False, implicit_vr=implicit, little_endian=True)
    at = data.index(b"\x28\x00\x02\x00")
    tags = np.zeros((500_000, 4), "<u2")
    tags[:, 0], tags[:, 1] = 0x0009 + 2 * (np.arange(500_000) >> 16), np.arange(500_000) & 0xFFFF
    tags[:, 2] = 0 if implicit else int.from_bytes(b"LO", "little")
    message = read_in_time(data[:at] + tags.tobytes() + data[at:])
    assert "over 30,000 elements before its pixel data" in message


@pytest.mark.parametrize("undefined", [False, True])
def test_millions_of_tiny_items(undefined):
    item = b"\xfe\xff\x00\xe0\0\0\0\0"
    ds = dataset(SCENE, bits=8)
    data = to_bytes(ds)
    at = data.index(b"\x28\x00\x02\x00US")
    length = 0xFFFFFFFF if undefined else 4_000_000
    sequence = struct.pack("<HH2sHI", 0x0028, 0x0000, b"SQ", 0, length) + item * 500_000
    sequence = sequence.replace(struct.pack("<HH", 0x0028, 0), struct.pack("<HH", 0x0054, 0x0220), 1)
    assert isinstance(read_in_time(data[:at] + sequence + data[at:]), str)


def test_a_number_of_16_megabytes():
    data = to_bytes(dataset(SCENE, bits=8))
    at = data.index(b"\x28\x00\x10\x00US")
    rows = struct.pack("<HH2sHI", 0x0028, 0x0010, b"UN", 0, 16_000_000) + bytes(16_000_000)
    assert "gives no single number as Rows" in read_in_time(data[:at] + rows + data[at + 10 :])
    at = data.index(b"\xe0\x7f\x10\x00")
    for keyword in (0x1050, 0x1051):
        window = struct.pack("<HH2sHI", 0x0028, keyword, b"UN", 0, 8_000_000) + b"1\\" * 4_000_000
        data = data[:at] + window + data[at:]
        at += len(window)
    read_in_time(data)


def test_rle_of_literals_of_one_byte():
    """Runs that hold one byte each: as many steps as there can be."""
    side = 2_048
    ds = dataset(np.zeros((side, side), np.uint8), bits=8)
    segment = b"\0\x55" * (side * side // 2) + b"\x81\xaa" * (side * side // 2 // 128)
    frame = struct.pack("<16I", 1, 64, *[0] * 14) + segment
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = RLELossless
    radiograph = read_in_time(to_bytes(ds))
    half = radiograph.pixels.ravel()[: side * side // 2]
    assert (half == 0x55).all()
    assert (radiograph.pixels.ravel()[side * side // 2 :] == 0xAA).all()


@pytest.mark.parametrize(
    ("frame_marker", "syntax"), [(0xC1, JPEGExtended12Bit), (0xC3, JPEGLosslessSV1), (0xC0, JPEGBaseline8Bit)]
)
def test_a_jpeg_of_100_megapixels_without_data_in_dicom(frame_marker, syntax):
    start = JPEG.index(b"\xff\xc0")
    precision = 8 if frame_marker == 0xC0 else 12
    size = struct.pack(">BHH", precision, 10_000, 10_000)
    frame = (
        JPEG[:start] + bytes([0xFF, frame_marker]) + JPEG[start + 2 : start + 4] + size + JPEG[start + 9 :]
    )
    ds = dataset(SCENE.astype(np.uint16), bits=12)
    ds.Rows = ds.Columns = 10_000
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = syntax
    assert "where 10000 x 10000 pixels take at least" in read_in_time(to_bytes(ds))


def test_jpeg_2000_boxes_of_length_zero_and_too_many_tiles():
    """A box of length 0 made OpenJPEG's reader hang for ever."""
    ds = dataset(SCENE, bits=8)
    expected = read_radiograph(to_bytes(ds)).pixels
    ds.compress(JPEG2000Lossless)
    codestream = ds.PixelData[ds.PixelData.index(b"\xff\x4f\xff\x51") :]
    boxes = b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\0ftypjp2 \0\0\0\0jp2 \0\0\0\0jp2c"
    ds.PixelData = encapsulate([boxes + codestream])
    assert np.array_equal(read_in_time(to_bytes(ds)).pixels, expected)
    tiled = codestream[:24] + struct.pack(">II", 1, 1) + codestream[32:]
    tiled = tiled[:8] + struct.pack(">II", 9_000, 9_000) + tiled[16:]
    ds.Rows = ds.Columns = 9_000
    ds.PixelData = encapsulate([tiled])
    assert "no readable header" in read_in_time(to_bytes(ds))


@pytest.mark.parametrize("cut", [2, 10, 100, 2_000])
def test_a_jpeg_ls_image_that_is_cut(cut):
    """The decoder needed 3 s to find out."""
    noise = np.random.default_rng(0).integers(0, 256, (72, 80), dtype=np.uint8)
    ds = dataset(noise, bits=8)
    ds.compress(JPEGLSLossless)
    frame = ds.PixelData[ds.PixelData.index(b"\xff\xd8") : ds.PixelData.rindex(b"\xff\xd9") + 2]
    ds.PixelData = encapsulate([frame[:-cut]])
    assert "has no end: the file is truncated" in read_in_time(to_bytes(ds))
