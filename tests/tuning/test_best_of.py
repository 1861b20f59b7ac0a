"""By how much the best of several trials flatters: against closed forms, tables and simulation."""

import math

import numpy as np
import pytest

from thorax.tuning.best_of import best_of_many, expected_maximum


@pytest.mark.parametrize(
    ("count", "exact"),
    [(1, 0.0), (2, 1 / math.sqrt(math.pi)), (3, 1.5 / math.sqrt(math.pi))],
)
def test_the_expected_maximum_has_its_closed_form(count, exact):
    assert expected_maximum(count) == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize(("count", "tabled"), [(5, 1.16296), (10, 1.53875), (30, 2.04276), (100, 2.50759)])
def test_the_expected_maximum_is_that_of_harters_table(count, tabled):
    assert expected_maximum(count) == pytest.approx(tabled, abs=1e-5)


def test_the_excess_is_that_of_simulated_studies_of_equal_trials():
    trials, sd = 30, 0.01
    values = 0.7 + sd * np.random.default_rng(0).standard_normal((20_000, trials))
    observed = np.mean(values.max(axis=1) - values.mean(axis=1))
    estimates = [best_of_many([float(v) for v in study], trials=trials).excess for study in values[:2_000]]
    # The sd of a sample of 30 is on average 0.9 % too small.
    assert np.mean(estimates) == pytest.approx(observed, rel=0.02)


def test_pruned_trials_count_but_have_no_value():
    best = best_of_many([0.6, 0.7, 0.8], trials=10)
    assert best is not None
    assert (best.trials, best.values, best.mean, best.sd) == (10, 3, pytest.approx(0.7), pytest.approx(0.1))
    assert best.excess == pytest.approx(0.1 * 1.53875, abs=1e-6)


def test_two_values_have_no_estimate():
    assert best_of_many([0.6, 0.7], trials=2) is None
