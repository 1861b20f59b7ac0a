"""Logistic regression beside a general optimizer, and its covariance beside a slow sum over patients."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize

from thorax.evaluation.calibration.logistic import fit_logistic, log_loss


def drawn(seed, patients=80):
    draw = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), draw.integers(1, 5, patients))
    logits = -1 + draw.normal(size=patients)[patient] + draw.normal(size=len(patient))
    present = draw.random(len(patient)) < 1 / (1 + np.exp(-(0.4 + 0.7 * logits)))
    return present, logits, patient


KINDS = [(True, True), (True, False), (False, True)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("intercept", "slope"), KINDS)
def test_the_likelihood_is_greatest(seed, intercept, slope):
    present, logits, patient = drawn(seed)

    def loss(free):
        values = iter(free)
        a, b = next(values) if intercept else 0.0, next(values) if slope else 1.0
        probability = 1 / (1 + np.exp(-(a + b * logits)))
        return -np.sum(np.log(np.where(present, probability, 1 - probability)))

    start = [0.0] * intercept + [1.0] * slope
    best = minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12})
    fit = fit_logistic(present, logits, patient, intercept=intercept, slope=slope)
    values = [fit.intercept] * intercept + [fit.slope] * slope
    assert values == pytest.approx(best.x, abs=1e-6)
    assert (fit.intercept, fit.slope)[not intercept if intercept != slope else 0] is not None
    assert fit.intercept == 0 or intercept
    assert fit.slope == 1 or slope
    assert log_loss(present, fit.intercept + fit.slope * logits) * len(logits) == pytest.approx(best.fun)


@pytest.mark.parametrize(("intercept", "slope"), KINDS)
def test_the_covariance_as_summed_patient_by_patient(intercept, slope):
    present, logits, patient = drawn(7, patients=30)
    fit = fit_logistic(present, logits, patient, intercept=intercept, slope=slope)
    used = [k for k, free in enumerate((intercept, slope)) if free]
    bread, meat = np.zeros((2, 2)), np.zeros((2, 2))
    for number in range(30):
        score = np.zeros(2)
        for x, y in zip(logits[patient == number], present[patient == number], strict=True):
            p = 1 / (1 + math.exp(-(fit.intercept + fit.slope * x)))
            row = np.array([1, x])
            bread += p * (1 - p) * np.outer(row, row)
            score += (p - y) * row
        meat += np.outer(score, score)
    square = np.ix_(used, used)
    inverse = np.linalg.inv(bread[square])
    covariance = np.zeros((2, 2))
    covariance[square] = inverse @ meat[square] @ inverse * 30 / 29
    assert fit.covariance == pytest.approx(covariance, rel=1e-6)
    assert fit.intercept_error == math.sqrt(fit.covariance[0, 0])
    assert fit.slope_error == math.sqrt(fit.covariance[1, 1])


def test_where_nothing_finite_is_best_there_is_no_fit():
    logits, patient = np.array([-2.0, -1.0, 1.0, 2.0]), np.arange(4)
    separated = np.array([False, False, True, True])
    mixed = np.array([False, True, False, True])
    assert fit_logistic(separated, logits, patient) is None
    assert fit_logistic(~separated, logits, patient) is None
    assert fit_logistic(np.zeros(4, bool), logits, patient) is None
    assert fit_logistic(np.ones(4, bool), logits, patient, slope=False) is None
    assert fit_logistic(mixed, np.ones(4), patient) is None
    assert fit_logistic(separated, logits, patient, intercept=False) is None
    assert fit_logistic(separated, logits, patient, slope=False).intercept == pytest.approx(0)
    assert fit_logistic(mixed, logits, patient) is not None
    assert math.isnan(fit_logistic(mixed, logits, np.zeros(4, int)).slope_error)
    assert math.isnan(log_loss(np.zeros(0, bool), np.zeros(0)))
