"""Files are read in the browser as in Python, to the bit: pixels, prepared pixels, thumbnail, words."""

import io
import itertools
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.helpers.dicom_writing import dataset, every_value, jpeg_lossless, lut, to_bytes, written
from tests.helpers.service import GOLDEN
from tests.imaging.png.test_png import chunk, noise, png
from tests.web.encapsulating import encapsulated
from thorax.errors import ImageError
from thorax.imaging import prepare, read_radiograph
from thorax.inference.gate_features import features, thumbnail
from thorax.recipe.schema import Preparation
from thorax.service.pixels import pixels_of_upload


def agree(read, content, *, size=112, fit="pad", within=0):
    """Compare everything that the browser reads with what Python does; return the browser's."""
    found = read(content, size=size, fit=fit)
    assert "refused" not in found, found
    expected = read_radiograph(content)
    assert found["pixels"].dtype == expected.pixels.dtype
    assert_close(found["pixels"], expected.pixels, within)
    # Pillow 13 resizes columns before rows where that is quicker, and older versions do not.
    resized = max(within, int(expected.pixels.dtype == np.uint8 and np.ptp(expected.pixels.shape) > 0))
    assert_close(found["prepared"], prepare(expected, Preparation(size=size, fit=fit)), resized)
    assert_close(found["thumbnail"], thumbnail(expected.pixels, fit), resized)
    if not within:
        assert np.allclose(found["features"], features(found["thumbnail"][None]), atol=1e-4)
        assert (
            found["packed"].split(b"\n", 1)[1] == pixels_of_upload(content, packed=False).split(b"\n", 1)[1]
        )
    assert found["doubts"] == list(expected.origin.doubts)
    assert (found["intensity"], found["bits"]) == (expected.origin.intensity, expected.origin.bits)
    assert found["colored"] == pytest.approx(expected.colored, abs=0.01 if within else 1e-9)
    assert found.get("view", "") == expected.view
    assert found.get("laterality", "") == expected.laterality
    assert found.get("age") == expected.age_years
    assert found.get("otherPart", "") == expected.other_part
    assert found.get("statedChest", False) == expected.stated_chest
    return found


def assert_close(found, expected, within):
    assert found.shape == expected.shape
    differences = found.astype(np.int64) - expected
    assert np.abs(differences).max() <= within
    # One level may differ, and none on average.
    assert np.abs(differences.mean()) < (0.5 if within else 1e-9)


def refused_alike(read, content):
    """The browser refuses what Python refuses, in the same words, but for the name of the file."""
    with pytest.raises(ImageError) as error:
        read_radiograph(content, name="it")
    found = read(content)
    assert found.get("refused") == str(error.value).removeprefix("it: ")
    return found["refused"]


# ---- PNG ----

COLORS = {0: 1, 2: 3, 4: 2, 6: 4}


@pytest.mark.parametrize(("color", "depth"), [*itertools.product(COLORS, (8, 16)), (0, 1), (0, 2), (0, 4)])
def test_png_of_every_kind(read, color, depth):
    agree(read, png(noise(COLORS[color], depth), depth=depth, color=color))


@pytest.mark.parametrize("color", [0, 2, 4, 6])
def test_a_constant_transparency_is_dropped(read, color):
    samples = noise(COLORS[color], 8)
    if color > 2:
        samples[..., -1] = 200
    agree(read, png(samples, depth=8, color=color))


@pytest.mark.parametrize(("color", "depth"), [*itertools.product((0, 2), (8, 16))])
def test_one_color_may_be_transparent(read, color, depth):
    samples = noise(COLORS[color], depth)
    samples[:9] = samples[0, 0]
    key = samples[0, 0].astype(">u2").tobytes()
    agree(read, png(samples, depth=depth, color=color, extra=chunk(b"tRNS", key)))


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_palettes_with_transparency(read, depth):
    colors = np.random.default_rng(1).integers(0, 256, 3 * 2**depth).astype(np.uint8)
    extra = chunk(b"PLTE", colors.tobytes()) + chunk(b"tRNS", bytes(range(2**depth))[:200])
    agree(read, png(noise(1, depth), depth=depth, color=3, extra=extra))


