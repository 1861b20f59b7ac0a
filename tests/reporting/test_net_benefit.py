import dataclasses
import json
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from tests.helpers.assessments import ASSESSMENT, CONTEXT, shown_text
from thorax.evaluation.decision_curves import THRESHOLDS
from thorax.prediction import ModelIdentity
from thorax.reporting.figures import decision_svg
from thorax.reporting.markdown import render_markdown
from thorax.reporting.metrics import metrics
from thorax.reporting.net_benefit import UNCALIBRATED_NOTE, net_benefit_rows
from thorax.reporting.report import render_html
from thorax.reporting.summary import cost_ratio_text, short

SVG = "{http://www.w3.org/2000/svg}"


def test_metrics_have_every_point_and_the_ratio_of_each_threshold():
    read = json.loads(json.dumps(metrics(ASSESSMENT, CONTEXT), allow_nan=False))
    edema = read["decision_curves"]["Edema"]
    assert [point["threshold"] for point in edema["points"]] == list(THRESHOLDS)
    (curve,) = (each for each in ASSESSMENT.decision_curves if each.finding.name == "Edema")
    for shown, point in zip(edema["points"], curve.points, strict=True):
        assert shown["cost_ratio"] == pytest.approx((1 - point.threshold) / point.threshold)
        assert shown["net_benefit"] == dataclasses.asdict(point.model)
        assert shown["over_treat_all"]["value"] == pytest.approx(
            shown["net_benefit"]["value"] - shown["treat_all"]["value"]
        )
    for point in read["operating_points"]:
        assert set(point["cost_ratios"]) == set(point["thresholds"])
        for finding, threshold in point["thresholds"].items():
            expected = (1 - threshold) / threshold if threshold and 0 < threshold < 1 else None
            assert point["cost_ratios"][finding] == (expected and pytest.approx(expected))


def test_the_report_says_what_a_threshold_is_worth_and_shows_the_same_numbers():
    page, text = render_html(ASSESSMENT, CONTEXT), render_markdown(ASSESSMENT, CONTEXT)
    assert "FP worth a TP" in text
    assert "False positives worth a true positive" in page
    rows = net_benefit_rows(ASSESSMENT.decision_curves)
    assert rows
    words = shown_text(page)
    for row in rows:
        for cell in row[1:]:
            assert cell in text
            assert cell in words
    half = ASSESSMENT.points[-1]
    assert set(half.points.thresholds) == {0.5}
    assert "| 0.500 | 1 |" in text


@pytest.mark.parametrize("calibrated", [True, False])
def test_probabilities_that_are_not_calibrated_are_said_to_be_no_risks(calibrated):
    context = dataclasses.replace(
        CONTEXT, model=ModelIdentity(name="theirs", bundle_sha256="5f" * 32, calibrated=calibrated)
    )
    for shown in (render_markdown(ASSESSMENT, context), shown_text(render_html(ASSESSMENT, context))):
        assert (UNCALIBRATED_NOTE in shown) != calibrated


def test_the_figure_places_thresholds_by_their_odds():
    (curve,) = (each for each in ASSESSMENT.decision_curves if each.finding.name == "Edema")
    drawing = ET.fromstring(decision_svg(curve))
    paths = {
        path.get("class"): path.get("d") for path in drawing.iter(f"{SVG}path") if path.get("class") != "grid"
    }
    assert set(paths) == {"wash", "none", "chance", "curve"}
    points = np.array([pair.split() for pair in paths["curve"][1:].split("L")], np.float64)
    logit = np.log(np.array(THRESHOLDS) / (1 - np.array(THRESHOLDS)))
    assert len(points) <= len(logit)
    across = 22 + 116 * (logit - logit[0]) / (logit[-1] - logit[0])
    np.testing.assert_allclose(points[:, 0], across[: len(points)], atol=0.051)
    share = curve.num_positive / curve.num_known
    best = np.array([point.model.value / share for point in curve.points[: len(points)]])
    assert all(point.model.value == 0 for point in curve.points[len(points) :])
    np.testing.assert_allclose(points[:, 1], 5 + 116 * (1 - np.clip((best + 0.25) / 1.25, 0, 1)), atol=0.051)
    labels = [label.text for label in drawing.iter(f"{SVG}text")]
    assert labels == ["1 %", "0", "10 %", ".5", "50 %", "1"]


def test_ratios_have_two_digits():
    assert [cost_ratio_text(threshold) for threshold in (0.01, 0.2, 0.3, 0.5, 0.9, None, 1.0)] == [
        "99", "4", "2.3", "1", "0.11", "n/a", "n/a",
    ]  # fmt: skip
    assert short(ASSESSMENT.decision_curves[0].points[0].model) != "n/a"
