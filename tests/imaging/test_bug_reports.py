"""Pictures that public bug reports say are read wrong: right, refused, or predicted with a warning.

The names are those of the reports' kinds.
"""

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset

import thorax
from tests.helpers.command import command
from tests.helpers.dicom_writing import lut, written
from tests.helpers.service import GOLDEN
from thorax.imaging import read_radiograph

ROWS, COLUMNS = np.mgrid[0:96, 0:80]
SCENE = ((np.sin(ROWS / 9) + np.cos(COLUMNS / 7) + 2) * 900).astype(np.uint16)
"""A smooth picture of 12 bits."""


def as_png(array, **options):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG", **options)
    return stream.getvalue()


def spread(values):
    """The range of the values over the range of uint16."""
    low, high = int(values.min()), int(values.max())
    return np.floor((values.astype(float) - low) / (high - low) * 65535 + 0.5).astype(np.uint16)


# ---- F03: a picture of one gray -------------------------------------------------------------------


@pytest.mark.parametrize(
    "elements",
    [
        {"WindowCenter": -2725, "WindowWidth": 1310},
        {"WindowCenter": 0, "WindowWidth": 1},
        {"WindowCenter": 9000, "WindowWidth": 10, "VOILUTFunction": "SIGMOID"},
        {"VOILUTSequence": [lut([4095] * 4096, first=0, bits=12)]},
        {"VOILUTSequence": [lut([0] * 4096, first=0, bits=12)]},
        {"WindowCenter": 2000, "WindowWidth": 4000, "RescaleIntercept": -9000, "RescaleSlope": 1},
    ],
    ids=["beside", "width-1", "sigmoid", "white-lut", "black-lut", "stored-units"],
)
def test_f03_a_voi_that_shows_one_gray_gives_way_to_the_range_of_the_image(elements):
    radiograph = read_radiograph(written(SCENE + 1, bits=12, **elements))
    assert np.array_equal(radiograph.pixels, spread(SCENE))
    (doubt,) = radiograph.origin.doubts
    assert "shows nearly all pixels in one gray, so it was ignored: range of the image" in doubt
    assert radiograph.origin.intensity == "range of the image without padding"


def test_f03_a_few_pixels_that_the_window_shows_do_not_hide_that_it_is_wrong():
    scene = SCENE + np.uint16(30_000)
    scene[:2, :20] = 10
    radiograph = read_radiograph(written(scene, bits=16, WindowCenter=2725, WindowWidth=5310))
    assert np.array_equal(radiograph.pixels, spread(scene))
    assert "VOI window 1 (linear) shows nearly all pixels in one gray" in radiograph.origin.doubts[0]


