"""How many images a gate holds back, and the mean AUC of the others, against a slow twin."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from thorax.evaluation.held_back import measure_held_back
from thorax.evaluation.labeled_images import LabeledImages
from thorax.findings import NIH14

FINDINGS = NIH14[:2]


def cohort(number, seed=0):
    random = np.random.default_rng(seed)
    targets = (random.random((number, 2)) < 0.4).astype(np.int8)
    probabilities = np.clip(0.3 * targets + 0.7 * random.random((number, 2)), 0, 1)
    names = [f"{image}.png" for image in range(number)]
    patients = [f"p{image // 2}" for image in range(number)]
    images = LabeledImages(images=names, patients=patients, targets=targets, findings=FINDINGS)
    return images, probabilities


def test_the_mean_auc_without_them_is_that_of_the_images_that_pass():
    images, probabilities = cohort(60)
    reasons = [[] for _ in range(60)]
    reasons[3], reasons[7], reasons[8] = ["inverted"], ["inverted", "unlike-training"], ["turned-90"]
    measured = measure_held_back(images, probabilities, reasons, is_fitted=True, resamples=20)
    assert (measured.num_images, measured.num_held_back) == (60, 3)
    assert measured.reasons == {"inverted": 2, "turned-90": 1, "unlike-training": 1}
    assert measured.images == ("3.png", "7.png", "8.png")
    assert measured.share.value == pytest.approx(3 / 60)
    assert measured.share.low < 3 / 60 < measured.share.high
    kept = [image for image in range(60) if not reasons[image]]
    expected = np.mean([roc_auc_score(images.targets[kept, k], probabilities[kept, k]) for k in range(2)])
    assert measured.passing.macro_auc.value == pytest.approx(expected)


def test_nothing_or_everything_held_back_has_no_second_ranking():
    images, probabilities = cohort(20)
    none = measure_held_back(images, probabilities, [[]] * 20, is_fitted=True, resamples=5)
    assert (none.num_held_back, none.reasons, none.passing) == (0, {}, None)
    whole = measure_held_back(images, probabilities, [["color"]] * 20, is_fitted=True, resamples=5)
    assert (whole.num_held_back, whole.passing) == (20, None)
