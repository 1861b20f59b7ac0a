"""DICOM rule by rule, on files that the tests write."""

import contextlib
import io
import zlib

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG2MPML,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSLossless,
    RLELossless,
)

from tests.helpers.dicom_writing import (
    CR,
    SECONDARY_CAPTURE,
    dataset,
    every_value,
    jpeg_lossless,
    lut,
    to_bytes,
    written,
)
from thorax.errors import ImageError, UnsupportedImage
from thorax.imaging import read_radiograph
from thorax.radiograph import Sex, ViewPosition

EIGHT = np.arange(64 * 72, dtype=np.int64).reshape(64, 72).astype(np.uint8)
TWELVE = every_value(np.uint16, 12)
SIGNED = every_value(np.int16, 12)
FULL_WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}


def spread(values, bits=12):
    """Stored values of `bits` bits over the full range of uint16."""
    return np.floor(values * (65535 / (2**bits - 1)) + 0.5).astype(np.uint16)


def pixels(data):
    return read_radiograph(data).pixels


# ---- from stored values to gray ----------------------------------------------------------------


def test_eight_bits_stay_as_stored():
    radiograph = read_radiograph(written(EIGHT, bits=8), name="a.dcm")
    assert np.array_equal(radiograph.pixels, EIGHT)
    assert radiograph.pixels.dtype == np.uint8
    assert radiograph.origin.intensity == "8-bit as stored"
    assert (radiograph.origin.format, radiograph.origin.bits) == ("DICOM", 8)


def test_rows_and_columns_are_not_swapped():
    tall = np.zeros((100, 64), np.uint8)
    tall[3, 60] = 255
    assert np.argwhere(pixels(written(tall, bits=8))).tolist() == [[3, 60]]


def test_twelve_bits_are_spread_over_sixteen():
    radiograph = read_radiograph(written(TWELVE, bits=12))
    assert np.array_equal(radiograph.pixels, spread(TWELVE))
    assert radiograph.origin.intensity == "range of the image without padding"
    assert radiograph.origin.bits == 12


@pytest.mark.parametrize(
    "elements",
    [
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"PresentationLUTShape": "INVERSE"},
        {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"},
    ],
)
def test_inverted_once_whoever_says_so(elements):
    radiograph = read_radiograph(written(EIGHT, bits=8, **elements))
    assert np.array_equal(radiograph.pixels, 255 - EIGHT)
    assert radiograph.origin.intensity == "8-bit as stored, inverted"


@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_the_first_window_counts(function):
    elements = {"WindowCenter": [1000, 1], "WindowWidth": [500, 1]}
    if function is not None:
        elements["VOILUTFunction"] = function
    radiograph = read_radiograph(written(TWELVE, bits=12, **elements))
    x = TWELVE.astype(float)
    expected = {
        "LINEAR": np.clip((x - 999.5) / 499 + 0.5, 0, 1),
        "LINEAR_EXACT": np.clip((x - 1000) / 500 + 0.5, 0, 1),
        "SIGMOID": 1 / (1 + np.exp(-4 * (x - 1000) / 500)),
    }[function or "LINEAR"]
    assert np.abs(radiograph.pixels / 65535 - expected).max() <= 0.51 / 65535
    name = (function or "LINEAR").lower().replace("_", "-")
    assert radiograph.origin.intensity == f"VOI window 1 ({name})"


def test_a_window_on_eight_bits_gives_eight_bits():
    found = pixels(written(EIGHT, bits=8, WindowCenter=128, WindowWidth=64))
    expected = np.clip((EIGHT - 127.5) / 63 + 0.5, 0, 1) * 255
    assert found.dtype == np.uint8
    assert np.abs(found - expected).max() <= 0.5


