"""DICOM files that public bug reports say are read wrong or refused with a false reason."""

import io
import struct

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSLossless,
    RLELossless,
)

from tests.helpers.dicom_writing import CR, DX, SECONDARY_CAPTURE, dataset, jpeg_lossless, to_bytes, written
from thorax.errors import ImageError, UnsupportedImage
from thorax.imaging import read_radiograph
from thorax.imaging.jpeg_markers import read_jpeg_header

ROWS, COLUMNS = np.mgrid[0:96, 0:80]
SCENE = ((np.sin(ROWS / 9) + np.cos(COLUMNS / 7) + 2) * 900).astype(np.uint16)
EIGHT = (SCENE // 16).astype(np.uint8)
END = b"\xfe\xff\xdd\xe0\0\0\0\0"


def pixels(data):
    return read_radiograph(data).pixels


def jpeg_dataset(image=EIGHT, **elements):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=95)
    ds = dataset(image, bits=8, **elements)
    ds.PixelData = encapsulate([stream.getvalue()])
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    return ds


JPEG = to_bytes(jpeg_dataset())

# ---- F01: no Modality and no SOP Class, as in VinDr-CXR ------------------------------------------


@pytest.mark.parametrize("sop_class", [DX, CR, SECONDARY_CAPTURE])
def test_f01_the_meta_information_tells_the_kind_where_nothing_else_does(sop_class):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, sop_class
    ds = dataset(EIGHT, bits=8, Modality=None, SOPClassUID=None, file_meta=meta)
    if sop_class == SECONDARY_CAPTURE:
        ds.Modality = "OT"
    assert np.array_equal(pixels(to_bytes(ds)), EIGHT)


# ---- F02: compressed files that are cut, or lack their last delimiter ----------------------------


def test_f02_a_missing_delimiter_does_no_harm():
    assert JPEG.endswith(END)
    expected = pixels(JPEG)
    for tail in (b"", bytes(8), b"\0", END + b"more"):
        assert np.array_equal(pixels(JPEG.removesuffix(END) + tail), expected)


@pytest.mark.parametrize("part", [0.3, 0.6, 0.95, 0.999])
def test_f02_a_file_cut_in_its_compressed_image_is_truncated(part):
    start = JPEG.index(b"\xff\xd8")
    cut = start + int((len(JPEG) - len(END) - start) * part)
    with pytest.raises(
        ImageError, match=r"the DICOM file is truncated: fragment 1 of its compressed image has"
    ):
        read_radiograph(JPEG[:cut])


def test_f02_something_else_between_the_fragments_is_damage():
    with pytest.raises(
        ImageError, match="neither a fragment of its compressed image nor its end begins at byte"
    ):
        read_radiograph(JPEG.removesuffix(END) + b"garbage!")


# ---- F06, F14, F15: JPEG in DICOM -----------------------------------------------------------------


def test_f06_a_jpeg_in_dicom_whose_data_end_early_is_refused():
    start, end = JPEG.index(b"\xff\xda") + 10, JPEG.rindex(b"\xff\xd9")
    zeroed = JPEG[: (start + end) // 2] + bytes(end - (start + end) // 2) + JPEG[end:]
    with pytest.raises(ImageError, match="its data"):
        read_radiograph(zeroed)


def test_f14_an_8_bit_jpeg_in_16_allocated_is_read():
    ds = jpeg_dataset()
    ds.BitsAllocated = 16
    assert np.array_equal(pixels(to_bytes(ds)), pixels(JPEG))


@pytest.mark.parametrize("offset", [4, 0x7FFFFFFF])
def test_f15_a_wrong_offset_table_does_no_harm_to_one_frame(offset):
    at = JPEG.index(b"\xfe\xff\x00\xe0\x04\0\0\0") + 8
    assert np.array_equal(pixels(JPEG[:at] + struct.pack("<I", offset) + JPEG[at + 4 :]), pixels(JPEG))


# ---- F09: values with more bits than are stored --------------------------------------------------


def test_f09_values_above_bits_stored_are_refused():
    with pytest.raises(ImageError, match="bits that differ from pixel to pixel outside Bits Stored 12"):
        read_radiograph(written(SCENE * 8, bits=12))


def test_f09_a_high_bit_that_does_not_fit_is_refused():
    with pytest.raises(ImageError, match="outside Bits Stored 12 and High Bit 15"):
        read_radiograph(written(SCENE, bits=12, HighBit=15))


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless, RLELossless], ids=lambda uid: uid.name)
def test_f09_lossless_codecs_with_more_bits_than_stored_are_refused(syntax):
    ds = dataset(SCENE, bits=12)
    ds.compress(syntax)
    ds.BitsStored, ds.HighBit = 10, 9
    with pytest.raises(ImageError, match="outside Bits Stored 10"):
        read_radiograph(to_bytes(ds))


