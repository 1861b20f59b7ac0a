import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thorax.boxes import Box
from thorax.explain import box_on_radiograph, map_on_radiograph
from thorax.imaging import map_box, prepare
from thorax.radiograph import Origin, Radiograph
from thorax.recipe.schema import Preparation

ORIGIN = Origin(name="a.png", format="PNG", intensity="8-bit as stored", bits=8)
FITS = ["pad", "crop", "stretch"]


@given(
    height=st.integers(64, 400),
    width=st.integers(64, 400),
    fit=st.sampled_from(FITS),
    corner=st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)),
)
@settings(max_examples=50, deadline=None)
def test_a_box_that_is_seen_whole_comes_back(height, width, fit, corner):
    preparation = Preparation(size=96, fit=fit)
    # Within the central square, which every fit shows.
    side = min(height, width)
    box = Box(
        (width - side) / 2 + corner[0] * side,
        (height - side) / 2 + corner[1] * side,
        side / 3,
        side / 4,
    )
    there = map_box(box, height=height, width=width, preparation=preparation)
    back = box_on_radiograph(there, height=height, width=width, preparation=preparation)
    assert back == pytest.approx(box, abs=1e-6)


def test_a_box_in_the_padding_has_nothing_left():
    preparation = Preparation(size=100, fit="pad")
    # 200 x 100 pixels lie in rows 25 to 75 of the square.
    assert (
        box_on_radiograph(Box(10.0, 0.0, 20.0, 20.0), height=100, width=200, preparation=preparation)[3] == 0
    )
    assert box_on_radiograph(Box(10.0, 20.0, 20.0, 15.0), height=100, width=200, preparation=preparation) == (
        20.0, 0.0, 40.0, 20.0,
    )  # fmt: skip


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", [(300, 200), (150, 260), (128, 128)])
def test_a_bright_square_goes_there_and_back(fit, shape):
    """The prepared image itself, taken for a map, falls on the radiograph that it was made of."""
    height, width = shape
    pixels = np.zeros(shape, dtype=np.uint8)
    top, left = height // 2 - 20, width // 2 - 10
    pixels[top : top + 40, left : left + 30] = 200
    preparation = Preparation(size=128, fit=fit)
    square = prepare(Radiograph(pixels=pixels, origin=ORIGIN), preparation)
    back = map_on_radiograph(square.astype(np.float32), height=height, width=width, preparation=preparation)
    assert back.shape == shape
    inside = back[top + 4 : top + 36, left + 4 : left + 26]
    assert np.min(inside) > 190
    outside = back.copy()
    outside[top - 4 : top + 44, left - 4 : left + 34] = 0
    assert np.nanmax(outside) < 1


def test_what_was_cut_off_is_not_a_number():
    preparation = Preparation(size=64, fit="crop")
    back = map_on_radiograph(np.ones((64, 64), np.float32), height=100, width=200, preparation=preparation)
    assert np.all(np.isnan(back[:, :50]))
    assert np.all(np.isnan(back[:, 150:]))
    assert np.all(back[:, 50:150] == 1)


def test_places_by_hand():
    """Two places on 64 pixels, with centres at 16 and 48: straight between them, flat outside."""
    small = np.array([[0.0, 4.0], [0.0, 4.0]], dtype=np.float32)
    preparation = Preparation(size=64, fit="stretch")
    back = map_on_radiograph(small, height=64, width=64, preparation=preparation)
    every = back[0].reshape(4, 16)
    assert np.all(every[0] == 0)
    assert np.all(every[3] == 4)
    np.testing.assert_allclose(every[1:3].ravel(), 4 * (np.arange(32) + 0.5) / 32, atol=1e-6)


def test_a_map_of_the_radiograph_s_own_square_is_itself():
    attribution = np.random.default_rng(0).random((64, 64)).astype(np.float32)
    preparation = Preparation(size=64)
    back = map_on_radiograph(attribution, height=64, width=64, preparation=preparation)
    np.testing.assert_allclose(back, attribution, atol=1e-6)
