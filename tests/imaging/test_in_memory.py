"""Images in memory are read as the files that they come from; what does not say what it means is refused."""

import io
import tempfile

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileMetaDataset

from tests.helpers.dicom_writing import dataset, to_bytes
from thorax.errors import ImageError, UnsupportedImage
from thorax.imaging import read_radiograph

SCENE = np.add.outer(np.arange(64) * 2, np.arange(80)).astype(np.uint8)
DEEP = (np.add.outer(np.arange(64) * 700, np.arange(80) * 250)).astype(np.uint16)
COLORS = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)


def saved(image, kind="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def pixels_of(source, **options):
    return read_radiograph(source, **options).pixels


# ---- arrays ------------------------------------------------------------------------------------


@pytest.mark.parametrize("array", [SCENE, DEEP, COLORS], ids=["uint8", "uint16", "colors"])
def test_an_array_is_read_as_the_png_file_of_it(array):
    of_file, of_array = pixels_of(saved(Image.fromarray(array))), pixels_of(array)
    assert of_array.dtype == of_file.dtype
    assert np.array_equal(of_array, of_file)


def test_equal_channels_are_gray_to_the_bit():
    for gray in (SCENE, DEEP):
        assert np.array_equal(pixels_of(np.stack([gray] * 3, axis=-1)), gray)


@pytest.mark.parametrize(
    "array",
    [
        DEEP.astype(">u2"),
        DEEP.astype("<u2"),
        np.asfortranarray(DEEP),
        np.repeat(np.repeat(DEEP, 2, axis=0), 3, axis=1)[::2, ::3],
        DEEP[::-1, ::-1].copy()[::-1, ::-1],
    ],
    ids=["big-endian", "little-endian", "column order", "strided", "reversed"],
)
def test_how_an_array_lies_in_memory_does_not_matter(array):
    pixels = pixels_of(array)
    assert np.array_equal(pixels, DEEP)
    assert pixels.dtype == np.uint16
    assert pixels.flags.c_contiguous


def test_a_read_only_array_is_read_and_a_changed_one_changes_nothing():
    array = SCENE.copy()
    array.flags.writeable = False
    assert np.array_equal(pixels_of(array), SCENE)
    array = SCENE.copy()
    radiograph = read_radiograph(array)
    array[:] = 0
    assert np.array_equal(radiograph.pixels, SCENE)


def test_an_array_says_what_it_was():
    origin = read_radiograph(SCENE).origin
    assert (origin.name, origin.format, origin.bits) == ("<array>", "array", 8)
    assert read_radiograph(DEEP, name="/wards/Jane Doe/x").origin.name == "x"


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "int16", "int32", "uint32", "int64"])
def test_types_that_do_not_say_what_is_white_are_refused(kind):
    with pytest.raises(ImageError, match=rf"<array>: an array of type {kind} \(values 0 to .*value_range="):
        read_radiograph((SCENE / 2).astype(kind))


@pytest.mark.parametrize("kind", [bool, complex, object, "U3"])
@pytest.mark.parametrize("value_range", [None, (0, 1)])
def test_types_that_are_not_gray_values_are_refused(kind, value_range):
    with pytest.raises(ImageError, match=r"<array>: an array of type .* does not hold gray values"):
        read_radiograph(SCENE.astype(kind), value_range=value_range)


@pytest.mark.parametrize(
    ("shape", "hint"),
    [
        ((64, 64, 1), r"array\[:, :, 0\]"),
        ((64, 64, 4), r"array\[:, :, :3\]"),
        ((1, 64, 64), r"array\[0\]"),
        ((3, 64, 64), r"numpy\.moveaxis\(array, 0, 2\)"),
        ((8, 64, 64), "one at a time"),
        ((2, 3, 64, 64), "one at a time"),
        ((64,), r"\(height, width\)"),
        ((), r"\(height, width\)"),
    ],
)
def test_other_shapes_are_refused_with_what_helps(shape, hint):
    with pytest.raises(ImageError, match=rf"<array>: an array of shape .* is not one image; .*{hint}"):
        read_radiograph(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("shape", [(0, 64), (64, 0), (0, 0), (0, 64, 3)])
def test_an_empty_array_is_refused(shape):
    with pytest.raises(ImageError, match="has no pixels; give the whole image"):
        read_radiograph(np.zeros(shape, np.uint8))


def test_sizes_are_those_of_files():
    with pytest.raises(ImageError, match="63 x 64 pixels are too few"):
        read_radiograph(np.zeros((64, 63), np.uint8))
    huge = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (20_000, 20_000), (0, 0))
    with pytest.raises(ImageError, match="400 megapixels"):
        read_radiograph(huge)


