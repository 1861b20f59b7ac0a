import io

import numpy as np
import pytest
from PIL import Image

from thorax.errors import ImageError
from thorax.imaging import read_radiograph

ROWS, COLUMNS = np.mgrid[0:80, 0:112]
SCENE = ((ROWS * 2 + COLUMNS) % 200 + 20).astype(np.uint8)


def jpeg(image, **options):
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=95, **options)
    return stream.getvalue()


def test_gray_keeps_what_the_codec_decodes():
    data = jpeg(Image.fromarray(SCENE))
    radiograph = read_radiograph(data, name="folder/scan.jpg")
    assert np.array_equal(radiograph.pixels, np.asarray(Image.open(io.BytesIO(data))))
    assert radiograph.pixels.dtype == np.uint8
    assert radiograph.origin.name == "scan.jpg"
    assert radiograph.origin.format == "JPEG"
    assert radiograph.origin.intensity == "8-bit as stored (gray)"


@pytest.mark.parametrize("progressive", [False, True])
def test_color_becomes_luminance(progressive):
    colors = np.stack([SCENE, 255 - SCENE, np.full_like(SCENE, 90)], axis=2)
    data = jpeg(Image.fromarray(colors), progressive=progressive)
    decoded = np.asarray(Image.open(io.BytesIO(data))).astype(float)
    pixels = read_radiograph(data).pixels
    assert np.abs(pixels - decoded @ [0.299, 0.587, 0.114]).max() <= 1


def test_cmyk_is_read_the_right_way_up():
    gray = Image.fromarray(SCENE)
    pixels = read_radiograph(jpeg(gray.convert("RGB").convert("CMYK"))).pixels
    assert np.abs(pixels.astype(int) - SCENE).mean() < 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    # EXIF 2.32: which sides of the picture row 0 and column 0 of the stored image are.
    stored = {
        1: SCENE,
        2: SCENE[:, ::-1],
        3: SCENE[::-1, ::-1],
        4: SCENE[::-1],
        5: SCENE.T,
        6: np.rot90(SCENE, 1),
        7: SCENE[::-1, ::-1].T,
        8: np.rot90(SCENE, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = jpeg(Image.fromarray(np.ascontiguousarray(stored)), exif=exif)
    pixels = read_radiograph(data).pixels
    assert pixels.shape == SCENE.shape
    assert np.abs(pixels.astype(int) - SCENE).max() <= 12


@pytest.mark.parametrize("part", [0.1, 0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("progressive", [False, True])
def test_truncated_files_are_refused(part, progressive):
    data = jpeg(Image.fromarray(SCENE), progressive=progressive)
    with pytest.raises(
        ImageError, match=r"cut\.jpg: the JPEG image is damaged, truncated or of an unsupported kind"
    ):
        read_radiograph(data[: int(len(data) * part)], name="cut.jpg")


def test_bytes_after_the_end_do_no_harm():
    data = jpeg(Image.fromarray(SCENE))
    assert np.array_equal(read_radiograph(data + b"more" * 100).pixels, read_radiograph(data).pixels)


def test_a_huge_image_is_refused_before_it_is_decoded():
    data = jpeg(Image.fromarray(SCENE))
    huge = data.replace(b"\x00\x50\x00\x70", b"\xff\xdc\xff\xdc", 1)
    assert huge != data
    with pytest.raises(ImageError, match=r"65500 x 65500 pixels are 4290 megapixels, more than the 100"):
        read_radiograph(huge)
