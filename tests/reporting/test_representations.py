"""What results show of themselves in a notebook, and their figures as tables."""

import math
import re

import numpy as np
import pytest

from tests.helpers.assessments import CONTEXT, EDEMA, HERNIA, HOSTILE, assessment_of
from tests.helpers.html import tags_of, text_of
from thorax.evaluation.compare import compare
from thorax.evaluation.labeled_images import LabeledImages, ScoredImages
from thorax.evaluation.statistics.intervals import Interval
from thorax.findings import Finding, find_finding
from thorax.reporting.figures import forest_svg, interval_axis, svg_file
from thorax.reporting.representations import (
    comparison_columns,
    comparison_html,
    evaluation_columns,
    evaluation_html,
    frame,
)

MASS = find_finding("Mass")


@pytest.fixture(scope="module")
def evaluation():
    return assessment_of((EDEMA, MASS, HERNIA))


# ---- an evaluation -----------------------------------------------------------------------------


def test_an_evaluation_shows_headline_and_forest_plot(evaluation):
    html = evaluation_html(evaluation, CONTEXT, [("error", "Two parts share patients."), ("note", "Seen.")])
    said = text_of(html)
    macro = evaluation.ranking.macro_auc
    assert said[0].startswith(f"Mean AUC over 2 findings {macro.value:.3f} (95 % interval {macro.ends})")
    for measured in evaluation.ranking.findings[:2]:
        assert f"{measured.auc.value:.3f} ({measured.auc.ends})" in said
    assert "No AUC, because all images are positive or all negative: Hernia." in said
    assert CONTEXT.warnings[0] in said
    assert "Audit, error: Two parts share patients." in said
    assert not [text for text in said if "Seen." in text]
    assert {"svg", "circle"} <= tags_of(html)


def test_the_best_finding_is_on_top(evaluation):
    said = text_of(evaluation_html(evaluation, CONTEXT, []))
    best, worst = sorted(evaluation.ranking.findings[:2], key=lambda measured: -measured.auc.value)
    named = [f"{result.finding.label} ({result.num_positive})" for result in (best, worst)]
    assert said.index(named[0]) < said.index(named[1])


def test_names_are_never_html():
    evaluation = assessment_of((Finding(HOSTILE), MASS, HERNIA))
    html = evaluation_html(evaluation, CONTEXT, [("error", HOSTILE)])
    assert "script" not in tags_of(html)
    assert any(text.startswith(HOSTILE) for text in text_of(html))


def test_the_figures_as_a_table(evaluation):
    table = frame(evaluation_columns(evaluation))
    assert table["finding"].tolist() == ["Edema", "Mass", "Hernia"]
    for row, measured in enumerate(evaluation.ranking.findings[:2]):
        assert table.loc[row, "auc"] == measured.auc.value
        assert table.loc[row, "auc_low"] == measured.auc.low
        assert table.loc[row, "average_precision_high"] == measured.average_precision.high
    called = evaluation.primary.classification.findings[0]
    assert table.loc[0, "sensitivity"] == called.rates["sensitivity"].interval.value
    assert math.isnan(table.loc[2, "auc"])
    assert table["positives"].tolist()[2] == 0


# ---- a comparison ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def comparison():
    random = np.random.default_rng(1)
    targets = (random.random((60, 2)) < 0.4).astype(np.int8)
    images = [f"{number}.png" for number in range(60)]
    labeled = LabeledImages(
        images=images,
        patients=[str(number // 2) for number in range(60)],
        targets=targets,
        findings=(EDEMA, MASS),
    )
    scored = [
        ScoredImages(model=name, images=images, scores=random.random((60, 2)), findings=(EDEMA, MASS))
        for name in ("first", "<b>second</b>")
    ]
    return compare(labeled, scored, resamples=50)


def test_a_comparison_shows_a_table_for_each_pair(comparison):
    html = comparison_html(comparison, {"first": CONTEXT, "<b>second</b>": CONTEXT}, {})
    said = text_of(html)
    assert said[0] == "Comparison of first and <b>second</b>"
    assert "b" not in tags_of(html)
    assert {"Edema", "Mass", "Mean of 2"} <= set(said)
    assert f"first: {CONTEXT.warnings[0]}" in said


def test_a_comparison_as_a_table(comparison):
    table = frame(comparison_columns(comparison))
    (pair,) = comparison.pairs
    assert table["finding"].tolist() == ["Edema", "Mass"]
    assert table["model"].tolist() == [pair.model] * 2
    assert table["difference"].tolist() == [found.auc.difference.value for found in pair.findings]
    assert np.allclose(table["difference"], table["model_auc"] - table["baseline_auc"])


# ---- figures -----------------------------------------------------------------------------------


def test_a_forest_plot_places_values_on_its_axis():
    intervals = [
        Interval(0.75, 0.5, 1.0),
        Interval(0.6, math.nan, math.nan),
        Interval(math.nan, *[math.nan] * 2),
    ]
    rows = list(zip("abc", intervals, strict=True))
    svg = forest_svg(rows, ("mean", Interval(0.7, 0.6, 0.8)), interval_axis(intervals))
    assert re.findall(r'circle class="dot" cx="([\d.]+)"', svg) == ["310", "227.2", "282.4"]
    assert '<path class="whisker" d="M172 12H448"/>' in svg
    said = text_of(svg)
    assert "0.600 (n/a)" in said
    assert "n/a" in said


def test_a_figure_as_a_file_has_its_own_style_and_all_marks():
    axis = interval_axis([Interval(0.7, 0.6, 0.8)])
    svg = forest_svg([("a", Interval(0.7, 0.6, 0.8))], ("mean", Interval(0.7, 0.6, 0.8)), axis)
    file = svg_file(svg)
    assert file.endswith(svg.partition(">")[2] + "\n")
    assert 'width="624" height="86" viewBox="-12 -12 624 86"' in file
    assert {".curve", ".grid", ".chance"} <= set(re.findall(r"\.\w+", file.partition("</style>")[0]))
    tags_of(file)