def test_rescale_then_window_then_inversion():
    data = written(
        TWELVE,
        bits=12,
        RescaleSlope=2,
        RescaleIntercept=-1000,
        WindowCenter=3000,
        WindowWidth=1000,
        VOILUTFunction="LINEAR_EXACT",
        PhotometricInterpretation="MONOCHROME1",
    )
    expected = 1 - np.clip((TWELVE * 2.0 - 1000 - 3000) / 1000 + 0.5, 0, 1)
    assert np.abs(pixels(data) / 65535 - expected).max() <= 0.51 / 65535


def test_the_modality_lut_sequence():
    table = np.arange(4095, -1, -1)
    data = written(TWELVE, bits=12, ModalityLUTSequence=[lut(table, first=0, bits=12)], **FULL_WINDOW)
    assert np.array_equal(pixels(data), spread(4095 - TWELVE))


def test_a_voi_lut_goes_before_a_window_and_the_first_counts():
    first, second = lut(np.arange(1024), first=1000, bits=10), lut([0, 1], first=0, bits=16)
    radiograph = read_radiograph(written(TWELVE, bits=12, VOILUTSequence=[first, second], **FULL_WINDOW))
    expected = np.clip(TWELVE.astype(int) - 1000, 0, 1023) / 1023
    assert np.abs(radiograph.pixels / 65535 - expected).max() <= 0.51 / 65535
    assert radiograph.origin.intensity == "VOI LUT 1"


def test_a_voi_lut_of_65536_entries_and_one_of_packed_bytes():
    whole = lut(np.arange(65536), first=0, bits=16)
    sixteen = every_value(np.uint16, 16)
    assert np.array_equal(pixels(written(sixteen, bits=16, VOILUTSequence=[whole])), sixteen)
    packed = lut(np.arange(256, dtype=np.uint8)[::-1].copy().view("<u2"), first=0, bits=8, count=256)
    assert np.array_equal(pixels(written(EIGHT, bits=8, VOILUTSequence=[packed])), 255 - EIGHT)


def test_a_signed_voi_lut_starts_below_zero():
    table = lut(np.arange(4096), first=-2048, bits=12)
    data = written(SIGNED, bits=12, VOILUTSequence=[table])
    assert np.array_equal(pixels(data), spread(SIGNED.astype(int) + 2048))


def test_signed_values():
    assert np.array_equal(pixels(written(SIGNED, bits=12)), spread(SIGNED.astype(int) + 2048))
    eight = EIGHT.view(np.int8)
    assert np.array_equal(pixels(written(eight, bits=8)), EIGHT + np.uint8(128))