@pytest.mark.parametrize("depth", [10, 12, 14, 15])
def test_16_bits_of_which_fewer_are_used(read, depth):
    agree(read, png(noise(1, depth), depth=16, color=0))


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16"])
def test_filters_as_others_write_them(read, mode):
    smooth = np.add.outer(np.arange(300), np.arange(211)) % 251
    image = Image.fromarray(
        (smooth * (257 if mode == "I;16" else 1)).astype(np.uint16 if mode == "I;16" else np.uint8)
    )
    stream = io.BytesIO()
    (image if mode != "RGB" else image.convert("RGB")).save(stream, "PNG")
    agree(read, stream.getvalue())


def test_interlaced(read):
    content = (GOLDEN / "source" / "00.png").read_bytes()
    pixels = read_radiograph(content).pixels
    passes = (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    )
    rows = b"".join(
        b"\0" + row.tobytes() for top, left, down, right in passes for row in pixels[top::down, left::right]
    )
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 0, 0, 0, 1)
    interlaced = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND")
    )
    assert np.array_equal(agree(read, interlaced)["pixels"], pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_upright_by_exif(read, orientation):
    image = Image.fromarray(noise(1, 8)[..., 0].astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    image.save(stream, "PNG", exif=exif)
    agree(read, stream.getvalue())


def test_damaged_png_is_refused_in_the_same_words(read):
    content = png(noise(1, 8), depth=8, color=0)
    for changed in (
        content[:-20],
        content[:40],
        content.replace(b"IDAT", b"IDAX", 1),
        b"",
        content[:100] + b"\0" + content[101:],
    ):
        refused_alike(read, changed)
    refused_alike(read, png(noise(1, 8)[:20, :20], depth=8, color=0))
    refused_alike(read, png(noise(1, 8), depth=3, color=0))
    for other in (b"GIF89a", b"%PDF-1.7", b"<svg/>", b"PK\x03\x04", b"hello, there is nothing"):
        refused_alike(read, other)


# ---- sizes ----

SIZES = ((112, 112), (224, 224), (225, 224), (448, 336), (100, 90), (70, 300), (501, 387), (337, 336))


@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
@pytest.mark.parametrize("depth", [8, 16])
def test_prepared_pixels_of_every_size(read, fit, depth):
    rng = np.random.default_rng(2)
    for height, width in SIZES:
        small = Image.fromarray(rng.integers(0, 256, (height // 9 + 1, width // 9 + 1)).astype(np.uint8))
        smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int64)
        samples = smooth + rng.integers(0, 2, smooth.shape) if depth == 8 else smooth * 257
        content = png(np.clip(samples, 0, 2**depth - 1)[..., None], depth=depth, color=0)
        agree(read, content, fit=fit)


# ---- JPEG ----


def jpeg(image, **options):
    stream = io.BytesIO()
    image.save(stream, "JPEG", **options)
    return stream.getvalue()


PICTURE = Image.open(GOLDEN / "source" / "00.png").convert("L")


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 30}, {"restart_marker_rows": 1}])
def test_gray_jpeg(read, options):
    agree(read, jpeg(PICTURE, **options), within=1)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_color_jpeg(read, subsampling):
    tinted = Image.merge("RGB", (PICTURE, PICTURE.point(lambda gray: gray * 0.7), PICTURE))
    agree(read, jpeg(tinted, subsampling=subsampling, quality=90), within=1)


@pytest.mark.parametrize("orientation", [3, 6])
def test_jpeg_is_turned_upright(read, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    agree(read, jpeg(PICTURE.crop((0, 0, 200, 150)), exif=exif), within=1)


def test_jpeg_that_is_not_whole_is_refused(read):
    content = jpeg(PICTURE)
    for changed in (content[: len(content) // 2], content[:300], content[:-2]):
        assert "refused" in read(changed)
    assert "colors, as for printing" in read(jpeg(PICTURE.convert("CMYK")))["refused"]


# ---- DICOM ----

GRAYS = np.asarray(PICTURE)
DEEP = GRAYS.astype(np.uint16) * 16 + 5


@pytest.mark.parametrize("implicit", [True, False])
def test_dicom_without_preamble(read, implicit):
    signed = (DEEP.astype(np.int32) - 1000).astype(np.int16)
    for pixels, bits in ((DEEP, 12), (GRAYS, 8), (signed, 16)):
        image = dataset(pixels, bits=bits, RescaleIntercept="-3")
        agree(read, to_bytes(image, preamble=False, implicit_vr=implicit, little_endian=True))


@pytest.mark.parametrize(
    "uid", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"]
)
def test_every_uncompressed_transfer_syntax(read, uid):
    for pixels, bits in ((DEEP, 12), (GRAYS, 8)):
        image = dataset(pixels, bits=bits, WindowCenter="2000", WindowWidth="3000", PatientAge="034Y")
        image.VOILUTSequence = [lut(np.arange(4096) * 8, first=0, bits=16)]
        image.file_meta.TransferSyntaxUID = uid
        if uid == "1.2.840.10008.1.2.2":
            image.PixelData = pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()
            image.VOILUTSequence = None
        agree(read, to_bytes(image))


@pytest.mark.parametrize("bits", [8, 12])
def test_rle(read, bits):
    image = dataset(DEEP if bits == 12 else GRAYS, bits=bits)
    image.compress("1.2.840.10008.1.2.5")
    agree(read, to_bytes(image))


def test_8_bit_jpeg_in_dicom(read):
    image = dataset(GRAYS, bits=8)
    agree(read, encapsulated(image, jpeg(PICTURE), "1.2.840.10008.1.2.4.50"), within=1)


RULES = {
    "window": {"WindowCenter": "2000", "WindowWidth": "1500"},
    "exact": {"WindowCenter": "2000", "WindowWidth": "1500", "VOILUTFunction": "LINEAR_EXACT"},
    "sigmoid": {"WindowCenter": "2000", "WindowWidth": "1500", "VOILUTFunction": "SIGMOID"},
    "narrow": {"WindowCenter": "2000", "WindowWidth": "1"},
    "monochrome1": {"PhotometricInterpretation": "MONOCHROME1"},
    "inverse": {"PresentationLUTShape": "INVERSE", "WindowCenter": "1000\\20", "WindowWidth": "900\\40"},
    "rescale": {
        "RescaleSlope": "2.5",
        "RescaleIntercept": "-1024",
        "WindowCenter": "400",
        "WindowWidth": "2000",
    },
    "padding": {"PixelPaddingValue": 5, "PixelPaddingRangeLimit": 300},
    "all padding": {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 4095},
    "modality lut": {"ModalityLUTSequence": [lut(np.arange(4096)[::-1] * 3, first=0, bits=14)]},
    "voi lut": {"VOILUTSequence": [lut(np.sqrt(np.arange(4096)) * 1000, first=0, bits=16)]},
    "short voi lut": {"VOILUTSequence": [lut(np.arange(100), first=1000, bits=12)]},
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", [np.uint16, np.int16])
def test_gray_rules(read, rule, kind):
    values = {
        name: value - 65536
        if kind is np.int16 and name.startswith("PixelPadding") and value > 32767
        else value
        for name, value in RULES[rule].items()
    }
    agree(read, written(every_value(kind), bits=12, **values))


SAID = {
    "view": {"ViewPosition": "LL", "PatientOrientation": ["A", "F"], "ImageLaterality": "R"},
    "row direction": {"PatientOrientation": ["P", "F"]},
    "mirrored": {"PatientOrientation": ["R", "F"], "Laterality": "L"},
    "age": {"PatientAge": "011M"},
    "description": {"StudyDescription": "Knie beidseits", "BodyPartExamined": None},
    "both": {"StudyDescription": "Abdomen", "SeriesDescription": "thorax pa"},
    "stated chest": {"StudyDescription": "Abdomen"},
    "accents": {"SpecificCharacterSet": "ISO_IR 100", "BodyPartExamined": "TÓRAX"},
    "chest and view": {"BodyPartExamined": "CHESTPA"},
}


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize("said", SAID)
def test_what_a_header_says(read, said):
    agree(read, written(DEEP, bits=12, **SAID[said]))


OTHERS = {
    "hand": {"BodyPartExamined": "HAND"},
    "name in the wrong place": {"BodyPartExamined": "MUELLER^EVA"},
    "CT": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "Modality": "CT"},
    "processing": {"PresentationIntentType": "FOR PROCESSING"},
    "frames": {"NumberOfFrames": "3"},
    "palette": {"PhotometricInterpretation": "PALETTE COLOR"},
    "slope": {"RescaleSlope": "0"},
    "no number": {"WindowCenter": None, "RescaleIntercept": None, "Rows": None},
    "bits": {"BitsStored": 13, "HighBit": 11},
    "bits that vary": {"BitsStored": 9, "HighBit": 8},
}


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize("other", OTHERS)
def test_other_images_are_refused_in_the_same_words(read, other):
    image = dataset(DEEP, bits=12)
    for keyword, value in OTHERS[other].items():
        if value is not None:
            setattr(image, keyword, value)
        elif keyword in image:
            delattr(image, keyword)
    refused_alike(read, to_bytes(image))


def test_truncated_dicom_is_refused(read):
    content = written(DEEP, bits=12)
    refused_alike(read, content[:-1000])
    assert "refused" in read(content[:200])
    assert "refused" in read(content[:700])


def test_gray_in_color(read):
    gray = np.repeat(GRAYS[..., None], 3, axis=2)
    agree(read, to_bytes(dataset(gray, bits=8)))
    planes = dataset(gray, bits=8, PlanarConfiguration=1)
    planes.PixelData = np.moveaxis(gray, 2, 0).tobytes()
    agree(read, to_bytes(planes))
    gray[50:90, 50:90, 0] = 255
    refused_alike(read, to_bytes(dataset(gray, bits=8)))


def test_a_codec_that_is_not_read_is_named(read):
    refused = read(jpeg_lossless(written(DEEP, bits=12)), decoders={})["refused"]
    assert "JPEG Lossless" in refused
    assert "gdcmconv --raw" in refused


CODECS = {
    "JPEG 2000 lossless": "1.2.840.10008.1.2.4.90",
    "JPEG 2000": "1.2.840.10008.1.2.4.91",
    "JPEG-LS lossless": "1.2.840.10008.1.2.4.80",
    "JPEG-LS": "1.2.840.10008.1.2.4.81",
}


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("kind", ["8", "12", "signed"])
def test_codecs_with_the_decoders_of_others(read, decoders, codec, kind):
    skip_without(decoders)
    pixels = {"8": GRAYS, "12": DEEP, "signed": (DEEP.astype(np.int32) - 2000).astype(np.int16)}[kind]
    image = dataset(pixels, bits={"8": 8, "12": 12, "signed": 13}[kind])
    options = {"JPEG 2000": {"j2k_cr": [8]}, "JPEG-LS": {"jls_error": 2}}.get(codec, {})
    image.compress(CODECS[codec], **options)
    agree(read, to_bytes(image))


@pytest.mark.parametrize("bits", [8, 12])
def test_lossless_jpeg_with_the_decoder_of_others(read, decoders, bits):
    skip_without(decoders)
    agree(read, jpeg_lossless(written(DEEP if bits == 12 else GRAYS, bits=bits)))


def test_damaged_codestreams_are_refused(read, decoders):
    skip_without(decoders)
    image = dataset(DEEP, bits=12)
    image.compress(CODECS["JPEG-LS lossless"])
    content = to_bytes(image)
    assert "refused" in read(content[: len(content) // 2])
    image.Rows = 65
    assert "compressed image 64 x 64" in read(to_bytes(image))["refused"]


def skip_without(decoders):
    if decoders is None:
        pytest.skip("needs the archives of the decoders in .npm: make npm")
