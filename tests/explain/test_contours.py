import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from thorax.explain.contours import contour_lines


def length(lines):
    return sum(np.hypot(*np.diff(line, axis=0).T).sum() for line in lines)


def test_a_slope_is_crossed_by_one_line():
    (line,) = contour_lines(np.add.outer(np.zeros(4), np.arange(5.0)), 2.25)
    assert np.array_equal(np.sort(line[:, 1]), [0, 1, 2, 3])
    assert np.array_equal(line[:, 0], [2.25] * 4)


def test_a_peak_is_surrounded_by_a_closed_line():
    values = np.zeros((3, 3))
    values[1, 1] = 4
    (line,) = contour_lines(values, 1.0)
    assert np.array_equal(line[0], line[-1])
    assert {tuple(point) for point in line} == {(0.25, 1), (1.75, 1), (1, 0.25), (1, 1.75)}


@pytest.mark.parametrize("corner", [0.2, 0.6])
def test_the_middle_of_a_saddle_decides(corner):
    """Two corners at 1: joined where the middle is above the level of 0.7, else each cut off."""
    values = np.array([[1.0, corner], [corner, 1.0]])
    cut_off = np.sort([line[:, 0].mean() + line[:, 1].mean() for line in contour_lines(values, 0.7)])
    assert len(cut_off) == 2
    assert (cut_off[0] < 0.9) == (corner == 0.2)
    middles = [line.mean(axis=0) for line in contour_lines(values, 0.7)]
    about_the_high_corners = all(abs(x - y) < 1e-9 for x, y in middles)
    assert about_the_high_corners == (corner == 0.2)


def test_nothing_is_crossed():
    assert contour_lines(np.ones((3, 4)), 1.0) == []
    assert contour_lines(np.ones((3, 4)), 0.5) == []
    assert contour_lines(np.ones((1, 4)), 0.5) == []


@given(
    arrays(np.float64, st.tuples(st.integers(2, 9), st.integers(2, 9)), elements=st.floats(0, 1, width=16)),
    st.floats(0.05, 0.95),
)
def test_lines_are_those_of_contourpy(values, level):
    contourpy = pytest.importorskip("contourpy")
    expected = contourpy.contour_generator(z=values, name="serial").lines(level)
    lines = contour_lines(values, level)
    assert length(lines) == pytest.approx(length(expected), abs=1e-6)
    points = {tuple(point) for line in lines for point in line.round(9)}
    assert points == {tuple(point) for line in expected for point in line.round(9)}