def test_padding_is_black_after_inversion_and_outside_the_range():
    image = (TWELVE // 8 + 1000).astype(np.uint16)
    image[:5], image[5:8] = 0, 4000
    elements = {
        "PixelPaddingValue": 4000,
        "PixelPaddingRangeLimit": 4095,
        "PhotometricInterpretation": "MONOCHROME1",
    }
    data = written(image, bits=12, **elements)
    found = pixels(data)
    assert not found[5:8].any()
    assert (found[:5] == 65535).all()
    inside = image[8:].astype(float)
    assert np.abs(found[8:] / 65535 - (1 - inside / inside.max())).max() <= 0.51 / 65535


def test_signed_padding_even_where_a_writer_chose_the_wrong_vr():
    image = SIGNED.copy()
    image[image < -2000] = -2000
    ds = dataset(image, bits=12)
    ds.add_new("PixelPaddingValue", "US", 65536 - 2000)
    found = pixels(to_bytes(ds))
    assert not found[image == -2000].any()
    assert np.array_equal(
        found[image > -2000], np.floor((image[image > -2000] + 1999.0) * 65535 / 4046 + 0.5)
    )


def test_overlay_bits_outside_the_stored_ones_are_cut_off():
    overlaid = TWELVE | np.uint16(0x5000)
    assert np.array_equal(pixels(written(overlaid, bits=12)), spread(TWELVE))
    shifted = (TWELVE << 4) | np.uint16(0x3)
    assert np.array_equal(pixels(written(shifted, bits=12, HighBit=15)), spread(TWELVE))


def test_a_window_without_width_is_none():
    radiograph = read_radiograph(written(TWELVE, bits=12, WindowCenter=100, WindowWidth=0))
    assert radiograph.origin.intensity == "range of the image without padding"


def test_a_color_image_is_read_where_it_is_gray_in_truth():
    gray = np.repeat(EIGHT[..., None], 3, axis=2)
    radiograph = read_radiograph(written(gray, bits=8, SOPClassUID=SECONDARY_CAPTURE, Modality="OT"))
    assert np.array_equal(radiograph.pixels, EIGHT)
    gray[10, 10] = (255, 0, 0)
    with pytest.raises(UnsupportedImage, match=r"a color image \(its channels differ by up to 255 of 255\)"):
        read_radiograph(written(gray, bits=8, SOPClassUID=SECONDARY_CAPTURE, Modality="OT"))


def test_a_color_image_of_sixteen_bits_is_refused():
    deep = np.repeat(TWELVE[..., None], 3, axis=2)
    with pytest.raises(
        UnsupportedImage, match="a color image with 16 bits per sample; export the image as gray"
    ):
        read_radiograph(written(deep, bits=12, SOPClassUID=SECONDARY_CAPTURE, Modality="OT"))


# ---- transfer syntaxes -------------------------------------------------------------------------


@pytest.mark.parametrize("image", [EIGHT, TWELVE, SIGNED], ids=["8", "12", "signed"])
@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless],
    ids=lambda syntax: syntax.name,
)
def test_lossless_ways_to_write_give_the_same_image(image, syntax):
    bits = 8 if image.itemsize == 1 else 12
    ds = dataset(image, bits=bits, PixelPaddingValue=0)
    expected = pixels(to_bytes(ds))
    if syntax == RLELossless:
        ds.compress(syntax)
    elif syntax == ExplicitVRBigEndian:
        ds.PixelData = image.astype(image.dtype.newbyteorder(">")).tobytes()
    ds.file_meta.TransferSyntaxUID = syntax
    assert np.array_equal(pixels(to_bytes(ds)), expected)


@pytest.mark.parametrize("image", [EIGHT, TWELVE, SIGNED], ids=["8", "12", "signed"])
@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless], ids=lambda syntax: syntax.name)
def test_lossless_codecs_give_the_same_image(image, syntax):
    if syntax == JPEGLSLossless and image is SIGNED:
        image = TWELVE  # JPEG-LS knows no signs
    ds = dataset(image, bits=8 if image.itemsize == 1 else 12)
    expected = pixels(to_bytes(ds))
    ds.compress(syntax)
    assert np.array_equal(pixels(to_bytes(ds)), expected)


@pytest.mark.parametrize("image", [EIGHT, TWELVE, SIGNED], ids=["8", "12", "signed"])
def test_jpeg_lossless(image):
    data = written(image, bits=8 if image.itemsize == 1 else 12)
    assert np.array_equal(pixels(jpeg_lossless(data)), pixels(data))


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (6, 200, r"of 1 x 16 bits, the compressed image 64 x 64 of 1 x 200; export the image again"),
        (11, 3, "the compressed image has no readable header"),
        (15, 0, "the compressed image has no readable header"),
        (16, 0xD7, "the compressed image has no readable header"),
        (16, 0xC3, "the compressed image has no readable header"),
    ],
)
def test_jpeg_headers_on_which_gdcm_would_end_the_process(at, value, message):
    data = bytearray(jpeg_lossless(written(TWELVE, bits=12)))
    start = data.index(b"\xff\xd8\xff\xc3")
    data[start + at] = value
    with pytest.raises(ImageError, match=message):
        read_radiograph(bytes(data))


