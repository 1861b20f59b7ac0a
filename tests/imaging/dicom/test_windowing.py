"""The gray pipeline against the formulas of PS3.3, worked out by hand and value by value."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from thorax.imaging.dicom.windowing import GrayRule, LookupTable, Rescale, Window, apply_rule

IDENTITY = Rescale(1.0, 0.0)


def rule(**changes):
    settings_ = {
        "bits": 12,
        "signed": False,
        "modality": IDENTITY,
        "voi": None,
        "inverted": False,
        "padding": None,
    }
    return GrayRule(**(settings_ | changes))


def codes(values, bits=12):
    return (np.atleast_2d(values) & (2**bits - 1)).astype(np.uint16)


def gray_of(values, gray_rule, white=65535):
    grays = apply_rule(gray_rule, codes(values, gray_rule.bits))
    return grays.pixels[0] / white, grays.intensity


def windowed(value, window):
    """PS3.3 C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2 as they are written, ymin 0 and ymax 1."""
    c, w = window.center, window.width
    if window.function == "SIGMOID":
        return 1 / (1 + math.exp(min(-4 * (value - c) / w, 700)))
    if window.function == "LINEAR_EXACT":
        if value <= c - w / 2:
            return 0
        return 1 if value > c + w / 2 else (value - c) / w + 0.5
    if value <= c - 0.5 - (w - 1) / 2:
        return 0
    return 1 if value > c - 0.5 + (w - 1) / 2 else (value - (c - 0.5)) / (w - 1) + 0.5


@settings(max_examples=100, deadline=None)
@given(
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    center=st.floats(-500, 4500),
    width=st.floats(1, 5000),
    slope=st.sampled_from([1.0, 0.5, -2.0]),
    intercept=st.sampled_from([0.0, -1024.0, 3.5]),
    values=st.lists(st.integers(0, 4095), min_size=1, max_size=20),
    inverted=st.booleans(),
)
def test_windows_follow_the_standard(*, function, center, width, slope, intercept, values, inverted):
    window = Window(center, width, function)
    gray, how = gray_of(values, rule(modality=Rescale(slope, intercept), voi=window, inverted=inverted))
    assume(how.startswith("VOI"))  # a window beside all values is ignored
    for value, found in zip(values, gray, strict=True):
        expected = windowed(value * slope + intercept, window)
        assert found == pytest.approx(1 - expected if inverted else expected, abs=0.51 / 65535)
    assert how.startswith("VOI window 1 (")
    assert how.endswith(", inverted") == inverted


def test_a_linear_window_by_hand():
    # The examples of C.11.2.1.2.1: c 2048, w 4096 lets 12 bits through; c 0, w 100 spans -50 to 49.
    gray, how = gray_of([0, 2048, 4095], rule(voi=Window(2048.0, 4096.0, "LINEAR")))
    assert gray == pytest.approx([0, 2048 / 4095, 1], abs=1e-5)
    assert how == "VOI window 1 (linear)"
    gray, _ = gray_of([-51, -50, -1, 0, 49, 50], rule(signed=True, voi=Window(0.0, 100.0, "LINEAR")))
    assert gray == pytest.approx([0, 0, 49 / 99, 50 / 99, 1, 1], abs=1e-5)


def test_a_window_of_width_one_is_a_threshold():
    gray, _ = gray_of([99, 100, 101], rule(voi=Window(100.5, 1.0, "LINEAR")))
    assert gray.tolist() == [0, 0, 1]


def test_a_very_narrow_sigmoid_does_not_overflow():
    gray, _ = gray_of([0, 99, 100, 101, 4095], rule(voi=Window(100.0, 1e-9, "SIGMOID")))
    assert gray == pytest.approx([0, 0, 0.5, 1, 1], abs=1e-5)


def test_a_lookup_table_holds_its_ends():
    table = LookupTable(10, np.array([0, 100, 1023]), 10)
    gray, how = gray_of([0, 9, 10, 11, 12, 13, 4000], rule(voi=table))
    assert gray == pytest.approx([0, 0, 0, 100 / 1023, 1, 1, 1], abs=1e-5)
    assert how == "VOI LUT 1"


def test_the_modality_comes_before_the_voi():
    modality = LookupTable(0, np.array([500, 400, 300]), 16)
    gray, _ = gray_of([0, 1, 2], rule(modality=modality, voi=Window(400.0, 200.0, "LINEAR_EXACT")))
    assert gray == pytest.approx([1, 0.5, 0], abs=1e-5)


def test_without_voi_deep_images_use_the_range_that_is_there():
    gray, how = gray_of([100, 150, 300], rule())
    assert gray == pytest.approx([0, 0.25, 1], abs=1e-5)
    assert how == "range of the image without padding"


@pytest.mark.parametrize("inverted", [False, True])
def test_padding_is_black_and_does_not_stretch_the_range(inverted):
    gray, _ = gray_of([0, 4095, 100, 150, 300], rule(inverted=inverted, padding=(0, 0)))
    assert gray[0] == 0
    gray, _ = gray_of([4000, 4095, 100, 150, 300], rule(inverted=inverted, padding=(4000, 4095)))
    assert gray == pytest.approx([0, 0, 1, 0.75, 0] if inverted else [0, 0, 0, 0.25, 1], abs=1e-5)


def test_signed_values():
    gray, _ = gray_of([-2048, -1024, 2047], rule(signed=True))
    assert gray == pytest.approx([0, 1024 / 4095, 1], abs=1e-5)
    gray, _ = gray_of([-2000, -100, 0, 100], rule(signed=True, padding=(-2000, -2000)))
    assert gray == pytest.approx([0, 0, 0.5, 1], abs=1e-5)


@pytest.mark.parametrize("bits", [1, 4, 6, 8])
def test_without_voi_shallow_images_use_all_their_bits(bits):
    values = np.arange(2**bits)
    grays = apply_rule(rule(bits=bits), codes(values, bits))
    pixels, how = grays.pixels, grays.intensity
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels[0], np.round(values * 255 / (2**bits - 1)))
    assert how == ("8-bit as stored" if bits == 8 else f"full range of {bits} bits")
    inverted = apply_rule(rule(bits=bits, inverted=True), codes(values, bits)).pixels
    assert np.array_equal(inverted, pixels[:, ::-1])


def test_a_negative_slope_turns_the_values_round():
    pixels = apply_rule(rule(bits=8, modality=Rescale(-1.0, 255.0)), codes(np.arange(256), 8)).pixels
    assert np.array_equal(pixels[0], np.arange(255, -1, -1))


@pytest.mark.parametrize("value", [0, 7, 4095])
def test_an_image_of_one_value_is_black(value):
    gray, _ = gray_of([value] * 3, rule())
    assert not gray.any()
    gray, _ = gray_of([value] * 3, rule(padding=(value, value)))
    assert not gray.any()


@settings(max_examples=30, deadline=None)
@given(center=st.floats(0, 4095), width=st.floats(1, 5000), slope=st.sampled_from([1.0, 2.0]))
def test_agrees_with_pydicom(center, width, slope):
    ds = Dataset()
    ds.PhotometricInterpretation, ds.BitsStored, ds.PixelRepresentation = "MONOCHROME2", 12, 0
    ds.RescaleSlope, ds.RescaleIntercept = slope, 0
    ds.WindowCenter, ds.WindowWidth = round(center, 3), round(width, 3)
    stored = np.arange(4096)
    theirs = apply_voi_lut(apply_modality_lut(stored, ds), ds) / (4095 * slope)
    window = Window(float(ds.WindowCenter), float(ds.WindowWidth), "LINEAR")
    ours, how = gray_of(stored, rule(modality=Rescale(slope, 0.0), voi=window))
    assume(how.startswith("VOI"))
    assert np.abs(ours - theirs).max() <= 0.51 / 65535
