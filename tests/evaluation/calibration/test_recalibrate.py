import numpy as np
import pytest
from scipy.optimize import minimize

from thorax.calibration import logit
from thorax.errors import DataError
from thorax.evaluation.calibration.fit import (
    Recalibration,
    brier_loss,
    fit_recalibrations,
    recalibrate,
)
from thorax.evaluation.labeled_images import LabeledImages
from thorax.evaluation.thresholds import TUNED_MARK
from thorax.findings import NIH14
from thorax.image_set import ImageSet


def images_of(part, images="a"):
    return ImageSet(
        dataset="nih-chestxray14",
        split="nih-official",
        part=part,
        sha256="0",
        images_sha256=images,
        num_images=9,
        num_patients=9,
    )


VALIDATION, REPORTED = images_of("val", "v"), images_of("test", "t")

FINDINGS = NIH14[:2]


def overconfident(seed, images=4000):
    """Two findings whose logits are three times what they should be, the second shifted too."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(images, 2)) + np.array([0.0, -1.0])
    targets = (random.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.int8)
    return targets, 1 / (1 + np.exp(-3 * (logits + np.array([0.0, 0.5]))))


def fit(targets, probabilities, **options):
    given = {"fitted_on": VALIDATION, "reported": REPORTED, "allow": False} | options
    names = [str(number) for number in range(len(targets))]
    labeled = LabeledImages(images=names, patients=names, targets=targets, findings=FINDINGS)
    return fit_recalibrations(labeled, probabilities, **given)


def test_what_was_too_sure_is_put_right_on_other_images():
    temperature, platt = fit(*overconfident(0))
    targets, probabilities = overconfident(1)
    plain, cooled, shifted = (
        [brier_loss(targets[:, k] == 1, each[:, k]) for k in (0, 1)]
        for each in (
            probabilities,
            temperature.apply(probabilities, FINDINGS),
            platt.apply(probabilities, FINDINGS),
        )
    )
    assert temperature.calibration.temperature == pytest.approx(3, rel=0.1)
    assert list(platt.calibration.slopes.values()) == pytest.approx([1 / 3, 1 / 3], rel=0.15)
    assert platt.calibration.intercepts[FINDINGS[1].name] == pytest.approx(-0.5, abs=0.1)
    assert cooled[0] < plain[0]
    assert shifted[1] < cooled[1] < plain[1]


def test_the_temperature_equals_a_search_by_another_program():
    targets, probabilities = overconfident(2, images=300)
    logits = logit(probabilities)

    def loss(parameters):
        scaled = logits / parameters[0]
        return np.mean(np.logaddexp(0, np.where(targets == 1, -scaled, scaled)))

    found = minimize(loss, [1.0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-14}).x[0]
    assert fit(targets, probabilities)[0].calibration.temperature == pytest.approx(found, rel=1e-5)


def test_without_a_calibration_nothing_is_done():
    _, probabilities = overconfident(3, images=50)
    (nothing,) = recalibrate(probabilities, [Recalibration(None)], findings=FINDINGS)
    assert nothing.recalibration.name == "Not calibrated"
    np.testing.assert_allclose(nothing.probabilities, probabilities, atol=1e-9)


def test_no_calibration_changes_the_order_of_images():
    targets, probabilities = overconfident(4, images=500)
    for each in recalibrate(probabilities, fit(targets, probabilities), findings=FINDINGS):
        for k in (0, 1):
            np.testing.assert_array_equal(
                np.argsort(each.probabilities[:, k], kind="stable"),
                np.argsort(probabilities[:, k], kind="stable"),
            )


@pytest.mark.parametrize(
    "options",
    [
        {"fitted_on": REPORTED},
        {"fitted_on": images_of("test", "other")},
        {"fitted_on": images_of("val", "t")},
        {"patients_shared": 1},
    ],
)
def test_fitted_on_what_is_reported_is_refused_or_marked(options):
    targets, probabilities = overconfident(5, images=60)
    with pytest.raises(DataError, match="fit it on validation, or mark"):
        fit(targets, probabilities, **options)
    for each in fit(targets, probabilities, allow=True, **options):
        assert each.test_tuned
        assert TUNED_MARK in each.name
    for each in fit(targets, probabilities, allow=True):
        assert not each.test_tuned
        assert TUNED_MARK not in each.name