# ---- value_range -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_floats_between_black_and_white_become_sixteen_bits(kind):
    array = np.linspace(0, 1, 64 * 64).reshape(64, 64).astype(kind)
    pixels = pixels_of(array, value_range=(0, 1))
    assert pixels.dtype == np.uint16
    assert (pixels[0, 0], pixels[-1, -1]) == (0, 65535)
    assert np.array_equal(pixels, np.round(array.astype(float) * 65535))


def test_twelve_bits_in_sixteen_and_negative_numbers():
    twelve = (DEEP >> 4).astype(np.uint16)
    assert np.array_equal(pixels_of(twelve, value_range=(0, 4095)), np.round(twelve / 4095 * 65535))
    signed = SCENE.astype(np.int16) - 1024
    assert np.array_equal(pixels_of(signed, value_range=(-1024, -769)), SCENE.astype(np.uint16) * 257)


def test_floats_of_an_image_predict_as_the_image():
    assert np.array_equal(pixels_of(SCENE / 255, value_range=(0, 1)), SCENE.astype(np.uint16) * 257)
    assert np.array_equal(
        pixels_of(np.stack([SCENE / 255] * 3, axis=-1), value_range=(0, 1)), SCENE.astype(np.uint16) * 257
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(bad):
    array = SCENE / 255
    array[5, 5] = bad
    with pytest.raises(ImageError, match=r"not finite.*numpy\.nan_to_num"):
        read_radiograph(array, value_range=(0, 1))


def test_values_outside_the_range_are_refused():
    with pytest.raises(ImageError, match=r"values from 0 to 205, outside value_range=\(0, 1\).*numpy\.clip"):
        read_radiograph(SCENE.astype(np.float32), value_range=(0, 1))


@pytest.mark.parametrize("value_range", [(1, 0), (0, 0), (0, np.inf), (np.nan, 1)])
def test_a_range_without_extent_is_refused(value_range):
    with pytest.raises(ImageError, match="black must be less than white"):
        read_radiograph(SCENE / 255, value_range=value_range)


def test_value_range_is_for_arrays_alone():
    with pytest.raises(ImageError, match=r"chest\.png: value_range .* leave value_range out"):
        read_radiograph("chest.png", value_range=(0, 1))


# ---- PIL images --------------------------------------------------------------------------------

ALPHA = np.dstack([COLORS, SCENE])
CONSTANT = np.dstack([COLORS, np.full_like(SCENE, 200)])


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(SCENE),
        Image.fromarray(DEEP),
        Image.fromarray(COLORS),
        Image.fromarray(ALPHA),
        Image.fromarray(CONSTANT),
        Image.fromarray(ALPHA[:, :, 2:]),
        Image.fromarray(COLORS).quantize(17),
        Image.fromarray(SCENE > 99),
    ],
    ids=["L", "I;16", "RGB", "RGBA", "RGBA constant", "LA", "P", "1"],
)
def test_a_pil_image_is_read_as_the_png_file_of_it(image):
    file = saved(image)
    of_file = pixels_of(file)
    for given in (image, Image.open(io.BytesIO(file))):
        pixels = pixels_of(given)
        assert pixels.dtype == of_file.dtype
        assert np.array_equal(pixels, of_file)