def test_f09_jpeg_lossless_of_12_bits_where_10_are_stated_is_refused():
    data = bytearray(jpeg_lossless(written(SCENE, bits=12)))
    for element, value in ((0x0101, 10), (0x0102, 9)):
        at = data.index(struct.pack("<HH", 0x0028, element)) + 8
        data[at] = value
    with pytest.raises(ImageError, match="outside Bits Stored 10"):
        read_radiograph(bytes(data))


def test_f09_a_repeated_sign_and_an_overlay_are_no_contradiction():
    signed = SCENE.astype(np.int16) - 1600
    expected = pixels(written(SCENE, bits=12))
    assert np.array_equal(pixels(written(signed, bits=12)), expected)
    overlaid = SCENE | (((ROWS + COLUMNS) % 2) << 14).astype(np.uint16)
    ds = dataset(overlaid, bits=12)
    ds.add_new((0x6000, 0x0100), "US", 16)
    ds.add_new((0x6000, 0x0102), "US", 14)
    assert np.array_equal(pixels(to_bytes(ds)), pixels(written(SCENE, bits=12)))


# ---- F10: Patient Orientation ---------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize(
    ("view", "orientation", "doubted"),
    [
        ("PA", ["L", "F"], False),
        ("AP", ["LH", "FL"], False),
        ("PA", None, False),
        ("PA", ["SMITH", "JOHN"], False),
        ("PA", ["R", "F"], True),
        ("PA", ["F", "L"], True),
        ("AP", ["H", "L"], True),
        ("PA", ["L", "H"], True),
        ("LL", ["A", "F"], False),
        ("LL", ["P", "F"], False),
        ("LL", ["A", "H"], True),
    ],
)
def test_f10_a_picture_that_is_mirrored_or_turned_is_doubted(view, orientation, doubted):
    elements = {"ViewPosition": view} | ({"PatientOrientation": orientation} if orientation else {})
    radiograph = read_radiograph(written(EIGHT, bits=8, **elements))
    assert np.array_equal(radiograph.pixels, EIGHT)
    if doubted:
        (doubt,) = radiograph.origin.doubts
        stated = "\\".join(part[0] for part in orientation)
        assert doubt.startswith(f"its Patient Orientation is {stated}, where an upright")
    else:
        assert radiograph.origin.doubts == ()


# ---- F16: Body Part Examined ----------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("part", "charset"),
    [
        ("TÓRAX", "ISO_IR 100"),
        ("TÓRAX", "ISO_IR 192"),
        ("ГРУДНАЯ КЛЕТКА", "ISO_IR 144"),
        ("胸部", "GB18030"),
        ("CHESTPA", None),
        ("ABDOMEN\\CHEST", None),
        ("BRUSTKORB", None),
        ("PULMON", None),
        ("UNKNOWN", None),
        ("N/A", None),
        ("---", None),
        ("ANONYMIZED", None),
        ("OTHER", None),
    ],
)
def test_f16_the_chest_in_other_words_and_words_for_not_known(part, charset):
    ds = dataset(EIGHT, bits=8, BodyPartExamined=None)
    codec = {"ISO_IR 100": "latin-1", "ISO_IR 192": "utf-8", "ISO_IR 144": "iso8859-5"}.get(charset, charset)
    raw = part.encode(codec or "ascii")
    raw += b" " * (len(raw) % 2)
    data = to_bytes(ds)
    stated = b"" if charset is None else charset.encode() + b" " * (len(charset) % 2)
    element = struct.pack("<HH2sH", 0x0018, 0x0015, b"CS", len(raw)) + raw
    at = data.index(struct.pack("<HH2s", 0x0028, 0x0002, b"US"))
    data = data[:at] + element + data[at:]
    if charset is not None:
        at = data.index(struct.pack("<HH2s", 0x0008, 0x0016, b"UI"))
        data = data[:at] + struct.pack("<HH2sH", 0x0008, 0x0005, b"CS", len(stated)) + stated + data[at:]
    assert np.array_equal(pixels(data), EIGHT)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("part", "stated"),
    [
        ("HAND", "HAND"),
        ("BRUSTWIRBELSAEULE", "an unknown value of 17 characters"),
        ("DOE^JOHN", "an unknown value of 8 characters"),
        ("\x1b[31mHAND", "an unknown value of 9 characters"),
        ("ABDOMEN\\PELVIS", "an unknown value of 14 characters"),
    ],
)
def test_f16_another_part_is_named_only_if_it_is_one(part, stated):
    with pytest.raises(UnsupportedImage, match=f"Body Part Examined is {stated}, not the chest"):
        read_radiograph(written(EIGHT, bits=8, BodyPartExamined=part.split("\\")))


