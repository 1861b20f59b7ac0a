import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thorax.errors import DataError
from thorax.evaluation.classification import confusion_cells, rates_of
from thorax.evaluation.prevalence import (
    LabelShift,
    estimate_prevalence,
    predictive_values,
    predictive_values_at,
)
from thorax.evaluation.statistics.intervals import (
    effective_patients,
    percentile_interval,
    resample_counts,
    share_interval,
)

SHARES = st.floats(0.01, 0.99)


def one(value):
    return np.array([value])


def two_gaussians(random, *, prevalence, size, trained):
    """Images scored N(1, 1) with the finding and N(-1, 1) without, and their exact posterior at `trained`."""
    target = random.random(size) < prevalence
    score = random.normal(np.where(target, 1.0, -1.0), 1.0)
    logit = 2 * score + np.log(trained / (1 - trained))  # the log likelihood ratio is 2 x
    return target, 1 / (1 + np.exp(-logit))


def em(probability, trained):
    """Slow and obvious: Saerens, Latinne and Decaestecker's steps, until they stand still."""
    prevalence = trained
    for _ in range(20_000):
        present = probability * prevalence / trained
        posterior = present / (present + (1 - probability) * (1 - prevalence) / (1 - trained))
        following = float(np.mean(posterior))
        if abs(following - prevalence) < 1e-13:
            break
        prevalence = following
    return prevalence


def test_predictive_values_by_hand():
    # Of 1,000 people 10 have it and 9 of them are called; 990 do not, and 99 of them are called.
    ppv, npv = predictive_values(one(0.9), one(0.9), prevalence=0.01)
    assert ppv[0] == pytest.approx(9 / 108)
    assert npv[0] == pytest.approx(891 / 892)


@given(SHARES, SHARES, SHARES)
def test_predictive_values_are_shares_of_a_crowd(sensitivity, specificity, prevalence):
    ppv, npv = predictive_values(one(sensitivity), one(specificity), prevalence=prevalence)
    crowd = 1e6 * np.array(
        [
            prevalence * sensitivity,
            (1 - prevalence) * (1 - specificity),
            prevalence * (1 - sensitivity),
            (1 - prevalence) * specificity,
        ]
    )
    rates = rates_of(crowd)
    assert (ppv[0], npv[0]) == pytest.approx((rates[2], rates[3]))


def test_predictive_values_of_nothing_are_undefined():
    ppv, npv = predictive_values(np.array([0.0, 1.0, np.nan]), np.array([1.0, 0.0, 0.5]), prevalence=0.2)
    assert np.isnan(ppv).tolist() == [True, False, True]  # the first calls nothing
    assert np.isnan(npv).tolist() == [False, True, True]  # the second calls everything
    with pytest.raises(
        DataError, match=r"^a prevalence of 3.0 is not a share; give a share in \[0, 1\], such as"
    ):
        predictive_values(one(0.5), one(0.5), prevalence=3.0)


def test_at_their_own_prevalence_predictive_values_are_those_measured():
    random = np.random.default_rng(0)
    target, called = random.random(500) < 0.2, random.random(500) < 0.3
    patient = random.integers(0, 100, 500)
    rates = rates_of(confusion_cells(target, called).sum(axis=0))
    found = predictive_values_at(
        target, called, patient=patient, prevalence=float(np.mean(target)), resamples=20
    )
    assert (found.ppv.value, found.npv.value) == pytest.approx((rates[2], rates[3]))


def test_intervals_are_those_of_a_loop_over_resamples():
    random = np.random.default_rng(1)
    target, called = random.random(60) < 0.2, random.random(60) < 0.5
    patient = np.concatenate([np.arange(15), random.integers(0, 15, 45)])
    found = predictive_values_at(target, called, patient=patient, prevalence=0.05, resamples=40, seed=3)
    ppv = []
    for row in resample_counts(15, resamples=40, seed=3):
        rows = np.repeat(np.arange(60), row[patient])
        rates = rates_of(confusion_cells(target[rows], called[rows]).sum(axis=0))
        ppv.append(predictive_values(one(rates[0]), one(rates[1]), prevalence=0.05)[0][0])
    few = percentile_interval(
        found.ppv.value, np.array(ppv), patients=effective_patients(np.bincount(patient))
    )
    assert (found.ppv.low, found.ppv.high) == pytest.approx((few.low, few.high))
    assert found.undefined_resamples == np.isnan(ppv).sum()