@pytest.mark.parametrize("transparency", [3, b"\xff\x80\x00"])
def test_a_palette_with_transparency_is_read_as_its_file(transparency):
    file = saved(Image.fromarray(COLORS).quantize(17), transparency=transparency)
    assert np.array_equal(pixels_of(Image.open(io.BytesIO(file))), pixels_of(file))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_pil_image_of_a_jpeg_file_is_read_as_the_file(mode, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = saved(Image.fromarray(COLORS).convert(mode), "JPEG", exif=exif)
    assert np.array_equal(pixels_of(Image.open(io.BytesIO(file))), pixels_of(file))


def test_pil_images_of_floats_need_a_range():
    image = Image.fromarray((SCENE / 255).astype(np.float32))
    with pytest.raises(ImageError, match=r"type float32 .*value_range="):
        read_radiograph(image)
    assert np.array_equal(pixels_of(image, value_range=(0, 1)), SCENE.astype(np.uint16) * 257)


def test_pil_images_without_gray_values_or_of_several_frames_are_refused():
    with pytest.raises(UnsupportedImage, match="mode 'LAB'"):
        read_radiograph(Image.new("LAB", (80, 80)))
    moving = saved(Image.fromarray(SCENE), "TIFF", save_all=True, append_images=[Image.fromarray(SCENE)])
    with pytest.raises(UnsupportedImage, match="has 2 frames"):
        read_radiograph(Image.open(io.BytesIO(moving)))


def test_a_damaged_file_behind_a_pil_image(tmp_path):
    path = tmp_path / "chest.png"
    path.write_bytes(saved(Image.fromarray(COLORS))[:-2000])
    with Image.open(path) as image, pytest.raises(ImageError, match=r"chest\.png: .*cannot be decoded"):
        read_radiograph(image)


# ---- bytes and files ---------------------------------------------------------------------------


def test_bytes_of_every_kind_and_opened_files(tmp_path):
    data = saved(Image.fromarray(SCENE))
    path = tmp_path / "chest.png"
    path.write_bytes(data)
    for source in (data, bytearray(data), memoryview(data), io.BytesIO(data), path, str(path)):
        assert np.array_equal(pixels_of(source), SCENE)
    with path.open("rb") as file:
        radiograph = read_radiograph(file)
    assert np.array_equal(radiograph.pixels, SCENE)
    assert radiograph.origin.name == "chest.png"
    with tempfile.TemporaryFile() as file:
        file.write(data)
        with pytest.raises(ImageError, match=r"<file>: the opened file is at its end.*seek\(0\)"):
            read_radiograph(file)
        file.seek(0)
        assert np.array_equal(pixels_of(file), SCENE)


def test_files_that_cannot_be_read(tmp_path):
    path = tmp_path / "chest.png"
    path.write_bytes(saved(Image.fromarray(SCENE)))
    with path.open(encoding="latin-1") as file, pytest.raises(ImageError, match=r'open\(path, "rb"\)'):
        read_radiograph(file)
    file = path.open("rb")
    file.close()
    with pytest.raises(ImageError, match=r"chest\.png: the opened file cannot be read"):
        read_radiograph(file)


@pytest.mark.slow  # reads a gigabyte
def test_an_opened_file_beyond_any_radiograph_is_refused(tmp_path):
    path = tmp_path / "endless.png"
    path.write_bytes(saved(Image.fromarray(SCENE)))
    with path.open("r+b") as file:
        file.truncate((1 << 30) + 1)  # takes no space on the disk
        with pytest.raises(ImageError, match=r"endless\.png: the opened file holds more than .*single image"):
            read_radiograph(file)


@pytest.mark.parametrize("source", [None, 3, [SCENE], {"pixels": SCENE}])
def test_what_is_not_an_image_is_refused(source):
    with pytest.raises(ImageError, match="is not an image; give the path, the bytes"):
        read_radiograph(source)


def test_a_radiograph_is_returned_as_it_is():
    radiograph = read_radiograph(SCENE)
    assert read_radiograph(radiograph) is radiograph


# ---- data sets ---------------------------------------------------------------------------------

ELEMENTS = {
    "PhotometricInterpretation": "MONOCHROME1",
    "WindowCenter": "2048",
    "WindowWidth": "3000",
    "PatientAge": "061Y",
    "PatientSex": "F",
    "ViewPosition": "AP",
    "PixelSpacing": ["0.2", "0.25"],
}


def same(one, other):
    assert np.array_equal(one.pixels, other.pixels)
    for name in ("view", "laterality", "spacing_mm", "age_years", "sex"):
        assert getattr(one, name) == getattr(other, name)
    assert one.origin.intensity == other.origin.intensity


@pytest.mark.parametrize(
    "options",
    [
        {"preamble": True},
        {"preamble": False, "implicit_vr": True, "little_endian": True},
        {"preamble": False, "implicit_vr": False, "little_endian": True},
    ],
)
def test_a_dataset_is_read_as_its_file(options):
    made = dataset(DEEP >> 4, bits=12, **ELEMENTS)
    file = to_bytes(made, **options)
    of_file = read_radiograph(file)
    assert (of_file.age_years, of_file.spacing_mm) == (61, (0.2, 0.25))
    read = pydicom.dcmread(io.BytesIO(file), force=True)
    same(read_radiograph(read), of_file)
    _ = read.PatientAge, read.WindowCenter, read.PixelSpacing  # converted by being used
    same(read_radiograph(read), of_file)
    same(read_radiograph(made), of_file)


def test_a_compressed_dataset_is_read_as_its_file():
    made = dataset(DEEP >> 4, bits=12, **ELEMENTS)
    made.compress(pydicom.uid.RLELossless)
    same(read_radiograph(made), read_radiograph(to_bytes(made)))


def test_a_dataset_is_not_changed():
    made = dataset(DEEP >> 4, bits=12, **ELEMENTS)
    before = str(made), str(made.file_meta)
    read_radiograph(made)
    assert (str(made), str(made.file_meta)) == before


def test_a_dataset_of_unknown_encoding_is_refused():
    made = dataset(DEEP >> 4, bits=12)
    made.file_meta = FileMetaDataset()
    with pytest.raises(ImageError, match=r"<dataset>: .*set dataset\.file_meta\.TransferSyntaxUID"):
        read_radiograph(made)


def test_a_dataset_without_pixels_is_refused():
    made = dataset(DEEP >> 4, bits=12)
    del made.PixelData
    with pytest.raises(ImageError, match="no Pixel Data"):
        read_radiograph(made)


@pytest.mark.parametrize("largest", [2, 4095, 16383, 16384, 65535])
def test_values_of_fewer_bits_than_16_are_spread_and_doubted(largest):
    array = np.zeros((64, 80), np.uint16)
    array[3, 5] = largest
    array[:, ::2] = largest // 2
    for source in (array, saved(Image.fromarray(array))):
        radiograph = read_radiograph(source)
        said = any(
            f"its largest 16-bit value is {largest}, where" in text for text in radiograph.origin.doubts
        )
        assert said == (largest < 16384)
        assert radiograph.pixels.max() == (65535 if largest < 16384 else largest)
    given = read_radiograph(array, value_range=(0, 65535))
    assert np.array_equal(given.pixels, array)
    assert not any("16-bit" in text for text in given.origin.doubts)


def test_integers_that_fit_into_bytes_are_advised_to():
    advice = r'here with array\.astype\("uint8"\) if 255 is white'
    with pytest.raises(ImageError, match=advice):
        read_radiograph(SCENE.astype(np.int64))
    for array in (DEEP.astype(np.int64), SCENE.astype(np.int64) - 1, SCENE.astype(float)):
        with pytest.raises(ImageError) as raised:
            read_radiograph(array)
        assert "astype" not in str(raised.value)


def test_a_tensor_is_no_array_but_can_become_one():
    torch = pytest.importorskip("torch")
    tensor = torch.zeros((64, 80), dtype=torch.uint8)
    with pytest.raises(ImageError, match=r"Tensor is not an image; .* here with image\.numpy\(force=True\)"):
        read_radiograph(tensor)
    assert read_radiograph(tensor.numpy(force=True)).pixels.shape == (64, 80)


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize("value_range", [(0,), (0, 1, 2), 255, "range"])
def test_a_range_that_is_not_two_numbers_is_refused(value_range):
    with pytest.raises(ImageError, match=r"value_range is .*; give two numbers, \(black, white\)"):
        read_radiograph(np.zeros((64, 64)), value_range=value_range)


def test_several_images_and_an_address_are_told_what_to_do():
    with pytest.raises(ImageError, match=r"list is not an image; .* for several images, call predict_many"):
        read_radiograph(["a.png", "b.png"])
    with pytest.raises(
        ImageError, match=r"^https://example\.org/a\.png: only files are read; download it first"
    ):
        read_radiograph("https://example.org/a.png")
