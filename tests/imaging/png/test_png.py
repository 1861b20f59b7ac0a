"""PNG of every kind, each against its meaning worked out with NumPy or against Pillow's own reader."""

import io
import itertools
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from thorax.errors import ImageError, UnsupportedImage
from thorax.imaging import prepare, read_radiograph
from thorax.recipe.schema import Preparation

HEIGHT, WIDTH = 70, 67
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind, content=b""):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(samples, *, depth, color, extra=b"", interlace=0):
    """Write rows of samples (h, w, channels) without filtering, as the standard says."""
    height, width = samples.shape[:2]
    if depth == 16:
        rows = samples.astype(">u2").reshape(height, -1).view(np.uint8)
    elif depth == 8:
        rows = samples.astype(np.uint8).reshape(height, -1)
    else:
        bits = np.unpackbits(samples.astype(np.uint8).reshape(height, -1, 1), axis=2)[..., 8 - depth :]
        rows = np.packbits(bits.reshape(height, -1), axis=1)
    stream = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlace)
    return SIGNATURE + chunk(b"IHDR", header) + extra + chunk(b"IDAT", stream) + chunk(b"IEND")


def noise(channels, depth, seed=0):
    return np.random.default_rng(seed).integers(0, 2**depth, (HEIGHT, WIDTH, channels))


def luminance(samples):
    return (samples[..., 0] * 19595 + samples[..., 1] * 38470 + samples[..., 2] * 7471 + 0x8000) >> 16


def saved(image, **options):
    stream = io.BytesIO()
    image.save(stream, "PNG", **options)
    return stream.getvalue()


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_gray(depth):
    samples = noise(1, depth)
    radiograph = read_radiograph(png(samples, depth=depth, color=0))
    spread = 1 if depth == 16 else 255 // (2**depth - 1)
    assert np.array_equal(radiograph.pixels, samples[..., 0] * spread)
    assert radiograph.pixels.dtype == (np.uint16 if depth == 16 else np.uint8)
    assert radiograph.origin.bits == depth
    assert radiograph.origin.intensity == f"{depth}-bit as stored (gray)"
    assert radiograph.origin.format == "PNG"


@pytest.mark.parametrize("depth", [8, 16])
def test_rgb_becomes_luminance(depth):
    samples = noise(3, depth)
    pixels = read_radiograph(png(samples, depth=depth, color=2)).pixels
    assert np.array_equal(pixels, luminance(samples))
    # BT.601 itself, in floating point, to one level.
    assert np.abs(pixels - samples @ [0.299, 0.587, 0.114]).max() <= 1


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("alpha", [0, 77, 255])
def test_equal_channels_under_a_constant_alpha_stay_exactly_what_they_are(depth, alpha):
    gray = noise(1, depth)
    samples = np.concatenate([gray, gray, gray, np.full_like(gray, alpha)], axis=2)
    assert np.array_equal(read_radiograph(png(samples, depth=depth, color=6)).pixels, gray[..., 0])
    assert np.array_equal(read_radiograph(png(samples[..., 2:], depth=depth, color=4)).pixels, gray[..., 0])


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("color", [4, 6])
def test_a_varying_alpha_lies_over_black(depth, color):
    samples = noise(2 if color == 4 else 4, depth)
    gray = samples[..., 0] if color == 4 else luminance(samples)
    expected = np.floor(gray * samples[..., -1] / (2**depth - 1) + 0.5)
    assert np.array_equal(read_radiograph(png(samples, depth=depth, color=color)).pixels, expected)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_palette(depth):
    indices = noise(1, depth)
    palette = np.random.default_rng(1).integers(0, 256, (2**depth, 3))
    data = png(indices, depth=depth, color=3, extra=chunk(b"PLTE", palette.astype(np.uint8).tobytes()))
    assert np.array_equal(read_radiograph(data).pixels, luminance(palette)[indices[..., 0]])


