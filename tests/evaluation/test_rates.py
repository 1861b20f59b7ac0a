"""Rates of a bundle's thresholds on validation: what `evaluate` reports for the same images."""

import numpy as np
import pytest
from pydantic import ValidationError

from thorax.arrays import NOT_LABELED
from thorax.evaluation.classification import classify
from thorax.evaluation.decisions import LabeledPredictions, binarize
from thorax.evaluation.labeled_images import LabeledImages
from thorax.evaluation.rates import measure_rates
from thorax.findings import NIH14
from thorax.image_set import ImageSet
from thorax.rates import Share

FINDINGS = NIH14[:4]
NAMES = [finding.name for finding in FINDINGS]


@pytest.fixture(scope="module")
def cohort():
    rng = np.random.default_rng(0)
    targets = (rng.random((300, 4)) < (0.3, 0.02, 0.5, 0)).astype(np.int8)
    targets[rng.random((300, 4)) < 0.1] = NOT_LABELED
    return LabeledImages(
        images=[f"{number}.png" for number in range(300)],
        patients=[f"p{number}" for number in rng.integers(0, 120, 300)],
        targets=targets,
        findings=FINDINGS,
    )


@pytest.fixture(scope="module")
def probabilities(cohort):
    return np.clip(np.random.default_rng(1).normal(0.3 + 0.3 * (cohort.targets == 1), 0.2), 0, 1)


THRESHOLDS = dict(zip(NAMES, (0.45, 0.5, None, 0.2), strict=True))


def measured_on(cohort):
    return ImageSet.of(cohort.images, cohort.patients, dataset="d", split="s", part="val", split_sha256="")


def test_the_rates_are_those_of_evaluate(cohort, probabilities):
    rates = measure_rates(cohort, probabilities, THRESHOLDS, measured_on=measured_on(cohort))
    reported = classify(
        LabeledPredictions(
            targets=cohort.targets,
            probabilities=probabilities,
            decisions=binarize(probabilities, [THRESHOLDS[name] for name in NAMES]),
            patients=cohort.patients,
            findings=FINDINGS,
        ),
        resamples=2,
    )
    compared = 0
    for entry in reported.findings:
        kept = rates.findings[entry.finding.name]
        for name, share in (("sensitivity", kept.sensitivity), ("specificity", kept.specificity)):
            measure = entry.rates[name]
            if share is None:
                assert measure.over == 0
                continue
            interval = measure.interval
            assert (share.value, share.low, share.high) == (interval.value, interval.low, interval.high)
            assert share.images == measure.over
            compared += 1
    assert compared == 5  # not those of Consolidation without a threshold, nor a sensitivity without an image


def test_images_and_patients_are_counted(cohort, probabilities):
    rates = measure_rates(cohort, probabilities, THRESHOLDS, measured_on=measured_on(cohort))
    for k, name in enumerate(NAMES):
        if THRESHOLDS[name] is None:
            assert rates.findings[name].sensitivity is None
            continue
        called = [bool(value >= THRESHOLDS[name]) for value in probabilities[:, k]]
        for share, wanted, right in (
            (rates.findings[name].sensitivity, 1, True),
            (rates.findings[name].specificity, 0, False),
        ):
            rows = [row for row in range(300) if cohort.targets[row, k] == wanted]
            if not rows:
                assert share is None
                continue
            assert share.images == len(rows)
            assert share.matching == sum(called[row] == right for row in rows)
            assert share.patients == len({cohort.patients[row] for row in rows})


@pytest.mark.parametrize(
    "changes",
    [{"matching": 11}, {"patients": 11}, {"low": 0.95}, {"high": 0.5}, {"value": 1.5}, {"images": 0}],
)
def test_a_share_that_cannot_be_is_refused(changes):
    values = {"value": 0.9, "low": 0.6, "high": 0.98, "matching": 9, "images": 10, "patients": 8}
    Share.model_validate(values)
    with pytest.raises(ValidationError):
        Share.model_validate(values | changes)
