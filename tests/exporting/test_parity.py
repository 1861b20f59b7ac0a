import numpy as np
import pytest

from thorax.bundle import OperatingPoints
from thorax.errors import BundleError
from thorax.exporting.parity import EngineComparison, float_parity, quantized_parity, refuse_few_positives
from thorax.findings import parse_findings
from thorax.image_set import ImageSet

FINDINGS = parse_findings(("Effusion", "Mass"))
NAMES = ("Effusion", "Mass")
REFERENCE = ImageSet(
    dataset="toy", split="toy", part="val", sha256="0" * 64, images_sha256="1" * 64, num_images=4,
    num_patients=4,
)  # fmt: skip


def compare(expected, found):
    return EngineComparison(
        np.asarray(expected), np.asarray(found), compared_with="torch", compared_on=REFERENCE
    )


def points(rule="f1-optimal", **thresholds):
    return OperatingPoints(rule=rule, thresholds=thresholds, chosen_on=REFERENCE)


def cohort(seed=0, count=4000):
    """Labels of two findings, and probabilities that know something of them."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((count, 2)) < 0.3).astype(np.int8)
    logits = rng.normal(size=(count, 2)) + 2 * targets - 1
    targets[rng.random((count, 2)) < 0.05] = -1
    return targets, logits


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def judge(expected, found, targets, *, chosen=None, gated=NAMES):
    return quantized_parity(compare(expected, found), targets, findings=FINDINGS, gated=gated, points=chosen)


def test_a_float_engine_may_differ_by_a_ten_thousandth():
    parity = float_parity(compare([[0.5, 0.25]], [[0.50005, 0.25001]]))
    assert parity.largest_difference == 5e-5
    assert (parity.num_images, parity.compared_with) == (1, "torch")
    with pytest.raises(BundleError, match=r"up to 0\.00011 on 1 validation images \(0\.0001 is allowed\)"):
        float_parity(compare([[0.5, 0.25]], [[0.5, 0.25011]]))


@pytest.mark.parametrize(
    ("difference", "written"), [(0.0, 0.0), (3.01e-7, 4e-7), (9.5e-6, 1e-5), (2.0**-14, 7e-5), (3e-5, 3e-5)]
)
def test_differences_are_rounded_up_to_one_digit(difference, written):
    parity = float_parity(compare([[0.0]], [[difference]]))
    assert parity.largest_difference == written


def test_what_is_no_number_is_refused():
    with pytest.raises(BundleError, match="not numbers"):
        float_parity(compare([[0.5]], [[np.nan]]))


def test_the_same_probabilities_change_nothing():
    targets, logits = cohort()
    probability = sigmoid(logits)
    parity, refitted = judge(probability, probability, targets, chosen=points(Effusion=0.5, Mass=0.7))
    assert parity.percentile_99 == parity.macro_auc_change == parity.operating_point_change == 0
    for index, name in enumerate(NAMES):
        same = probability[:, index] >= {"Effusion": 0.5, "Mass": 0.7}[name]
        assert np.array_equal(probability[:, index] >= refitted.thresholds[name], same)


def test_thresholds_follow_a_shift():
    targets, logits = cohort()
    expected, found = sigmoid(logits), sigmoid(logits + 0.15)
    parity, refitted = judge(expected, found, targets, chosen=points(Effusion=0.5, Mass=0.7))
    assert parity.operating_point_change == 0
    assert refitted.thresholds["Effusion"] == pytest.approx(sigmoid(0.15), abs=2e-3)
    assert refitted.chosen_on == REFERENCE


def test_the_nearest_threshold_is_that_of_a_slow_search():
    targets, logits = cohort(count=500)
    rng = np.random.default_rng(3)
    expected, found = sigmoid(logits), sigmoid(logits + rng.normal(size=logits.shape) * 0.02)
    _, refitted = judge(expected, found, targets, chosen=points(Effusion=0.4, Mass=None))
    assert refitted.thresholds["Mass"] is None
    target, old, new = targets[:, 0], expected[:, 0], found[:, 0]

    def rates(calls):
        return np.array([calls[target == 1].mean(), 1 - calls[target == 0].mean()])

    def change(threshold):
        return np.abs(rates(new >= threshold) - rates(old >= 0.4)).max()

    # Below, between and above all probabilities.
    ordered = np.sort(np.concatenate([[0.0, 1.0], new]))
    best = min(change(threshold) for threshold in (ordered[1:] + ordered[:-1]) / 2)
    assert change(refitted.thresholds["Effusion"]) == best


@pytest.mark.parametrize(
    ("noise", "message"),
    [(0.6, "99th percentile"), (0.02, "macro AUC's change|at an operating point")],
)
def test_too_far_is_refused_with_the_figure(noise, message):
    targets, logits = cohort()
    found = sigmoid(logits + np.random.default_rng(1).normal(size=logits.shape) * noise)
    # Confident where it is wrong: the AUC falls more than the percentile tells.
    found[:30] = 1 - found[:30]
    with pytest.raises(BundleError, match=message):
        judge(sigmoid(logits), found, targets, chosen=points(Effusion=0.5, Mass=0.5))


def test_one_half_stays_one_half():
    targets, logits = cohort()
    chosen = points(rule="one-half", Effusion=0.5, Mass=0.5).model_copy(update={"chosen_on": None})
    _, refitted = judge(sigmoid(logits), sigmoid(logits + 1e-4), targets, chosen=chosen)
    assert refitted == chosen
    with pytest.raises(BundleError, match="at an operating point is"):
        judge(sigmoid(logits), sigmoid(logits + 0.15), targets, chosen=chosen)


def test_what_is_not_gated_has_no_point():
    targets, logits = cohort()
    probability = sigmoid(logits)
    chosen = points(Effusion=0.5, Mass=0.7)
    parity, refitted = judge(probability, probability, targets, chosen=chosen, gated=("Mass",))
    assert parity.gated == ("Mass",)
    assert refitted.thresholds["Effusion"] is None
    assert refitted.thresholds["Mass"] is not None
    assert judge(probability, probability, targets, gated=("Mass",))[1] is None


def test_too_little_validation_data_is_refused():
    targets = np.zeros((1000, 2), np.int8)
    targets[:100, 0] = 1
    targets[:99, 1] = 1
    refuse_few_positives(targets, FINDINGS, ("Effusion",))
    with pytest.raises(BundleError, match=r"too few positives .*\(Mass 99; 100 are needed\).*`gated`"):
        refuse_few_positives(targets, FINDINGS, NAMES)
    with pytest.raises(BundleError, match="predicts Effusion, Mass, not Edema"):
        refuse_few_positives(targets, FINDINGS, ("Edema",))
