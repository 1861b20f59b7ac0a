"""Stored values and their gray: what a display shows first is what a model receives."""

import numpy as np
import pytest
from pydicom.uid import JPEG2000Lossless

from tests.helpers.dicom_writing import dataset, every_value, lut, to_bytes, written
from thorax.errors import ImageError, UnsupportedImage
from thorax.imaging import decoders, read_radiograph
from thorax.imaging.guarded import read_stored_guarded
from thorax.imaging.read import read_stored
from thorax.imaging.stored import Window

VALUES = every_value(bits=12)
SIGNED = every_value(np.int16, bits=12)

WINDOW = {"WindowCenter": 900, "WindowWidth": 700}

FILES = {
    "without a window": lambda: written(VALUES, bits=12),
    "window": lambda: written(VALUES, bits=12, **WINDOW),
    "inverted": lambda: written(VALUES, bits=12, PhotometricInterpretation="MONOCHROME1", **WINDOW),
    "sigmoid": lambda: written(VALUES, bits=12, VOILUTFunction="SIGMOID", **WINDOW),
    "signed": lambda: written(SIGNED, bits=12, WindowCenter=-100, WindowWidth=900),
    "rescaled": lambda: written(SIGNED, bits=12, RescaleSlope=0.5, RescaleIntercept=-7, **WINDOW),
    "falling": lambda: written(VALUES, bits=12, RescaleSlope=-1, RescaleIntercept=4000),
    "VOI LUT": lambda: written(
        VALUES, bits=12, VOILUTSequence=[lut(np.arange(0, 4096, 4), first=500, bits=12)]
    ),
    "modality LUT": lambda: written(
        VALUES, bits=12, ModalityLUTSequence=[lut(np.arange(0, 8192, 2), first=0, bits=13)]
    ),
    "padding": lambda: written(VALUES, bits=12, PixelPaddingValue=0, PixelPaddingRangeLimit=9),
    "eight bits": lambda: written(every_value(np.uint8, bits=8), bits=8),
}


@pytest.mark.parametrize("kind", FILES)
def test_the_table_gives_what_the_model_receives(kind):
    data = FILES[kind]()
    stored, radiograph = read_stored(data, "a.dcm"), read_radiograph(data, name="a.dcm")
    assert np.array_equal(stored.table[stored.values], radiograph.pixels)
    assert stored.table.dtype == radiograph.pixels.dtype
    assert (stored.view, stored.laterality) == (radiograph.view, radiograph.laterality)
    assert stored.origin.intensity == radiograph.origin.intensity


@pytest.mark.parametrize(
    ("kind", "window", "inverted", "padding"),
    [
        ("without a window", Window(2047.5, 4095.0, "LINEAR_EXACT"), False, None),
        ("inverted", Window(900.0, 700.0, "LINEAR"), True, None),
        ("sigmoid", Window(900.0, 700.0, "SIGMOID"), False, None),
        ("falling", Window(1952.5, 4095.0, "LINEAR_EXACT"), False, None),
        ("VOI LUT", None, False, None),
        ("modality LUT", None, False, None),
        ("padding", Window(2052.5, 4085.0, "LINEAR_EXACT"), False, (0, 9)),
        ("eight bits", Window(127.5, 255.0, "LINEAR_EXACT"), False, None),
    ],
)
def test_the_window_is_that_of_the_file_or_the_range_of_its_values(kind, window, inverted, padding):
    stored = read_stored(FILES[kind](), "a.dcm")
    assert (stored.window, stored.inverted, stored.padding) == (window, inverted, padding)


def test_values_have_the_unit_and_the_order_of_the_file():
    signed = read_stored(FILES["signed"](), "a.dcm")
    assert np.array_equal(signed.slope * signed.values + signed.intercept, SIGNED)
    rescaled = read_stored(FILES["rescaled"](), "a.dcm")
    assert np.array_equal(rescaled.slope * rescaled.values + rescaled.intercept, SIGNED * 0.5 - 7)


def test_a_voi_that_loses_the_image_is_not_the_window():
    lost = read_stored(written(VALUES, bits=12, WindowCenter=30000, WindowWidth=2), "a.dcm")
    assert lost.window == Window(2047.5, 4095.0, "LINEAR_EXACT")
    assert any("nearly all pixels in one gray" in doubt for doubt in lost.origin.doubts)


@pytest.mark.parametrize(
    ("stated", "expected"),
    [("L\\F", ("L", "F")), ("R\\F", ("R", "F")), ("L", None), ("X\\Y", None), ("", None)],
)
def test_the_orientation_is_what_the_header_says(stated, expected):
    assert read_stored(written(VALUES, bits=12, PatientOrientation=stated), "a.dcm").orientation == expected


def compressed():
    ds = dataset(SIGNED, bits=12, PatientOrientation="L\\F", PixelPaddingValue=-2048, **WINDOW)
    ds.compress(JPEG2000Lossless)
    return to_bytes(ds)


def test_a_decoder_apart_says_the_same():
    data = compressed()
    here, apart = read_stored(data, "a.dcm"), read_stored_guarded(data, name="a.dcm")
    assert np.array_equal(here.values, apart.values)
    assert np.array_equal(here.table, apart.table)
    for name in ("slope", "intercept", "window", "inverted", "padding", "origin", "view", "orientation"):
        assert getattr(here, name) == getattr(apart, name)


def test_files_that_cannot_be_read_are_refused_in_the_same_words():
    with pytest.raises(UnsupportedImage, match=r"a\.dcm: Body Part Examined is HAND"):
        read_stored_guarded(written(VALUES, bits=12, BodyPartExamined="HAND"), name="a.dcm")
    hand = dataset(VALUES, bits=12, BodyPartExamined="HAND")
    hand.compress(JPEG2000Lossless)
    with pytest.raises(UnsupportedImage, match=r"a\.dcm: Body Part Examined is HAND"):
        read_stored_guarded(to_bytes(hand), name="a.dcm")
    with pytest.raises(ImageError, match=r"a\.dcm: the file is empty"):
        read_stored_guarded(b"", name="a.dcm")


def test_an_answer_that_is_not_an_image():
    """As of a decoder that a file has taken over; every value needs a gray."""
    said, content = decoders.read_task("stored", ("a.dcm", compressed()))
    for changes in (
        {"values": [7, 80, "uint16"]},
        {"values": [64, 64, "object"]},
        {"table": [4095, "uint16"]},
        {"table": [100, "uint8"]},
        {"window": {"center": 1}},
        {"window": 3},
        {"more": 1},
    ):
        with pytest.raises(ImageError, match=r"a\.dcm: the answer of its decoder is not a radiograph"):
            decoders._stored(said | changes, content, "a.dcm")