def test_damaged_jpeg_lossless_never_ends_the_process():
    data = jpeg_lossless(written(TWELVE, bits=12))
    start, rng = data.index(b"\xff\xd8\xff\xc3"), np.random.default_rng(0)
    for _ in range(300):
        changed = bytearray(data)
        changed[start + rng.integers(60)] ^= rng.integers(1, 256)
        with contextlib.suppress(ImageError):
            read_radiograph(bytes(changed))


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGExtended12Bit], ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_baseline(syntax, mode):
    smooth = np.add.outer(np.arange(64), np.arange(72)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(smooth).convert(mode).save(stream, "JPEG", quality=95)
    ds = dataset(smooth if mode == "L" else np.repeat(smooth[..., None], 3, axis=2), bits=8)
    if mode == "RGB":
        ds.PhotometricInterpretation = "YBR_FULL_422"
    ds.PixelData = encapsulate([stream.getvalue()])
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = syntax
    decoded = np.asarray(Image.open(stream).convert("L")).astype(int)
    assert np.abs(pixels(to_bytes(ds)) - decoded).max() <= (0 if mode == "L" else 2)


def test_filling_before_a_jpeg_marker_is_passed_over():
    """Any marker may be preceded by bytes FF (ITU-T T.81 B.1.1.2)."""
    stream = io.BytesIO()
    Image.fromarray(EIGHT).save(stream, "JPEG", quality=95)
    jpeg = stream.getvalue()

    def read(frame):
        ds = dataset(EIGHT, bits=8)
        ds.PixelData = encapsulate([frame])
        ds["PixelData"].is_undefined_length = True
        ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        return pixels(to_bytes(ds))

    assert np.array_equal(read(jpeg[:2] + b"\xff\xff\xff" + jpeg[2:]), read(jpeg))


def test_a_jpeg_2000_image_that_ends_in_its_header_is_refused():
    ds = dataset(EIGHT, bits=8)
    ds.compress(JPEG2000Lossless)
    start = ds.PixelData.index(b"\xff\x4f\xff\x51")
    ds.PixelData = encapsulate([ds.PixelData[start : start + 42]])
    with pytest.raises(ImageError, match=r"the compressed image has no readable header \(42 bytes\)"):
        read_radiograph(to_bytes(ds))


def test_without_preamble_and_meta_information():
    ds = dataset(TWELVE, bits=12)
    expected = pixels(to_bytes(ds))
    for implicit, little in ((True, True), (False, True), (False, False)):
        if not little:
            ds.PixelData = TWELVE.astype(">u2").tobytes()
        data = to_bytes(ds, preamble=False, implicit_vr=implicit, little_endian=little)
        assert b"DICM" not in data[:200]
        assert np.array_equal(pixels(data), expected)


# ---- what the header says ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("elements", "view"),
    [
        ({"ViewPosition": "PA"}, ViewPosition.PA),
        ({"ViewPosition": "ap "}, ViewPosition.AP),
        ({"ViewPosition": "LL"}, ViewPosition.LATERAL),
        ({"ViewPosition": "RL"}, ViewPosition.LATERAL),
        ({"ViewPosition": "LLO"}, ViewPosition.UNKNOWN),
        ({}, ViewPosition.UNKNOWN),
        ({"PatientOrientation": ["A", "F"]}, ViewPosition.LATERAL),
        ({"PatientOrientation": ["L", "F"]}, ViewPosition.UNKNOWN),
        ({"ViewPosition": "PA", "PatientOrientation": ["P", "F"]}, ViewPosition.PA),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_view(elements, view):
    assert read_radiograph(written(EIGHT, bits=8, **elements)).view is view


@pytest.mark.parametrize(
    ("code", "view"),
    [("399348003", "AP"), ("R-10214", "PA"), ("399173006", "LL"), ("399067008", "LL"), ("399352003", "")],
)
def test_view_code(code, view):
    item = Dataset()
    item.CodeValue = code
    assert read_radiograph(written(EIGHT, bits=8, ViewCodeSequence=[item])).view == view


@pytest.mark.parametrize(
    ("said", "years"),
    [
        ("060Y", 60),
        ("011M", 0),
        ("025M", 2),
        ("012M", 1),
        ("104W", 1),
        ("366D", 1),
        ("62", 62),
        ("", None),
        ("411Y", None),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR AS")
def test_age(said, years):
    assert read_radiograph(written(EIGHT, bits=8, PatientAge=said)).age_years == years


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_sex_laterality_and_spacing():
    radiograph = read_radiograph(
        written(EIGHT, bits=8, PatientSex="F", ImageLaterality="R", ImagerPixelSpacing=[0.2, 0.1])
    )
    assert radiograph.sex is Sex.FEMALE
    assert radiograph.laterality == "R"
    assert radiograph.spacing_mm == (0.2, 0.1)
    calibrated = written(EIGHT, bits=8, ImagerPixelSpacing=[0.2, 0.1], PixelSpacing=[0.15, 0.075])
    assert read_radiograph(calibrated).spacing_mm == (0.15, 0.075)
    zero = written(EIGHT, bits=8, PixelSpacing=[0, 0], PatientSex="?", ImageLaterality="X")
    radiograph = read_radiograph(zero)
    assert (radiograph.spacing_mm, radiograph.sex, radiograph.laterality) == (None, Sex.UNKNOWN, "")


@pytest.mark.parametrize("part", ["CHEST", "Thorax", " chest pa", "CHEST_PORTABLE", "LUNG", "", None])
@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_body_parts_that_are_the_chest(part):
    assert np.array_equal(pixels(written(EIGHT, bits=8, BodyPartExamined=part)), EIGHT)


@pytest.mark.parametrize(
    ("sop_class", "modality"),
    [(CR, "CR"), (CR, ""), (SECONDARY_CAPTURE, "OT"), (SECONDARY_CAPTURE, None), (None, "DX"), (CR, "RG")],
)
def test_projection_radiography_under_its_many_names(sop_class, modality):
    data = written(EIGHT, bits=8, SOPClassUID=sop_class, Modality=modality)
    assert np.array_equal(pixels(data), EIGHT)


# ---- what is refused ---------------------------------------------------------------------------

CT = "1.2.840.10008.5.1.4.1.1.2"
CT_META = FileMetaDataset()
CT_META.TransferSyntaxUID, CT_META.MediaStorageSOPClassUID = ExplicitVRLittleEndian, UID(CT)


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"BodyPartExamined": "HAND"}, "Body Part Examined is HAND, not the chest; give a chest radiograph"),
        ({"BodyPartExamined": "TSPINE"}, "Body Part Examined is TSPINE, not the chest"),
        (
            {"Modality": "CT", "SOPClassUID": CT},
            "modality CT, SOP class CT Image Storage: not a projection radiograph",
        ),
        ({"Modality": "MR"}, "modality MR, SOP class Digital X-Ray Image Storage"),
        ({"Modality": "CR", "SOPClassUID": CT}, "modality CR, SOP class CT Image Storage"),
        ({"Modality": "US", "SOPClassUID": SECONDARY_CAPTURE}, "modality US, SOP class Secondary Capture"),
        (
            {"Modality": None, "SOPClassUID": None, "file_meta": CT_META},
            "modality not given, SOP class CT Image Storage",
        ),
        ({"NumberOfFrames": 2}, "the file holds 2 frames; a radiograph is a single image"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "the image is FOR PROCESSING, raw detector values"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "Photometric Interpretation is PALETTE COLOR"),
        ({"PhotometricInterpretation": None}, "Photometric Interpretation is absent"),
        ({"SamplesPerPixel": 2}, "2 samples of 8 bits per pixel"),
        ({"BitsAllocated": 32}, "1 samples of 32 bits per pixel"),
    ],
)
def test_sound_files_of_something_else(elements, message):
    with pytest.raises(UnsupportedImage, match=message):
        read_radiograph(written(EIGHT, bits=8, **elements))


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"PixelData": None}, "the DICOM file has no Pixel Data"),
        ({"PixelData": b""}, "Pixel Data holds 0 bytes, but 72 x 64 pixels take 4608"),
        ({"PixelData": bytes(4606)}, "Pixel Data holds 4606 bytes, but 72 x 64 pixels take 4608"),
        ({"Rows": 65}, "Pixel Data holds 4608 bytes, but 72 x 65 pixels take 4680"),
        ({"Rows": 0}, "the header says 72 x 0 pixels"),
        ({"Rows": None}, "the DICOM header gives nothing as Rows, where one number is needed"),
        ({"Rows": [64, 64]}, "gives no single number as Rows"),
        ({"Rows": 20_000, "Columns": 20_000}, "20000 x 20000 pixels are 400 megapixels, more than the 100"),
        ({"BitsStored": 9}, "Bits Allocated 8, Bits Stored 9 and High Bit 7 contradict"),
        ({"BitsStored": 0}, "Bits Stored 0"),
        ({"HighBit": 3}, "High Bit 3 contradict"),
        ({"RescaleSlope": 0}, "Rescale Slope is 0, which makes all pixels equal"),
        (
            {"WindowCenter": 1, "WindowWidth": 2, "VOILUTFunction": "CUBIC"},
            "VOI LUT Function is an unknown value of 5 characters, not LINEAR",
        ),
        (
            {"VOILUTSequence": [lut([1, 2, 3], first=0, bits=8, count=9)]},
            "the first LUT of VOILUTSequence has 6 entries",
        ),
    ],
)
def test_files_that_contradict_themselves(elements, message):
    with pytest.raises(ImageError, match=message):
        read_radiograph(written(EIGHT, bits=8, **elements))


