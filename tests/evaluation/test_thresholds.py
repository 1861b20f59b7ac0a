import json

import numpy as np
import pytest

from thorax.errors import DataError
from thorax.evaluation.operating_points import Youden, choose_thresholds, parse_rule
from thorax.evaluation.thresholds import (
    TUNED_MARK,
    choose_threshold_set,
    one_half,
    read_threshold_set,
    refuse_tuned,
)
from thorax.findings import Finding, find_finding
from thorax.image_set import ImageSet

EDEMA, MASS = find_finding("Edema"), find_finding("Mass")
VALIDATION = ImageSet(
    dataset="d",
    split="nih-official",
    part="val",
    sha256="5f" * 32,
    images_sha256="a1" * 32,
    num_images=8_000,
    num_patients=2_800,
)
TEST = VALIDATION.model_copy(update={"part": "test", "images_sha256": "b2" * 32})


def points(chosen_on):
    random = np.random.default_rng(0)
    targets = (random.random((60, 2)) < 0.3).astype(np.int8)
    probabilities = np.round(random.random((60, 2)), 2)
    chosen = choose_threshold_set(
        Youden(), targets, probabilities, findings=(EDEMA, MASS), chosen_on=chosen_on
    )
    expected = choose_thresholds(Youden(), targets, probabilities)
    assert chosen.thresholds == expected
    return chosen


def test_thresholds_of_validation_are_reported_on_test_as_they_are():
    chosen = points(VALIDATION)
    assert refuse_tuned(chosen, TEST, allow=False) == chosen
    assert chosen.name == "youden"
    assert chosen.describe() == (
        "thresholds by the rule youden, chosen on the val part of nih-official "
        "(8,000 images of 2,800 patients)"
    )


@pytest.mark.parametrize(
    "chosen_on",
    [
        TEST,
        TEST.model_copy(update={"images_sha256": "c3" * 32}),  # other images of the same part
        VALIDATION.model_copy(update={"images_sha256": TEST.images_sha256}),  # said to be validation
        TEST.model_copy(update={"split": "another", "images_sha256": "d4" * 32}),  # any test part
    ],
)
def test_thresholds_of_the_reported_part_are_refused_or_marked(chosen_on):
    chosen = points(chosen_on)
    with pytest.raises(DataError, match=r"^the thresholds youden were chosen on the .*`allow_test_tuning`"):
        refuse_tuned(chosen, TEST, allow=False)
    marked = refuse_tuned(chosen, TEST, allow=True)
    assert marked.test_tuned
    assert TUNED_MARK in marked.name
    assert TUNED_MARK in marked.describe()


def test_one_half_is_nobodys_choice():
    assert refuse_tuned(one_half((EDEMA,)), TEST, allow=False).thresholds == (0.5,)


@pytest.mark.parametrize(
    ("rule", "name", "origin"),
    [
        ("one-half", "one-half", "0.5 for every finding, whatever its prevalence"),
        ("0.5", "one-half", "0.5 for every finding, whatever its prevalence"),
        ("0.3", "own", "0.3 for every finding, as given"),
    ],
)
def test_a_fixed_threshold_is_chosen_on_no_images(rule, name, origin):
    labels, probabilities = np.ones((2, 1), dtype=np.int8), np.full((2, 1), 0.4)
    fixed = choose_threshold_set(parse_rule(rule), labels, probabilities, findings=(EDEMA,), chosen_on=TEST)
    assert (fixed.name, fixed.describe(), fixed.chosen_on) == (name, origin, None)
    assert refuse_tuned(fixed, TEST, allow=False) == fixed


def test_a_file_gives_thresholds_and_their_origin(tmp_path):
    path = tmp_path / "thresholds.json"
    value = {
        "rule": "youden",
        "thresholds": {"Pulmonary Edema": 0.25, "Hernia": 0.5, "Mass": None},
        "chosen_on": VALIDATION.model_dump(exclude={"dataset"}),
    }
    path.write_text(json.dumps(value))
    read = read_threshold_set(path, (MASS, EDEMA, Finding("Silicosis")))
    assert read.thresholds == (None, 0.25, None)
    assert read.chosen_on == VALIDATION.model_copy(update={"dataset": ""})
    path.write_text(json.dumps({**value, "chosen_on": VALIDATION.model_dump()}))
    assert read_threshold_set(path, (MASS, EDEMA)).chosen_on == VALIDATION
    path.write_text(json.dumps({**value, "chosen_on": None}))
    unknown = read_threshold_set(path, (MASS, EDEMA))
    assert unknown.describe() == "thresholds of thresholds.json, which does not say what chose them"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chosen_on": ...}, "needs the keys rule, thresholds, chosen_on"),
        ({"thresholds": [1]}, "must be an object"),
        ({"thresholds": {"Mass": "x"}}, "the threshold of Mass is 'x'"),
        ({"thresholds": {"Mass": 1.5}}, "the threshold of Mass is 1.5"),
        ({"thresholds": {"Mass": True}}, "the threshold of Mass is True"),
        ({"chosen_on": {"split": "x"}}, "chosen_on needs split, part"),
        ({"chosen_on": {**VALIDATION.model_dump(), "num_images": "8"}}, "must be whole numbers"),
    ],
)
def test_a_file_that_is_not_as_it_must_be_is_refused(tmp_path, change, message):
    value = {"rule": "own", "thresholds": {"Mass": 0.5}, "chosen_on": None} | change
    path = tmp_path / "thresholds.json"
    path.write_text(json.dumps({key: each for key, each in value.items() if each is not ...}))
    with pytest.raises(DataError, match=message):
        read_threshold_set(path, (MASS,))


def test_a_file_that_is_no_json_is_refused(tmp_path):
    (tmp_path / "t.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read as JSON"):
        read_threshold_set(tmp_path / "t.json", (MASS,))