def test_a_perfect_specificity_leaves_the_predictive_value_uncertain():
    patient = np.arange(60)
    target, called = patient < 20, patient < 15
    found = predictive_values_at(target, called, patient=patient, prevalence=0.05, resamples=50)
    clear = share_interval(np.ones(40), np.ones(40))
    expected, _ = predictive_values(one(0.75), one(clear.low), prevalence=0.05)
    assert (found.ppv.value, found.ppv.high) == (1.0, 1.0)
    assert found.ppv.low == pytest.approx(expected[0])
    assert found.ppv.low < 0.5
    assert found.npv.low < found.npv.value < found.npv.high  # of a specificity of 1, as measured


def test_without_images_there_are_no_predictive_values():
    nothing = np.zeros(0, dtype=bool)
    found = predictive_values_at(nothing, nothing, patient=np.zeros(0, dtype=np.int64), prevalence=0.1)
    assert not found.ppv.exists
    assert found.undefined_resamples == 1000


@pytest.mark.parametrize(("trained", "prevalence"), [(0.03, 0.1), (0.3, 0.02), (0.5, 0.5)])
def test_the_estimate_is_where_em_ends(trained, prevalence):
    random = np.random.default_rng(4)
    _, probability = two_gaussians(random, prevalence=prevalence, size=3000, trained=trained)
    shift = estimate_prevalence(probability, trained=trained, patient=np.arange(3000))
    assert shift.undefined == ""
    assert shift.prevalence.value == pytest.approx(em(probability, trained), abs=1e-9)
    assert shift.prevalence.low < prevalence < shift.prevalence.high


@pytest.mark.slow
@pytest.mark.usefixtures("shapes_unchecked")
def test_intervals_cover_with_patients_of_uneven_size():
    random, covered = np.random.default_rng(5), []
    for _ in range(300):
        has_it = random.random(250) < 0.25  # patients, each with 1 to 9 images that look alike
        patient = np.repeat(np.arange(250), random.integers(1, 10, 250))
        target = has_it[patient]
        score = random.normal(np.where(target, 1.0, -1.0), 1.0)
        probability = 1 / (1 + np.exp(-2 * score - np.log(0.1 / 0.9)))
        shift = estimate_prevalence(probability, trained=0.1, patient=patient)
        covered.append(shift.prevalence.low <= 0.25 <= shift.prevalence.high)
    assert 0.92 <= np.mean(covered) <= 0.98


def test_nobody_or_everybody_is_an_answer():
    low = estimate_prevalence(np.array([0.01, 0.02]), trained=0.5, patient=np.arange(2))
    high = estimate_prevalence(np.array([0.98, 0.99]), trained=0.5, patient=np.arange(2))
    assert low.prevalence.value == pytest.approx(0, abs=1e-12)
    assert high.prevalence.value == pytest.approx(1, abs=1e-12)
    certain = estimate_prevalence(np.array([0.0, 1.0, 1.0, 1.0]), trained=0.5, patient=np.arange(4))
    assert certain.prevalence.value == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("probability", "trained", "why"),
    [
        ([], 0.5, "there are no images"),
        ([0.2, 0.3], 0.0, "the prevalence in training is 0, from which no other can be estimated"),
        ([0.2, 0.3], math.nan, "the prevalence in training is nan, from which no other can be estimated"),
        ([0.2, 0.2], 0.5, "all 2 probabilities are equal"),
    ],
)
def test_what_cannot_be_estimated_says_why(probability, trained, why):
    patient = np.arange(len(probability))
    shift = estimate_prevalence(np.array(probability, dtype=float), trained=trained, patient=patient)
    assert isinstance(shift, LabelShift)
    assert not shift.prevalence.exists
    assert shift.undefined == why


@pytest.mark.parametrize("wrong", [1.5, math.nan])
def test_what_is_no_probability_is_refused(wrong):
    with pytest.raises(DataError, match=r"^1 of 2 probabilities are not in \[0, 1\]; give probabilities"):
        estimate_prevalence(np.array([0.5, wrong]), trained=0.5, patient=np.arange(2))