# ---- F20: native pixel data -----------------------------------------------------------------------


def test_f20_native_pixel_data_of_undefined_length_are_named():
    data = written(EIGHT, bits=8)
    at = data.index(b"\xe0\x7f\x10\x00OB\0\0") + 8
    undefined = data[:at] + b"\xff" * 4 + data[at + 4 :] + END
    with pytest.raises(
        ImageError, match="Pixel Data has no stated length, as compressed images have, but its"
    ):
        read_radiograph(undefined)


def test_f20_uncompressed_ybr_422_is_read():
    pairs = np.full((96, 160), 128, np.uint8)  # Y Y Cb Cr of two pixels; gray has no color differences
    pairs[:, 0::4], pairs[:, 1::4] = EIGHT[:, 0::2], EIGHT[:, 1::2]
    rgb = np.repeat(EIGHT[..., None], 3, axis=2)
    ds = dataset(rgb, bits=8, PhotometricInterpretation="YBR_FULL_422", PixelData=pairs.tobytes())
    assert np.array_equal(pixels(to_bytes(ds)), EIGHT)
    ds.PixelData = pairs.tobytes()[:-2]
    with pytest.raises(ImageError, match="holds 15358 bytes, but 80 x 96 pixels take 15360"):
        read_radiograph(to_bytes(ds))


# ---- signed colors --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless], ids=lambda uid: uid.name
)
def test_colors_have_no_sign(syntax):
    ds = dataset(np.repeat(EIGHT[..., None], 3, axis=2), bits=8)
    if syntax != ExplicitVRLittleEndian:
        ds.compress(syntax)
    ds.PixelRepresentation = 1
    radiograph = read_radiograph(to_bytes(ds))
    assert radiograph.pixels.dtype == np.uint8
    assert np.array_equal(radiograph.pixels, EIGHT)
    assert radiograph.origin.doubts == (
        "its colors are stated to have signs, which colors cannot have; they were read without",
    )


# ---- JPEG lossless and of 12 bits whose data end early: GDCM says nothing ------------------------


def twelve_bit_jpeg():
    """A JPEG of 12 bits: 8 bits around their middle are 12 bits around theirs."""
    data = bytearray(JPEG)
    at = data.index(b"\xff\xc0")
    data[at + 1], data[at + 4] = 0xC1, 12
    ds = dataset(EIGHT.astype(np.uint16), bits=12)
    ds.PixelData = encapsulate([bytes(data[data.index(b"\xff\xd8") : data.rindex(b"\xff\xd9") + 2])])
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = JPEGExtended12Bit
    return to_bytes(ds)


def with_scan(data, change):
    """The file with another scan in its one fragment."""
    start, end = data.index(b"\xff\xd8"), data.rindex(b"\xff\xd9")
    begin = read_jpeg_header(data[start:]).data_at + start
    frame = data[start:begin] + change(data[begin:end]).rstrip(b"\xff") + b"\xff\xd9"
    return data[: start - 4] + struct.pack("<I", len(frame)) + frame + END