def test_palette_with_transparent_entries():
    indices = noise(1, 2)
    palette = np.array([[10] * 3, [20] * 3, [30] * 3, [200] * 3], np.uint8)
    extra = chunk(b"PLTE", palette.tobytes()) + chunk(b"tRNS", bytes([0, 128]))
    pixels = read_radiograph(png(indices, depth=2, color=3, extra=extra)).pixels
    assert np.array_equal(pixels, np.array([0, 10, 30, 200])[indices[..., 0]])


def test_a_palette_index_that_does_not_exist_is_refused():
    data = png(noise(1, 2), depth=2, color=3, extra=chunk(b"PLTE", bytes(9)))
    with pytest.raises(ImageError, match="a pixel has palette color 3 of 3"):
        read_radiograph(data)


@pytest.mark.parametrize(("depth", "color"), [(2, 0), (8, 0), (16, 0), (8, 2), (16, 2)])
def test_a_transparent_key_color_becomes_black(depth, color):
    samples = noise(1 if color == 0 else 3, depth)
    samples[5:20, 5:20] = 2
    extra = chunk(b"tRNS", struct.pack(">H", 2) * samples.shape[2])
    pixels = read_radiograph(png(samples, depth=depth, color=color, extra=extra)).pixels
    spread = 1 if depth == 16 else 255 // (2**depth - 1)
    gray = samples[..., 0] * spread if color == 0 else luminance(samples)
    assert np.array_equal(pixels, np.where((samples == 2).all(axis=2), 0, gray))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_filtered_rows_agree_with_pillows_reader(mode):
    ramp = np.add.outer(np.arange(HEIGHT) * 2, np.arange(WIDTH)).astype(np.uint8)
    image = (
        Image.fromarray(ramp.astype(np.uint16) * 200)
        if mode == "I;16"
        else Image.fromarray(ramp).convert(mode)
    )
    data = saved(image, optimize=True)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("L" if mode != "I;16" else "I;16"))
    assert np.array_equal(read_radiograph(data).pixels, expected)


def test_interlaced_files():
    """Adam7 by hand: seven passes, each a small image of its own."""
    samples = noise(1, 8)
    passes = [
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ]
    rows = itertools.chain.from_iterable(
        samples[top::down, left::right, 0] for top, left, down, right in passes
    )
    stream = zlib.compress(b"".join(b"\0" + row.astype(np.uint8).tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 0, 0, 0, 1)
    data = SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", stream) + chunk(b"IEND")
    assert np.array_equal(read_radiograph(data).pixels, samples[..., 0])


def test_many_small_chunks_and_bytes_after_the_end():
    samples = noise(1, 8)
    whole = png(samples, depth=8, color=0)
    at = whole.index(b"IDAT")
    length = struct.unpack(">I", whole[at - 4 : at])[0]
    stream = whole[at + 4 : at + 4 + length]
    parts = b"".join(chunk(b"IDAT", stream[start : start + 100]) for start in range(0, length, 100))
    data = whole[: at - 4] + chunk(b"tEXt", b"Comment\0x") + parts + chunk(b"IEND") + b"garbage"
    assert np.array_equal(read_radiograph(data).pixels, samples[..., 0])


@pytest.mark.parametrize("keep", [8, 20, 33, 40, 45, 0.5, 0.9, -1, -12])
def test_truncated_files_are_refused(keep):
    data = png(noise(1, 8), depth=8, color=0)
    keep = int(len(data) * keep) if isinstance(keep, float) else keep
    with pytest.raises(
        ImageError, match=r"cut\.png: the PNG file is truncated \(\d+ bytes of at least \d+\)"
    ):
        read_radiograph(data[:keep], name="cut.png")


@pytest.mark.parametrize("interlace", [0, 1])
@pytest.mark.parametrize("missing", [1, 2, 30])
def test_pixel_data_that_ends_early_is_refused(interlace, missing):
    data = png(noise(1, 8)[:-missing], depth=8, color=0, interlace=interlace)
    short = struct.pack(">II", WIDTH, HEIGHT - missing)
    at = data.index(short)
    header = b"IHDR" + struct.pack(">II", WIDTH, HEIGHT) + data[at + 8 : at + 13]
    claimed = data[: at - 4] + header + struct.pack(">I", zlib.crc32(header)) + data[at + 17 :]
    with pytest.raises(ImageError, match=r"pixel data (ends after \d+ of \d+ bytes|does not decode)"):
        read_radiograph(claimed)


@pytest.mark.parametrize("value", [0, 1, 255])
def test_even_last_rows_are_not_taken_for_missing(value):
    samples = noise(1, 8)
    samples[-3:] = value
    assert np.array_equal(read_radiograph(png(samples, depth=8, color=0)).pixels, samples[..., 0])


@pytest.mark.parametrize("value", [0, 1])
def test_pixel_data_that_goes_on_behind_the_last_row_is_read(value):
    """Pillow reads it row by row; rows that look as if they were missing are counted."""
    samples = noise(1, 8)
    samples[-2:] = value
    longer = np.concatenate([samples, samples[:1]])
    data = png(longer, depth=8, color=0)
    header = b"IHDR" + struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 0, 0, 0, 0)
    data = data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
    assert np.array_equal(read_radiograph(data).pixels, samples[..., 0])


