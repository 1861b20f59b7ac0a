import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thorax.boxes import Box
from thorax.imaging import map_box, prepare
from thorax.radiograph import Origin, Radiograph
from thorax.recipe.schema import Preparation

ORIGIN = Origin(name="drawn", format="PNG", intensity="8-bit as stored", bits=8)


def radiograph(pixels):
    return Radiograph(pixels=pixels, origin=ORIGIN)


def noise(height, width, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (height, width), dtype, endpoint=True)


def block_mean(pixels, factor):
    """The mean of each block, one at a time."""
    height, width = (side // factor for side in pixels.shape)
    means = np.empty((height, width))
    for row in range(height):
        for column in range(width):
            block = pixels[row * factor : (row + 1) * factor, column * factor : (column + 1) * factor]
            means[row, column] = block.astype(np.float64).mean()
    return means


def area_average(pixels, size):
    """Average over exactly the area that each new pixel covers, as two matrix products."""

    def weights(old):
        table, step = np.zeros((size, old)), old / size
        for new in range(size):
            for position in range(old):
                covered = min((new + 1) * step, position + 1) - max(new * step, position)
                table[new, position] = max(covered, 0) / step
        return table

    height, width = pixels.shape
    return weights(height) @ pixels.astype(np.float64) @ weights(width).T


@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
def test_a_square_of_the_right_size_keeps_its_pixels(fit):
    pixels = noise(96, 96)
    prepared = prepare(radiograph(pixels), Preparation(size=96, fit=fit))
    assert np.array_equal(prepared, pixels)
    assert prepared is not pixels
    assert prepared.flags.writeable


def test_sixteen_bits_are_rounded_to_eight():
    pixels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    prepared = prepare(radiograph(pixels), Preparation(size=256))
    assert np.array_equal(prepared, np.round(pixels / 257).astype(np.uint8))


@pytest.mark.parametrize("factor", [2, 3, 4, 6, 7])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_whole_factor_gives_the_mean_of_each_block(factor, dtype):
    pixels = noise(32 * factor, 32 * factor, dtype)
    prepared = prepare(radiograph(pixels), Preparation(size=32))
    exact = block_mean(pixels, factor) / (1 if dtype == np.uint8 else 257)
    # Pillow adds half of the block, whole numbers only, before it divides: odd blocks may round at 5/9.
    slack = 0.5 / factor**2 if factor % 2 and dtype == np.uint8 else 0
    assert np.abs(prepared - exact).max() <= 0.5 + slack + 1e-4


def test_a_sixteen_bit_image_is_not_cut_to_eight_bits_before_averaging():
    # Alternating 0.4 and 0.8 gray levels: rounded first they would average to 0.5, not to 0.6.
    pixels = np.tile(np.array([[103, 206], [206, 103]], np.uint16), (32, 32)) + 257 * 10
    assert (prepare(radiograph(pixels), Preparation(size=32)) == 11).all()


def test_shrinking_by_any_factor_is_near_the_exact_area_average():
    rows, columns = np.mgrid[0:300, 0:300]
    smooth = 127 + 60 * np.sin(rows / 17) + 60 * np.cos(columns / 23)
    pixels = smooth.astype(np.uint8)
    prepared = prepare(radiograph(pixels), Preparation(size=64))
    assert np.abs(prepared - area_average(pixels, 64)).max() <= 1.5


def test_shrinking_does_not_alias():
    # Stripes finer than the new pixels must become even gray; plain sampling would keep them, coarse.
    pixels = np.where(np.arange(509) % 2, 255, 0).astype(np.uint8)[:, None].repeat(509, axis=1)
    prepared = prepare(radiograph(pixels), Preparation(size=100))
    assert prepared.min() >= 100
    assert prepared.max() <= 155


def test_enlarging_interpolates_without_overshoot():
    pixels = np.full((64, 64), 50, np.uint8)
    pixels[:, 32:] = 200
    prepared = prepare(radiograph(pixels), Preparation(size=160))
    assert prepared[:, :70].max() == 50
    assert prepared[:, 90:].min() == 200
    assert (np.diff(prepared[0].astype(int)) >= 0).all()


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(64, 200),
    width=st.integers(64, 200),
    size=st.integers(32, 256),
    fit=st.sampled_from(["pad", "crop", "stretch"]),
    deep=st.booleans(),
)
def test_rows_and_columns_are_treated_alike(height, width, size, fit, deep):
    pixels = noise(height, width, np.uint16 if deep else np.uint8)
    preparation = Preparation(size=size, fit=fit)
    upright = prepare(radiograph(pixels), preparation)
    turned = prepare(radiograph(np.ascontiguousarray(pixels.T)), preparation)
    assert upright.shape == (size, size)
    # Pillow rounds between its two passes over 8-bit images.
    assert np.abs(upright.T.astype(int) - turned).max() <= 1


