"""Scores beside scikit-learn's, on labels and probabilities of 14 findings."""

import numpy as np
import pytest
from sklearn import metrics

from tests.source_projects.rows import Row
from tests.source_projects.workshop import Workshop
from thorax.evaluation.classification import classify
from thorax.evaluation.decisions import LabeledPredictions, binarize
from thorax.evaluation.operating_points import choose_threshold, parse_rule
from thorax.evaluation.statistics.ranking import auroc_score
from thorax.findings import NIH14
from thorax.recipe.load import load_recipe

COLUMNS = {"ppv": 0, "sensitivity": 1, "f1": 2}
"""Our names of what scikit-learn calls precision, recall and F1."""


def predictions() -> LabeledPredictions:
    """120 images of 60 patients; some images without findings, some without calls."""
    rng = np.random.default_rng(0)
    targets = (rng.random((120, 14)) < np.linspace(0.03, 0.3, 14)).astype(np.int8)
    targets[:14] |= np.eye(14, dtype=np.int8)
    probabilities = np.round(0.55 * rng.random(targets.shape) + 0.3 * targets, 2)
    return LabeledPredictions(
        targets=targets,
        probabilities=probabilities,
        decisions=binarize(probabilities, [0.5] * 14),
        patients=[f"p{number // 2}" for number in range(120)],
        findings=NIH14,
    )


def auc(row: Row, workshop: Workshop) -> None:
    """The AUC of each finding, ties included."""
    drawn = predictions()
    for target, probability in zip(drawn.targets.T, drawn.probabilities.T, strict=True):
        expected = metrics.roc_auc_score(target, probability)
        assert auroc_score(target == 1, probability) == pytest.approx(expected, abs=1e-12)


def best_f1(row: Row, workshop: Workshop) -> None:
    """The recipe's rule finds the largest F1 that any threshold has."""
    rule, drawn = parse_rule(load_recipe(row.recipe).selection.operating_point), predictions()
    for target, probability in zip(drawn.targets.T, drawn.probabilities.T, strict=True):
        best = max(metrics.f1_score(target, probability >= value) for value in np.unique(probability))
        threshold = choose_threshold(rule, target == 1, probability)
        assert metrics.f1_score(target, probability >= threshold) == pytest.approx(best, abs=1e-12)


def of_each_finding(row: Row, workshop: Workshop) -> None:
    """Precision, recall and F1 of each finding."""
    drawn = predictions()
    report = classify(drawn, resamples=1)
    expected = metrics.precision_recall_fscore_support(
        drawn.targets, drawn.decisions, average=None, zero_division=np.nan
    )
    for k, finding in enumerate(report.findings):
        for rate, column in COLUMNS.items():
            assert finding.rates[rate].interval.value == pytest.approx(expected[column][k], nan_ok=True)


def average(row: Row, workshop: Workshop) -> None:
    """Precision, recall and F1, averaged as the source's classification report does."""
    drawn, kind = predictions(), row.source["average"]
    report = classify(drawn, resamples=1)
    for averages, undefined in ((report.averages, np.nan), (report.zero_averages, 0)):
        expected = metrics.precision_recall_fscore_support(
            drawn.targets, drawn.decisions, average=kind, zero_division=undefined
        )
        for rate, column in COLUMNS.items():
            assert averages[kind][rate].interval.value == pytest.approx(expected[column], abs=1e-12)


def confusion(row: Row, workshop: Workshop) -> None:
    """The four counts of each finding."""
    drawn = predictions()
    report = classify(drawn, resamples=1)
    expected = metrics.multilabel_confusion_matrix(drawn.targets, drawn.decisions)
    for finding, ((negatives, alarms), (misses, hits)) in zip(report.findings, expected, strict=True):
        counts = finding.confusion
        assert (
            counts.true_positives,
            counts.false_positives,
            counts.false_negatives,
            counts.true_negatives,
        ) == (hits, alarms, misses, negatives)
