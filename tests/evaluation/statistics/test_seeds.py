import math

import numpy as np
import pytest
from scipy import stats

from thorax.evaluation.statistics.seeds import run_means

ERROR = 0.02
SHARED = 0.0003


def covariance(runs, *, variance=ERROR**2, shared=SHARED):
    return np.full((runs, runs), shared) + np.eye(runs) * (variance - shared)


def test_one_run_has_the_variance_of_its_patients_alone():
    means = run_means(np.array([0.8, 0.9]), covariance(2), [1, 1])
    assert means.auc.tolist() == [0.8, 0.9]
    np.testing.assert_allclose(means.covariance, covariance(2))
    assert means.seeds.tolist() == [0, 0]
    assert np.isnan(means.spread).all()
    assert means.degrees(np.array([-1.0, 1.0]), patients=12.5) == 11.5


def test_three_runs_and_two_by_hand():
    aucs = np.array([0.78, 0.80, 0.85, 0.90, 0.91])
    means = run_means(aucs, covariance(5), [3, 2])
    assert means.auc == pytest.approx([0.81, 0.905])
    between = [np.var(aucs[:3], ddof=1), np.var(aucs[3:], ddof=1)]
    # The second model's AUCs vary less over its runs than their patients alone let them.
    assert between[0] > ERROR**2 - SHARED > between[1]
    assert means.seeds == pytest.approx([(between[0] - (ERROR**2 - SHARED)) / 3, 0])
    patients = [SHARED + (ERROR**2 - SHARED) / count for count in (3, 2)]
    assert np.diag(means.covariance) == pytest.approx(patients + means.seeds)
    assert means.covariance[0, 1] == pytest.approx(SHARED)
    assert means.spread == pytest.approx(np.sqrt(between))
    by_seed = means.seeds.sum()
    total = np.sum(np.diag(means.covariance)) - 2 * SHARED
    share = by_seed / total
    quantile = share * stats.t.ppf(0.975, 2) + (1 - share) * stats.t.ppf(0.975, 29)
    degrees = means.degrees(np.array([-1.0, 1.0]), patients=30.0)
    assert stats.t.ppf(0.975, degrees) == pytest.approx(quantile)


def test_the_variance_is_never_below_that_of_the_patients():
    means = run_means(np.full(4, 0.8), covariance(4), [4])
    assert means.covariance[0, 0] == pytest.approx(np.mean(covariance(4)))


def test_without_patients_there_are_no_degrees():
    means = run_means(np.array([0.78, 0.80, 0.85]), np.full((3, 3), np.nan), [3])
    assert math.isnan(means.degrees(np.ones(1), patients=math.nan))


@pytest.mark.slow
@pytest.mark.usefixtures("shapes_unchecked")
def test_equal_recipes_are_told_apart_in_5_of_100_trials_at_most():
    """Normal errors; the simulation with patients is bench/false_alarms.py. Standard error .5 %."""
    random = np.random.default_rng(5)
    for runs, spread in (((3, 3), 0.03), ((5, 5), 0.03), ((5, 5), 0.0), ((5, 1), 0.03)):
        told, patients_alone = 0, 0
        for _ in range(2000):
            effects = np.concatenate([spread * random.normal(size=count) * (count > 1) for count in runs])
            errors = random.multivariate_normal(np.zeros(sum(runs)), covariance(sum(runs)))
            means = run_means(0.8 + effects + errors, covariance(sum(runs)), runs)
            weights = np.array([-1.0, 1.0])
            error = math.sqrt(weights @ means.covariance @ weights)
            gap = abs(means.auc[1] - means.auc[0])
            told += gap > error * stats.t.ppf(0.975, means.degrees(weights, patients=100.0))
            alone = np.repeat([-1 / runs[0], 1 / runs[1]], runs)
            patients_alone += gap > 1.96 * math.sqrt(alone @ covariance(sum(runs)) @ alone)
        assert told / 2000 < 0.065
        if spread:
            assert patients_alone / 2000 > 0.15  # without the seeds, the interval is far too narrow
