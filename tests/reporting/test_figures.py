import math
import re
from xml.etree import ElementTree as ET

import pytest

from thorax.evaluation.calibration.measure import ReliabilityBin
from thorax.evaluation.curves import Curves
from thorax.evaluation.statistics.intervals import Interval
from thorax.reporting.figures import (
    Strip,
    close_axis,
    interval_axis,
    precision_recall_svg,
    reliability_svg,
    roc_svg,
)

CURVES = Curves(
    roc=((0.0, 0.0), (0.25, 0.75), (1.0, 1.0)),
    precision_recall=((0.0, 1.0), (0.5, 0.25), (1.0, 0.1)),
    roc_band=((0.0, 0.0, 0.1), (0.5, 0.7, 0.9), (1.0, 1.0, 1.0)),
)


def drawn(svg, kind):
    """The points of each path of a kind, back in the unit square."""
    root = ET.fromstring(svg)
    assert root.get("viewBox") == "0 0 144 136"
    paths = [path.get("d") for path in root.findall(".//{*}path") if path.get("class") == kind]
    return [
        [((float(x) - 22) / 116, 1 - (float(y) - 5) / 116) for x, y in re.findall(r"([\d.]+) ([\d.]+)", path)]
        for path in paths
    ]


def close(points):
    """To a tenth of one of the 116 units of the side."""
    return [pytest.approx(point, abs=0.0005) for point in points]


def test_the_curve_and_its_band_are_drawn_where_their_points_are():
    svg = roc_svg(CURVES)
    assert drawn(svg, "curve") == [close(CURVES.roc)]
    assert drawn(svg, "chance") == [close([(0, 0), (1, 1)])]
    upper, lower = [(0, 0.1), (0.5, 0.9), (1, 1)], [(1, 1), (0.5, 0.7), (0, 0)]
    assert drawn(svg, "wash") == [close(upper + lower)]


def test_guessing_reaches_the_prevalence():
    svg = precision_recall_svg(CURVES, prevalence=0.1)
    assert drawn(svg, "curve") == [close(CURVES.precision_recall)]
    assert drawn(svg, "chance") == [close([(0, 0.1), (1, 0.1)])]
    assert drawn(svg, "wash") == []  # no band, no area


def bin_of(mean, low, share, high):
    return ReliabilityBin(0.0, 1.0, 10, 5, mean, Interval(share, low, high))


@pytest.mark.parametrize(
    ("highest", "scale", "middle"),
    [(0.04, 0.05, "2.5 %"), (0.1, 0.1, "5 %"), (0.3, 0.5, "25 %"), (0.9, 1, "50 %")],
)
def test_the_axes_of_a_reliability_figure_fit_what_is_shown(highest, scale, middle):
    bins = (bin_of(0.01, 0.005, 0.01, 0.02), bin_of(0.03, 0.01, 0.02, highest))
    svg = reliability_svg(bins)
    assert drawn(svg, "whisker") == [
        close([(each.mean_probability / scale, end / scale) for end in (each.share_positive.low, high)])
        for each, high in zip(bins, (0.02, highest), strict=True)
    ]
    root = ET.fromstring(svg)
    assert len(list(root.findall(".//{*}circle"))) == 2
    assert [text.text for text in root.findall(".//{*}text")] == [
        "0",
        "0",
        middle,
        middle,
        f"{100 * scale:.0f} %",
        f"{100 * scale:.0f} %",
    ]


def test_the_page_gives_colours_font_and_size():
    svg = roc_svg(CURVES)
    assert "#" not in svg
    assert "font" not in svg
    assert "style" not in svg
    assert "id=" not in svg
    root = ET.fromstring(svg)
    assert root.get("width") is None
    assert root.get("height") is None
    assert {text.text for text in root.findall(".//{*}text")} == {"0", ".5", "1"}


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


def test_a_close_axis_holds_results_that_are_much_alike():
    axis = close_axis([Interval(0.811, 0.804, 0.816), Interval(0.745, math.nan, math.nan)])
    assert axis.ticks == ((0.7, 0.0), (0.75, 33.33), (0.8, 66.67), (0.85, 100.0))
    assert axis.strip(Interval(0.745, math.nan, math.nan)).low == 30.0
    assert close_axis([]).end == 1.0


def test_a_value_without_an_interval_is_a_point():
    axis = interval_axis([Interval(0.75, math.nan, math.nan)])
    assert axis.strip(Interval(0.75, math.nan, math.nan)) == Strip(50.0, 50.0, 50.0)


def test_nothing_to_show_still_has_an_axis():
    assert interval_axis([]).start == 0.5