# Of zeros, codes of a smooth image may make a picture of the right length; then nothing can be seen.
SCANS = {
    "missing-half": lambda scan: scan[: len(scan) // 2],
    "missing-some": lambda scan: scan[: len(scan) * 6 // 10],
    "more": lambda scan: scan + scan[: len(scan) // 3],
    "zeros": lambda scan: scan[: len(scan) // 2] + bytes(300) + scan[len(scan) // 2 + 300 :],
}


@pytest.mark.parametrize("kind", ["lossless", "12-bit"])
def test_f06_a_jpeg_that_gdcm_decodes_must_be_whole(kind):
    noisy = (SCENE + np.random.default_rng(0).integers(0, 90, SCENE.shape)).astype(np.uint16)
    data = twelve_bit_jpeg() if kind == "12-bit" else jpeg_lossless(written(noisy, bits=12))
    expected = pixels(data)
    if kind == "lossless":
        assert np.array_equal(expected, pixels(written(noisy, bits=12)))
    assert np.array_equal(pixels(with_scan(data, bytes)), expected)
    for change in list(SCANS.values())[: 3 if kind == "12-bit" else 4]:
        with pytest.raises(ImageError, match=r"truncated or damaged|bits that differ from pixel"):
            read_radiograph(with_scan(data, change))


@pytest.mark.parametrize("kind", ["constant", "black-border", "two-values", "ramp", "noise"])
def test_f06_whole_lossless_images_of_any_kind_are_read(kind):
    rng = np.random.default_rng(1)
    image = {
        "constant": np.full((70, 90), 7),
        "black-border": np.pad(rng.integers(0, 4096, (50, 70)), 10),
        "two-values": rng.integers(0, 2, (70, 90)),
        "ramp": np.add.outer(np.arange(70), np.arange(90)),
        "noise": rng.integers(0, 4096, (70, 90)),
    }[kind].astype(np.uint16)
    data = written(image, bits=12)
    assert np.array_equal(pixels(jpeg_lossless(data)), pixels(data))


# ---- markers on which GDCM ended the process ------------------------------------------------------


@pytest.mark.parametrize(
    "segment",
    [
        b"\xff\xe0\0\x10JFIF\0\x02\x01\0\0\x01\0\x01\0\0",
        b"\xff\xe0\0\x10JFIF\0\xfe\xff\0\0\x01\0\x01\0\0",
        b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\x02",
        b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\x05",
        b"\xff\xfe\0\x02",
    ],
    ids=["jfif-2", "jfif-254", "adobe-2", "adobe-5", "comment"],
)
@pytest.mark.parametrize("kind", ["lossless", "12-bit"])
def test_application_segments_are_not_given_to_gdcm(segment, kind):
    data = twelve_bit_jpeg() if kind == "12-bit" else jpeg_lossless(written(SCENE, bits=12))
    start, end = data.index(b"\xff\xd8"), data.rindex(b"\xff\xd9") + 2
    frame = data[start : start + 2] + segment + data[start + 2 : end]
    marked = data[: start - 4] + struct.pack("<I", len(frame)) + frame + END
    assert np.array_equal(pixels(marked), pixels(data))


# ---- Photometric Interpretation in other spellings ------------------------------------------------


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless], ids=lambda uid: uid.name)
@pytest.mark.parametrize(
    ("spelling", "inverted"),
    [("monochrome2", False), ("MONOCHROME 1", True), ("Monochrome1", True), ("MONOCHROME2 ", False)],
)
def test_gray_in_other_spellings(spelling, inverted, syntax):
    ds = dataset(EIGHT, bits=8)
    if syntax == RLELossless:
        ds.compress(syntax)
    ds.PhotometricInterpretation = spelling
    assert np.array_equal(pixels(to_bytes(ds)), 255 - EIGHT if inverted else EIGHT)


@pytest.mark.parametrize("spelling", ["MONOCHROME", "MONOCHROME3", "MONOCHROME12"])
def test_gray_that_dicom_does_not_define_is_refused(spelling):
    with pytest.raises(UnsupportedImage, match="Photometric Interpretation is an unknown value"):
        read_radiograph(written(EIGHT, bits=8, PhotometricInterpretation=spelling))


# ---- headers on which GDCM or OpenJPEG ended the process ------------------------------------------


@pytest.mark.parametrize("kind", ["12-bit", "lossless", "jpeg-ls", "jpeg-2000"])
def test_damaged_headers_never_end_the_process(kind, shapes_unchecked, caplog):
    """One to three bytes of the compressed image's header are changed; seed 20261129."""
    if kind == "12-bit":
        data = twelve_bit_jpeg()
    elif kind == "lossless":
        data = jpeg_lossless(written(EIGHT, bits=8))
    else:
        ds = dataset(SCENE, bits=12)
        ds.compress(JPEGLSLossless if kind == "jpeg-ls" else JPEG2000Lossless)
        data = to_bytes(ds)
    start = min(at for at in (data.find(b"\xff\xd8\xff"), data.find(b"\xff\x4f\xff\x51")) if at > 0)
    rng = np.random.default_rng(20261129)
    messages = []
    for _ in range(150):
        changed = bytearray(data)
        for at in rng.integers(300 if kind == "12-bit" else 90, size=rng.integers(1, 4)):
            changed[start + at] ^= rng.integers(1, 256)
        try:
            read_radiograph(bytes(changed), name="damaged.dcm")
        except ImageError as error:
            messages.append(str(error))
    assert len(messages) > 15
    assert max(map(len, messages)) <= 300
    assert caplog.text == ""