@given(value=st.integers(0, 255), height=st.integers(64, 150), width=st.integers(64, 150))
@settings(max_examples=30, deadline=None)
def test_an_even_image_stays_even(value, height, width):
    pixels = np.full((height, width), value, np.uint8)
    for fit in ("crop", "stretch"):
        assert (prepare(radiograph(pixels), Preparation(size=75, fit=fit)) == value).all()


def test_pad_centres_the_image_between_black_bars():
    prepared = prepare(radiograph(np.full((128, 64), 200, np.uint8)), Preparation(size=64, fit="pad"))
    assert (prepared[:, 16:48] == 200).all()
    assert not prepared[:, :16].any()
    assert not prepared[:, 48:].any()


def test_crop_keeps_the_central_square():
    pixels = noise(100, 180)
    prepared = prepare(radiograph(pixels), Preparation(size=100, fit="crop"))
    assert np.array_equal(prepared, pixels[:, 40:140])


def test_stretch_uses_all_of_the_image():
    pixels = noise(128, 256)
    prepared = prepare(radiograph(pixels), Preparation(size=64, fit="stretch"))
    exact = pixels.reshape(64, 2, 64, 4).mean(axis=(1, 3))
    assert np.abs(prepared - exact).max() <= 0.5 + 1e-4


@pytest.mark.parametrize(
    ("fit", "mapped"),
    [
        ("pad", (50 + 10 / 4, 20 / 4, 30 / 4, 40 / 4)),
        ("stretch", (10 / 2, 20 / 4, 30 / 2, 40 / 4)),
    ],
)
def test_boxes_follow_their_pixels(fit, mapped):
    preparation = Preparation(size=200, fit=fit)
    assert map_box(
        Box(10.0, 20.0, 30.0, 40.0), height=800, width=400, preparation=preparation
    ) == pytest.approx(mapped)


def test_a_cropped_box_is_clipped():
    crop = Preparation(size=100, fit="crop")
    assert map_box(Box(0.0, 300.0, 400.0, 100.0), height=800, width=400, preparation=crop) == (0, 25, 100, 25)
    assert map_box(Box(0.0, 150.0, 400.0, 100.0), height=800, width=400, preparation=crop) == (
        0,
        0,
        100,
        12.5,
    )
    x, y, width, height = map_box(Box(0.0, 0.0, 400.0, 100.0), height=800, width=400, preparation=crop)
    assert (x, y, width, height) == (0, 0, 100, 0)


@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
def test_a_white_box_lands_where_map_box_says(fit):
    pixels = np.zeros((300, 240), np.uint8)
    pixels[120:180, 90:150] = 255
    preparation = Preparation(size=96, fit=fit)
    x, y, width, height = map_box(
        Box(90.0, 120.0, 60.0, 60.0), height=300, width=240, preparation=preparation
    )
    rows, columns = np.nonzero(prepare(radiograph(pixels), preparation) >= 128)
    assert rows.min() == pytest.approx(y, abs=0.6)
    assert rows.max() + 1 == pytest.approx(y + height, abs=0.6)
    assert columns.min() == pytest.approx(x, abs=0.6)
    assert columns.max() + 1 == pytest.approx(x + width, abs=0.6)