def test_a_transparent_color_of_another_length_is_refused():
    data = png(noise(3, 8), depth=8, color=2, extra=chunk(b"tRNS", bytes(2)))
    with pytest.raises(ImageError, match=r"its transparent color \(tRNS\) has 2 bytes"):
        read_radiograph(data)


def test_one_flipped_bit_in_the_pixels_is_noticed():
    data = bytearray(png(noise(1, 8), depth=8, color=0))
    data[len(data) // 2] ^= 4
    with pytest.raises(
        ImageError, match=r"the checksum of its chunk IDAT at byte 33 is wrong; copy it again"
    ):
        read_radiograph(bytes(data))


def test_an_animation_is_refused():
    frames = [Image.fromarray(noise(1, 8, seed)[..., 0].astype(np.uint8)) for seed in range(3)]
    with pytest.raises(UnsupportedImage, match="an animated PNG of 3 frames"):
        read_radiograph(saved(frames[0], save_all=True, append_images=frames[1:]))


def test_a_huge_image_is_refused_before_it_is_decoded():
    header = struct.pack(">IIBBBBB", 20_000, 10_000, 8, 6, 0, 0, 0)
    data = SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", b"not even compressed") + chunk(b"IEND")
    with pytest.raises(ImageError, match=r"20000 x 10000 pixels are 200 megapixels, more than the 100"):
        read_radiograph(data)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (struct.pack(">IIBBBBB", 0, 10, 8, 0, 0, 0, 0), "the header says 0 x 10 pixels"),
        (
            struct.pack(">IIBBBBB", 70, 70, 3, 0, 0, 0, 0),
            "color type 0 with 3 bits, which PNG does not allow",
        ),
        (
            struct.pack(">IIBBBBB", 70, 70, 8, 5, 0, 0, 0),
            "color type 5 with 8 bits, which PNG does not allow",
        ),
        (struct.pack(">IIBBBBB", 70, 70, 8, 0, 0, 0, 2), "which PNG does not allow"),
        (b"short", "its header has 5 bytes instead of 13"),
    ],
)
def test_headers_that_are_wrong(header, message):
    with pytest.raises(ImageError, match=message):
        read_radiograph(SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT") + chunk(b"IEND"))


def test_real_nih_files_are_read_as_pillow_reads_them(shared_data):
    paths = sorted((shared_data / "nih-originals").glob("*.png"))
    kinds = set()
    for path in paths:
        with Image.open(path) as image:
            kinds.add(image.mode)
            expected = np.asarray(image)
        radiograph = read_radiograph(path)
        assert np.array_equal(radiograph.pixels, expected if expected.ndim == 2 else expected[..., 0])
        assert radiograph.origin.name == path.name
    assert kinds == {"L", "RGBA"}


def test_the_shrunk_sample_is_the_exact_mean_of_the_originals(shared_data):

    for path in sorted((shared_data / "nih-originals").glob("*.png"))[:4]:
        prepared = prepare(read_radiograph(path), Preparation(size=256))
        sample = read_radiograph(shared_data / "nih-sample" / "images" / path.name).pixels
        assert np.abs(prepared.astype(int) - sample).max() <= 1
