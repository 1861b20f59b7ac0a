"""What a prediction decides, and how it says so."""

import pytest

from thorax.findings import find_finding
from thorax.prediction import FindingPrediction, ModelIdentity, Prediction

EDEMA, MASS, HERNIA = (find_finding(name) for name in ("Edema", "Mass", "Hernia"))
PROMISE = "On average at most 10 % ... This holds for patients like those of validation."


def edema(probability, threshold=0.5, undecided=None):
    return FindingPrediction(EDEMA, probability, threshold, undecided=undecided)


@pytest.mark.parametrize(
    ("probability", "threshold", "undecided", "decision"),
    [
        (0.5, 0.5, None, "yes"),  # no band: the threshold decides
        (0.49, 0.5, None, "no"),
        (0.49, None, None, None),
        (0.49, None, (0.2, 0.6), None),
        (0.19, 0.5, (0.2, 0.6), "no"),
        (0.2, 0.5, (0.2, 0.6), "not decided"),
        (0.55, 0.5, (0.2, 0.6), "not decided"),  # above the threshold, and yet
        (0.6, 0.5, (0.2, 0.6), "not decided"),
        (0.61, 0.5, (0.2, 0.6), "yes"),
        (0.5, 0.5, (0.5, 0.5), "yes"),  # better than the level asks: everything is decided
        (0.49, 0.5, (0.5, 0.5), "no"),
    ],
)
def test_a_band_abstains_and_never_turns_an_answer_around(probability, threshold, undecided, decision):
    predicted = edema(probability, threshold, undecided)
    assert predicted.decision == decision
    assert predicted.positive == (None if threshold is None else probability >= threshold)
    assert predicted.as_texts()[-1] == (decision or "n/a")
    written = predicted.as_json()
    assert written["decision"] == decision
    assert written.get("undecided") == (None if undecided is None else list(undecided))


@pytest.mark.parametrize(
    ("undecided", "text"), [(None, "no band"), ((0.2, 0.6), "20.0 % to 60.0 %"), ((0.5, 0.5), "never")]
)
def test_where_nothing_is_decided_is_said(undecided, text):
    assert edema(0.4, undecided=undecided).undecided_text == text


def test_every_format_says_what_is_not_decided_and_for_whom_it_holds():
    prediction = Prediction(
        source="chest.png",
        findings=(
            edema(0.4, undecided=(0.2, 0.6)),
            FindingPrediction(MASS, 0.7, 0.5, undecided=(0.1, 0.6)),
            FindingPrediction(HERNIA, 0.1, None),
        ),
        operating_point="youden",
        model=ModelIdentity("toy", "c0" * 32, calibrated=True),
        promise=PROMISE,
    )
    assert repr(prediction) == (
        "Prediction('chest.png': Mass 70.0 % (positive), Edema 40.0 % (not decided), Hernia 10.0 %)"
    )
    header, rows = prediction.as_table()
    assert header == ("Finding", "Probability", "Threshold", "Decision", "Not decided")
    assert [row[3:] for row in rows] == [
        ("yes", "10.0 % to 60.0 %"), ("not decided", "20.0 % to 60.0 %"), ("n/a", "no band"),
    ]  # fmt: skip
    written = prediction.as_json()
    assert written["promise"] == PROMISE
    assert {name: each["decision"] for name, each in written["findings"].items()} == {
        "Edema": "not decided", "Mass": "yes", "Hernia": None,
    }  # fmt: skip
    shown = prediction._repr_html_()
    assert PROMISE in shown
    assert "20.0 % to 60.0 %" in shown
    assert prediction.to_frame()["decision"].dropna().tolist() == ["not decided", "yes"]
