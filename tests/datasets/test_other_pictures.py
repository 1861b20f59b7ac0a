"""Pictures for fitting an input gate: drawn, repeatable, of many kinds."""

import subprocess
import sys
from hashlib import sha256

import numpy as np
import pytest

from thorax.datasets.other_pictures import (
    KINDS,
    draw_picture,
    draw_pictures,
    photographed,
    tinted,
)
from thorax.imaging import read_radiograph


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_draws_radiographs_sized_pictures_with_something_to_see(kind):
    pictures = [draw_picture(kind, number, seed=0).pixels for number in range(4)]
    for pixels in pictures:
        assert pixels.dtype == np.uint8
        assert min(pixels.shape) >= 128
        assert max(pixels.shape) <= 256
        assert len(np.unique(pixels)) > 2
    assert len({pixels.tobytes() for pixels in pictures}) == 4


def test_the_same_seed_draws_the_same_pictures_in_another_process():
    def digest(count: int) -> str:
        return sha256(
            b"".join(picture.pixels.tobytes() for picture in draw_pictures(count, seed=5))
        ).hexdigest()

    code = (
        "from hashlib import sha256\n"
        "from thorax.datasets.other_pictures import draw_pictures\n"
        "drawn = [picture.pixels.tobytes() for picture in draw_pictures(25, seed=5)]\n"
        "print(sha256(b''.join(drawn)).hexdigest())"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == digest(25)


def test_kinds_come_in_turn_and_a_larger_count_begins_with_the_same_pictures():
    few, many = list(draw_pictures(22, seed=1)), list(draw_pictures(44, seed=1))
    assert [picture.kind for picture in few[:20]] == list(KINDS)
    assert all(np.array_equal(one.pixels, two.pixels) for one, two in zip(few, many, strict=False))
    assert few[0].kind == few[20].kind
    assert not np.array_equal(few[0].pixels, few[20].pixels)
    other = draw_picture("portrait", 0, seed=2).pixels
    assert not np.array_equal(draw_picture("portrait", 0, seed=1).pixels, other)


def test_a_photograph_shows_all_corners_of_the_radiograph_inside_the_picture():
    sheet = np.full((120, 200), 10, dtype=np.uint8)
    sheet[40:80, 70:130] = 255
    colors = photographed(sheet, 3, seed=0)
    assert colors.shape == (120, 200, 3)
    gray = read_radiograph(colors).pixels.astype(float)
    middle = gray[50:70, 90:110].mean()
    assert middle > 100
    assert gray[:4].mean() < middle


def test_a_tint_keeps_the_order_of_grays_and_leaves_none_gray_at_the_top():
    ramp = np.arange(256, dtype=np.uint8)[None].repeat(64, axis=0)
    for number in range(8):
        colors = tinted(ramp, number, seed=0).astype(int)
        assert (np.diff(colors[0], axis=0) >= 0).all()
        assert np.ptp(colors[0, 255]) >= 10
