"""The sigmoid, its inverse, and the calibrations of a bundle."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from thorax.calibration import Calibration, Platt, Temperature, logit, sigmoid
from thorax.image_set import ImageSet

VALIDATION = ImageSet.of(
    ["b.png", "a.png", "c.png"],
    ["2", "1", "1"],
    dataset="toy",
    split="patient-80-10-10",
    part="val",
    split_sha256="5f",
)
FINDINGS = ("Effusion", "Mass")
PLATT = Platt(
    slopes={"Mass": 0.5, "Effusion": 2.0},
    intercepts={"Mass": -1.0, "Effusion": 0.25},
    kept={},
    fitted_on=VALIDATION,
)


def test_the_sigmoid_by_another_formula():
    logits = np.array([[-40.0, -3.0, -0.0, 0.0, 0.25, 3.0, 36.0]])
    expected = [[math.exp(x) / (1 + math.exp(x)) for x in logits[0]]]
    np.testing.assert_allclose(sigmoid(logits), expected, rtol=1e-15)


def test_the_sigmoid_neither_overflows_nor_warns():
    assert sigmoid(np.array([-1e308, -800.0, 800.0, 1e308])).tolist() == [0, 0, 1, 1]
    assert sigmoid(np.float32([0.0])).dtype == np.float64


def test_the_logit_of_rounded_probabilities_is_finite():
    probabilities = np.array([[0.0, 0.5, 1.0, 1 / (1 + math.exp(-1))]])
    assert logit(probabilities)[0] == pytest.approx([-20.7232658, 0.0, 20.7232658, 1.0], abs=1e-7)
    assert logit(probabilities, floor=1e-7)[0] == pytest.approx([-16.1180955, 0.0, 16.1180955, 1.0], abs=1e-7)


def test_a_temperature_by_hand():
    warm = Temperature(temperature=2.0, fitted_on=VALIDATION)
    logits = np.log([[1 / 4, 9.0]])  # half of a logit is the root of the odds: 1 / 2 and 3
    np.testing.assert_allclose(warm.apply(logits, FINDINGS), [[1 / 3, 3 / 4]], rtol=1e-15)
    assert str(warm) == "temperature 2.000"


def test_platt_takes_its_columns_by_name():
    logits = np.array([[1.0, 4.0]])
    expected = [[1 / (1 + math.exp(-2.25)), 1 / (1 + math.exp(-1.0))]]
    np.testing.assert_allclose(PLATT.apply(logits, FINDINGS), expected, rtol=1e-15)
    found = PLATT.apply(logits, FINDINGS)
    np.testing.assert_array_equal(PLATT.apply(logits[:, ::-1], FINDINGS[::-1]), found[:, ::-1])
    np.testing.assert_array_equal(PLATT.apply(logits[:, 1:], ["Mass"]), found[:, 1:])


@given(
    st.lists(st.tuples(st.floats(-6, 6), st.floats(-6, 6)), min_size=1, max_size=5),
    st.floats(0.5, 2.0),
    st.tuples(st.floats(0.3, 1.5), st.floats(0.3, 1.5)),
    st.tuples(st.floats(-2, 2), st.floats(-2, 2)),
)
def test_a_calibration_can_be_taken_back(rows, temperature, slopes, intercepts):
    logits = np.array(rows, dtype=np.float64)
    platt = Platt(
        slopes=dict(zip(FINDINGS, slopes, strict=True)),
        intercepts=dict(zip(FINDINGS, intercepts, strict=True)),
        kept={},
        fitted_on=VALIDATION,
    )
    for calibration in (Temperature(temperature=temperature, fitted_on=VALIDATION), platt):
        probabilities = calibration.apply(logits, FINDINGS)
        np.testing.assert_allclose(calibration.inverse(probabilities, FINDINGS), logits, atol=1e-8)


WRITTEN = {
    "temperature": {"kind": "temperature", "temperature": 1.5, "fitted_on": None},
    "platt": {
        "kind": "platt",
        "slopes": {"Mass": 0.5, "Effusion": 2.0},
        "intercepts": {"Mass": -1.0, "Effusion": 0.25},
        "kept": {"Mass": "all 3 logits are equal"},
        "fitted_on": None,
    },
}
ON = {
    "dataset": "toy",
    "split": "patient-80-10-10",
    "part": "val",
    "sha256": "5f",
    "images_sha256": "9ad77d4a0a3c4d2d6c7a9ad0a9c46b53ee0d09c3b7bcb7b1c6ab1d0fb2e1b1ef",
    "num_images": 3,
    "num_patients": 2,
}


@pytest.mark.parametrize("kind", ["temperature", "platt"])
def test_a_calibration_is_written_as_bundles_have_it(kind):
    written = json.dumps(WRITTEN[kind] | {"fitted_on": ON})
    read = TypeAdapter(Calibration).validate_json(written)
    assert isinstance(read, {"temperature": Temperature, "platt": Platt}[kind])
    assert json.dumps(read.model_dump(mode="json")) == written


@pytest.mark.parametrize(
    "changes",
    [{"temperature": 0.0}, {"temperature": -1.0}, {"kind": "isotonic"}, {"fitted_on": None}, {"other": 1}],
)
def test_what_is_not_a_calibration_is_refused(changes):
    with pytest.raises(ValidationError):
        TypeAdapter(Calibration).validate_python(WRITTEN["temperature"] | {"fitted_on": ON} | changes)


def test_platt_needs_a_slope_and_an_intercept_for_each_finding():
    with pytest.raises(ValidationError, match="one slope and intercept for each finding"):
        Platt(slopes={"Mass": 1.0}, intercepts={}, kept={}, fitted_on=VALIDATION)
    with pytest.raises(ValidationError):
        Platt(slopes={"Mass": 0.0}, intercepts={"Mass": 0.0}, kept={}, fitted_on=VALIDATION)


def test_an_image_set_counts_and_hashes_its_images_in_any_order():
    turned = ImageSet.of(
        ["a.png", "c.png", "b.png"],
        ["1", "1", "2"],
        dataset="toy",
        split="patient-80-10-10",
        part="val",
        split_sha256="5f",
    )
    assert turned == VALIDATION
    assert (turned.num_images, turned.num_patients) == (3, 2)
    assert str(turned) == "val part of patient-80-10-10 (3 images of 2 patients)"
    assert str(ImageSet.of(["a"], ["1"], dataset="")) == "images of no stated split (1 images of 1 patients)"


def test_an_image_set_is_written_as_manifests_have_it():
    assert list(VALIDATION.model_dump()) == list(ON)
    assert ImageSet.model_validate(ON).model_dump() == ON