def test_a_window_that_is_no_number():
    data = written(EIGHT, bits=8, WindowCenter="128", WindowWidth="64").replace(b"128 ", b"1x8 ")
    with pytest.raises(
        ImageError, match="WindowCenter is an unknown value of 3 characters instead of a number"
    ):
        read_radiograph(data)


def test_a_transfer_syntax_without_a_decoder():
    ds = dataset(EIGHT, bits=8)
    ds.PixelData = encapsulate([b"\x00\x01"])
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = MPEG2MPML
    with pytest.raises(UnsupportedImage, match=r"MPEG2 .* is not supported; convert the file to Explicit VR"):
        read_radiograph(to_bytes(ds))


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless], ids=lambda syntax: syntax.name)
def test_a_compressed_image_of_another_size_is_refused_before_it_is_decoded(syntax):
    ds = dataset(EIGHT, bits=8)
    ds.compress(syntax)
    ds.Rows = 1000
    with pytest.raises(
        ImageError, match="header says 72 x 1000 pixels of 1 x 8 bits, the compressed image 72 x 64"
    ):
        read_radiograph(to_bytes(ds))


def test_a_deflated_file_without_the_length_of_its_meta_information_is_read():
    ds = dataset(EIGHT, bits=8)
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data = to_bytes(ds)
    assert np.array_equal(pixels(data[:132] + data[144:]), EIGHT)


def test_a_deflated_bomb_is_refused():
    ds = dataset(EIGHT, bits=8)
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data = to_bytes(ds)
    start = 144 + int.from_bytes(data[140:144], "little")
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    block = deflater.compress(bytes(1_000_000)) + deflater.flush(zlib.Z_FULL_FLUSH)
    bomb = data[:start] + block * 450
    assert len(bomb) < 500_000
    with pytest.raises(ImageError, match="holds more than 400000000 bytes"):
        read_radiograph(bomb)


def test_odd_values_give_no_python_warnings(recwarn):
    data = written(EIGHT, bits=8, PatientAge="060Y", StudyDate="20200101").replace(b"20200101", b"not date")
    assert read_radiograph(data.replace(b"060Y", b"x6zY")).age_years is None
    assert not recwarn.list
