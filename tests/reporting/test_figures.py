import math
from xml.etree import ElementTree as ET

import matplotlib as mpl
import pytest

from thorax.evaluation.intervals import Interval
from thorax.reporting.figures import Strip, interval_axis, roc_svg

POINTS = ((0.0, 0.0), (0.25, 0.75), (1.0, 1.0))


def test_the_curve_is_drawn_where_its_points_are():
    root = ET.fromstring(roc_svg(POINTS))
    assert root.get("viewBox") == "0 0 144 144"
    (curve,) = [path for path in root.iter() if "stroke: var(--accent)" in path.get("style", "")]
    numbers = [float(word) for word in curve.get("d").split() if word not in "ML"]
    # The axes take .82 of 144 units, from .15 on the left and from .15 at the bottom.
    expected = [(144 * (0.15 + 0.82 * x), 144 * (0.85 - 0.82 * y)) for x, y in POINTS]
    assert numbers == pytest.approx([number for point in expected for number in point], abs=1e-5)


def test_the_page_gives_colours_font_and_size():
    svg = roc_svg(POINTS)
    assert "#0" not in svg
    assert "font-family" not in svg
    assert "<style" not in svg
    assert 'id="' not in svg
    root = ET.fromstring(svg)
    assert root.get("width") is None
    assert root.get("height") is None
    assert {text.text for text in root.iter() if text.tag.endswith("text")} == {"0", ".5", "1"}


def test_settings_of_the_user_change_nothing():
    expected = roc_svg(POINTS)
    with mpl.rc_context(
        {"font.size": 30, "lines.linewidth": 9, "axes.facecolor": "red", "svg.fonttype": "path"}
    ):
        assert roc_svg(POINTS) == expected
        assert mpl.rcParams["font.size"] == 30  # and the user's settings stay as they were


def test_an_axis_begins_at_chance_and_ends_at_one():
    axis = interval_axis([Interval(0.8, 0.7, 0.9)])
    assert axis.start == 0.5
    assert axis.ticks == ((0.5, 0.0), (0.6, 20.0), (0.7, 40.0), (0.8, 60.0), (0.9, 80.0), (1.0, 100.0))
    assert axis.strip(Interval(0.8, 0.7, 0.9)) == Strip(value=60.0, low=40.0, high=80.0)


def test_an_axis_reaches_down_to_the_lowest_interval():
    axis = interval_axis(
        [Interval(0.8, 0.7, 0.9), Interval(0.4, 0.23, 0.6), Interval(math.nan, math.nan, math.nan)]
    )
    assert axis.start == 0.2
    assert [mark for mark, _ in axis.ticks] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert axis.percent(0.2) == 0
    assert axis.percent(1.0) == 100


@pytest.mark.parametrize("end", [0.0, 0.1, 0.3, 0.4, 0.5, 0.6])
def test_an_end_on_a_tenth_is_on_the_axis(end):
    axis = interval_axis([Interval(0.7, end, 0.9)])
    assert axis.start == pytest.approx(min(end, 0.5))


def test_a_value_without_an_interval_is_a_point():
    axis = interval_axis([Interval(0.75, math.nan, math.nan)])
    assert axis.strip(Interval(0.75, math.nan, math.nan)) == Strip(50.0, 50.0, 50.0)


def test_nothing_to_show_still_has_an_axis():
    assert interval_axis([]).start == 0.5