def test_f03_eight_bits_fall_back_to_their_full_range():
    scene = (SCENE // 16).astype(np.uint8)
    radiograph = read_radiograph(
        written(scene, bits=8, WindowCenter=-50, WindowWidth=20, PhotometricInterpretation="MONOCHROME1")
    )
    assert np.array_equal(radiograph.pixels, 255 - scene)
    assert "so it was ignored: 8-bit as stored" in radiograph.origin.doubts[0]


def test_f03_an_image_that_is_all_padding_is_read_as_values():
    radiograph = read_radiograph(written(SCENE, bits=12, PixelPaddingValue=0, PixelPaddingRangeLimit=4095))
    assert np.array_equal(radiograph.pixels, spread(SCENE))
    assert radiograph.origin.doubts == (
        "nearly all of its pixels are padding (0 to 4095), so they were read as values",
    )


def test_f03_nothing_to_see_is_said():
    blank = np.full((64, 64), 7, np.uint16)
    said = "so there is nothing to see"
    assert said in read_radiograph(written(blank, bits=12, PixelPaddingValue=7)).origin.doubts[0]
    for array in (blank.astype(np.uint8), np.zeros((64, 64), np.uint8), np.full((64, 64), 40_000, np.uint16)):
        for source in (array, as_png(array)):
            (doubt,) = read_radiograph(source).origin.doubts
            assert said in doubt
    blank[0, 0] = 900
    doubts = read_radiograph(blank.astype(np.uint8)).origin.doubts
    assert doubts == ("100.0% of the pixels have the same gray, so there is next to nothing to see",)
    dark = (SCENE // 400).astype(np.uint8)
    (doubt,) = read_radiograph(as_png(dark)).origin.doubts
    assert doubt.startswith("its grays go only from 0% to 3% of white, so there is little to see; ")


def test_f03_every_door_shows_it(tmp_path):
    path, good = tmp_path / "beside.dcm", GOLDEN / "source"
    path.write_bytes(written(SCENE, bits=12, WindowCenter=-2725, WindowWidth=1310))
    model = thorax.load(GOLDEN / "run")
    prediction = model.predict(path)
    (warning,) = prediction.warnings
    assert "VOI window 1 (linear) shows nearly all pixels in one gray" in warning
    assert f"Note: {warning}." in prediction._repr_html_()
    assert model.predict(next(good.glob("*.png"))).warnings == ()

    table = command("predict", GOLDEN / "run", path)
    assert f"{path}: warning: {warning}" in table.stderr
    as_json = command("predict", GOLDEN / "run", path, "--json")
    assert json.loads(as_json.stdout)["warnings"] == [warning]
    rows = list(csv.DictReader(io.StringIO(command("predict", GOLDEN / "run", path, "--csv").stdout)))
    assert {row["warnings"] for row in rows} == {warning}


# ---- F04: VOI LUT whose entries do not fit its descriptor -----------------------------------------


@pytest.mark.parametrize(("stated", "largest"), [(16, 4095), (16, 1023), (12, 65535), (8, 4095)])
def test_f04_a_voi_lut_is_scaled_by_its_largest_entry(stated, largest):
    entries = np.round(np.linspace(0, largest, 4096))
    table = lut(entries, first=0, bits=stated)
    radiograph = read_radiograph(written(SCENE, bits=12, VOILUTSequence=[table]))
    expected = np.floor(entries[SCENE] / largest * 65535 + 0.5)
    assert np.array_equal(radiograph.pixels, expected)
    (doubt,) = radiograph.origin.doubts
    assert doubt.startswith(f"the entries of its VOI LUT go up to {largest}, where it states {stated} bits, ")


def test_f04_a_voi_lut_as_it_says_is_not_doubted():
    table = lut(np.arange(3000), first=0, bits=12)
    radiograph = read_radiograph(written(SCENE, bits=12, VOILUTSequence=[table]))
    expected = np.minimum(SCENE, 2999) / 4095
    assert np.abs(radiograph.pixels / 65535 - expected).max() <= 0.51 / 65535
    assert radiograph.origin.doubts == ()


# ---- F05: 16-bit PNG that holds fewer bits --------------------------------------------------------


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_f05_values_of_fewer_bits_in_a_16_bit_png_are_spread(bits):
    values = (SCENE.astype(float) * (2**bits - 20) / SCENE.max()).astype(np.uint16)
    for source in (as_png(values), values, Image.fromarray(values)):
        radiograph = read_radiograph(source)
        assert np.array_equal(radiograph.pixels, spread(values))
        assert f"assumed to hold values of {bits} bits" in radiograph.origin.doubts[0]
        assert radiograph.origin.intensity.endswith(", spread")


# ---- F13: LUT sequence with an empty item ---------------------------------------------------------


def test_f13_an_empty_lut_item_is_ignored():
    window = {"WindowCenter": 2048, "WindowWidth": 4096}
    plain = read_radiograph(written(SCENE, bits=12, **window)).pixels
    for keyword in ("VOILUTSequence", "ModalityLUTSequence"):
        radiograph = read_radiograph(written(SCENE, bits=12, **window, **{keyword: [Dataset()]}))
        assert np.array_equal(radiograph.pixels, plain)
        assert radiograph.origin.doubts == ()
    table = lut(np.arange(4096), first=0, bits=12)
    after = written(SCENE, bits=12, VOILUTSequence=[Dataset(), table])
    assert np.array_equal(read_radiograph(after).pixels, plain)
