"""Pictures that public bug reports say are read wrong: right, refused, or predicted with a warning.

The names are those of the reports' kinds.
"""

import csv
import io
import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset

import thorax
from tests.helpers.command import command
from tests.helpers.dicom_writing import lut, written
from tests.helpers.service import GOLDEN
from thorax.errors import ImageError
from thorax.imaging import read_radiograph
from thorax.imaging.jpeg_markers import read_jpeg_header, scans

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
    assert "nearly all pixels in one gray, so the image is shown without it (range of the image" in doubt
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
    assert "so the image is shown without it (8-bit as stored" in radiograph.origin.doubts[0]


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
    assert doubts == ("100.0 % of the pixels have the same gray, so there is next to nothing to see",)
    dark = (SCENE // 400).astype(np.uint8)
    (doubt,) = read_radiograph(as_png(dark)).origin.doubts
    assert doubt.startswith("its grays go only from 0 % to 3 % of white, so there is little to see; ")


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


# ---- F06: JPEG whose data end early ---------------------------------------------------------------


def as_jpeg(array, **options):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "JPEG", **({"quality": 95} | options))
    return stream.getvalue()


KINDS = {
    "baseline": {},
    "optimized": {"optimize": True},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 5},
    "coarse": {"quality": 20},
}


def scan_of(data):
    """Where the data of the largest scan begin and end."""
    header = read_jpeg_header(data)
    parts, _ = scans(data, header.data_at)
    return max(parts, key=lambda part: part[1] - part[0])


@pytest.mark.parametrize("colors", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_f06_a_whole_jpeg_is_read_as_pillow_reads_it(kind, colors):
    scene = (SCENE // 16).astype(np.uint8)
    for gray in (scene, np.zeros_like(scene), scene[:65, :71]):
        data = as_jpeg(np.dstack([gray, gray // 2, 255 - gray]) if colors else gray, **KINDS[kind])
        expected = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
        assert np.array_equal(read_radiograph(data).pixels, expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", [0.1, 0.5, 0.95])
def test_f06_a_jpeg_whose_data_end_early_is_refused(kind, part):
    data = as_jpeg((SCENE // 16).astype(np.uint8), **KINDS[kind])
    begin, end = scan_of(data)
    cut = begin + int((end - begin) * part)
    with pytest.raises(
        ImageError, match=r"cut\.jpg: the JPEG image is damaged.*its data end before the image"
    ):
        read_radiograph(data[:cut].rstrip(b"\xff") + data[end:], name="cut.jpg")


def test_f06_a_jpeg_with_zeros_in_the_middle_is_refused():
    noisy = np.random.default_rng(0).integers(0, 256, (96, 80), dtype=np.uint8)
    data = as_jpeg(noisy)
    begin, end = scan_of(data)
    middle = (begin + end) // 2
    with pytest.raises(ImageError, match="its data"):
        read_radiograph(data[:middle] + bytes(500) + data[middle + 500 :])


def test_f06_a_jpeg_whose_data_go_on_behind_the_image_is_refused():
    data = as_jpeg((SCENE // 16).astype(np.uint8))
    _, end = scan_of(data)
    with pytest.raises(ImageError, match="its data go on behind the image"):
        read_radiograph(data[:end] + data[end - 200 : end] + data[end:])


def test_f06_a_jpeg_without_its_last_marker_is_whole():
    data = as_jpeg((SCENE // 16).astype(np.uint8))
    assert np.array_equal(read_radiograph(data[:-2]).pixels, read_radiograph(data).pixels)


# ---- F07: PNG with an orientation -----------------------------------------------------------------


def png_with(array, kind, content):
    """A PNG with one more chunk, before its end."""
    data = as_png(array)
    chunk = kind + content
    return (
        data[:-12]
        + struct.pack(">I", len(content))
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + data[-12:]
    )


def stored(orientation):
    """EXIF 2.32: which sides of the picture row 0 and column 0 of the stored image are."""
    scene = (SCENE // 16).astype(np.uint8)
    return {3: scene[::-1, ::-1], 6: np.rot90(scene, 1), 8: np.rot90(scene, -1)}[orientation]


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_f07_a_png_is_turned_upright_by_exif_or_xmp(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    raw = exif.tobytes()
    lines = b"\nexif\n%8d\n" % len(raw) + raw.hex().encode() + b"\n"
    xmp = b'XML:com.adobe.xmp\0\0\0\0\0<rdf:Description tiff:Orientation="%d"/>' % orientation
    for kind, content in (
        (b"eXIf", raw),
        (b"eXIf", raw.removeprefix(b"Exif\0\0")),
        (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(lines)),
        (b"iTXt", xmp),
    ):
        data = png_with(np.ascontiguousarray(stored(orientation)), kind, content)
        for source in (data, Image.open(io.BytesIO(data))) if kind != b"zTXt" else (data,):
            assert np.array_equal(read_radiograph(source).pixels, (SCENE // 16).astype(np.uint8))


def test_f07_damaged_exif_says_nothing_and_warns_nobody(recwarn):
    scene = (SCENE // 16).astype(np.uint8)
    for content in (b"", b"II", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff\x01\x12", b"Exif\0\0x"):
        assert np.array_equal(read_radiograph(png_with(scene, b"eXIf", content)).pixels, scene)
        jpeg = as_jpeg(scene)
        body = b"Exif\0\0" + content
        marked = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]
        assert np.array_equal(read_radiograph(marked).pixels, read_radiograph(jpeg).pixels)
    assert not recwarn.list
