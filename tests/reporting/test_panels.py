"""A grid of small figures: places, shared axes, and what is missing."""

import math
from xml.etree import ElementTree as ET

import pytest

from thorax.evaluation.statistics.intervals import Interval
from thorax.reporting.panels import PanelColumn, PanelRow, _axis, panels_svg

SVG = "{http://www.w3.org/2000/svg}"
NAN = math.nan


def test_points_are_where_the_axis_says():
    columns = [PanelColumn("Blur <sd>", ["1", "2"]), PanelColumn("Noise", ["5"])]
    points = [[Interval(-0.1, -0.2, 0.0), Interval(NAN, NAN, NAN)], [Interval(0.1, NAN, NAN)]]
    drawn = ET.fromstring(panels_svg(columns, [PanelRow("Change", points, 100)]))
    first, second = (float(dot.get("cy")) for dot in drawn.iter(f"{SVG}circle"))
    whiskers = [mark for mark in drawn.iter(f"{SVG}path") if mark.get("class") == "whisker"]
    assert len(whiskers) == 1
    zero = {mark.get("d") for mark in drawn.iter(f"{SVG}path") if mark.get("class") == "chance"}
    (height,) = {float(path.split(" ")[1].split("h")[0]) for path in zero}  # the same in both figures
    assert first - height == pytest.approx(height - second, abs=0.2)
    texts = [text.text for text in drawn.iter(f"{SVG}text")]
    assert "Blur <sd>" in texts
    assert {"-20", "-10", "0", "10"} <= set(texts)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (-0.012, 0.001, (-0.015, -0.01, -0.005, 0, 0.005)),
        (0.0, 0.31, (0, 0.1, 0.2, 0.3, 0.4)),
        (0.0, 0.0, (-0.01, -0.005, 0, 0.005, 0.01)),
        (-3.0, 3.0, (-4, -2, 0, 2, 4)),
    ],
)
def test_ticks_are_round_and_hold_everything(low, high, ticks):
    axis = _axis([Interval((low + high) / 2, low, high), Interval(NAN, NAN, NAN)])
    assert axis.ticks == pytest.approx(ticks)
    assert axis.low <= low
    assert high <= axis.high
