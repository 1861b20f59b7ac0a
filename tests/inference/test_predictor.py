import numpy as np
import pytest

from thorax.calibration import sigmoid
from thorax.errors import DataError
from thorax.findings import NIH14
from thorax.image_set import ImageSet
from thorax.inference.ensemble import fit_ensemble_weights, fit_operating_points
from thorax.inference.pooling import mean_logit

REFERENCE = ImageSet(
    dataset="d", split="s", part="val", sha256="", images_sha256="", num_images=1, num_patients=1
)


def stack(*sources, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(scale=3, size=(*sources, 3, 2))


def test_one_source_is_itself_to_the_bit():
    logits = stack(1)
    for mean_of in ("probabilities", "logits"):
        assert np.array_equal(mean_logit(logits, mean_of=mean_of), logits[0])


def test_the_mean_of_probabilities_by_hand():
    logits = np.log([[[0.2 / 0.8]], [[0.6 / 0.4]]])
    assert sigmoid(mean_logit(logits, mean_of="probabilities")) == pytest.approx(0.4)
    weighted = mean_logit(logits, mean_of="probabilities", weights=(0.75, 0.25))
    assert sigmoid(weighted) == pytest.approx(0.3)


def test_the_mean_of_logits_by_hand():
    logits = np.array([[[1.0, -2.0]], [[3.0, 4.0]]])
    assert mean_logit(logits, mean_of="logits").tolist() == [[2, 1]]
    assert mean_logit(logits, mean_of="logits", weights=(1.0, 0.0)).tolist() == [[1, -2]]


@pytest.mark.parametrize("weights", [None, (0.2, 0.5, 0.3), (0.0, 1.0, 0.0)])
def test_probabilities_are_averaged_as_a_loop_does(weights):
    logits = stack(3)
    shares = weights or (1 / 3,) * 3
    found = sigmoid(mean_logit(logits, mean_of="probabilities", weights=weights))
    expected = np.zeros((3, 2))
    for share, each in zip(shares, logits, strict=True):
        expected += share / (1 + np.exp(-each))
    assert np.allclose(found, expected, rtol=1e-13)


def test_certainty_does_not_overflow():
    logits = np.array([[[800.0, -800.0]], [[900.0, -900.0]]])
    found = mean_logit(logits, mean_of="probabilities")
    # exp(-900) is nothing beside exp(-800): half of it is the mean.
    assert np.allclose(found, [[800 + np.log(2), -800 - np.log(2)]])


def test_the_order_of_sources_does_not_matter():
    logits = stack(4)
    for mean_of in ("probabilities", "logits"):
        turned = mean_logit(logits[::-1], mean_of=mean_of, weights=(0.4, 0.3, 0.2, 0.1))
        assert np.allclose(turned, mean_logit(logits, mean_of=mean_of, weights=(0.1, 0.2, 0.3, 0.4)))


def likelihood_loss(targets, logits, weights, mean_of):
    mean = mean_logit(logits, mean_of=mean_of, weights=weights)
    known = targets >= 0
    return np.logaddexp(0, np.where(targets[known] == 1, -mean[known], mean[known])).mean()


@pytest.mark.parametrize("mean_of", ["probabilities", "logits"])
def test_fitted_weights_are_the_best_of_a_grid(mean_of):
    rng = np.random.default_rng(3)
    targets = rng.integers(-1, 2, size=(200, 2)).astype(np.int8)
    signal = np.where(targets == 1, 1.0, -1.0)
    logits = np.stack(
        [scale * signal + rng.normal(scale=s, size=(200, 2)) for scale, s in ((1, 1), (1, 2), (0, 1))]
    )
    found = fit_ensemble_weights(targets, logits, mean_of=mean_of)
    assert sum(found) == pytest.approx(1)
    steps = np.linspace(0, 1, 41)
    best = min(
        likelihood_loss(targets, logits, (a, b, 1 - a - b), mean_of)
        for a in steps
        for b in steps
        if a + b <= 1 + 1e-12
    )
    assert likelihood_loss(targets, logits, found, mean_of) <= best + 2e-6
    assert found == fit_ensemble_weights(targets, logits, mean_of=mean_of)


def test_a_member_that_knows_everything_gets_all_the_weight():
    targets = np.array([[1], [0], [1], [0]], dtype=np.int8)
    right = np.where(targets == 1, 8.0, -8.0)
    weights = fit_ensemble_weights(targets, np.stack([right, -right]), mean_of="probabilities")
    assert weights[0] > 0.999


def test_a_member_that_is_not_finite_is_refused():
    logits = np.zeros((2, 1, 1))
    logits[1] = np.nan
    with pytest.raises(DataError, match="not finite"):
        fit_ensemble_weights(np.ones((1, 1), dtype=np.int8), logits, mean_of="logits")


def test_one_half_needs_nobody_to_choose_it():
    points = fit_operating_points(
        np.zeros((2, 1), dtype=np.int8),
        np.zeros((2, 1)),
        findings=NIH14[:1],
        rule="one-half",
        chosen_on=REFERENCE,
    )
    assert points.thresholds == {"Atelectasis": 0.5}
    assert points.chosen_on is None
