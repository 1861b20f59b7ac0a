"""Decisions of several models on the same images, each at its own thresholds."""

from dataclasses import dataclass

from thorax.arrays import Probabilities
from thorax.evaluation.classification import Classification, classify
from thorax.evaluation.decisions import LabeledPredictions, binarize
from thorax.evaluation.labeled_images import LabeledImages
from thorax.evaluation.thresholds import ThresholdSet

__all__ = ["ModelDecisions", "decide"]


@dataclass(frozen=True, slots=True)
class ModelDecisions:
    """One model's decisions, compared with the labels.

    Attributes:
        points: The model's thresholds, and what chose them.
        classification: Precision, recall, F1 and other rates at these thresholds.
    """

    points: ThresholdSet
    classification: Classification


def decide(
    labeled: LabeledImages, probabilities: Probabilities, points: ThresholdSet, *, resamples: int, seed: int
) -> ModelDecisions:
    """Measure a model's decisions at its thresholds.

    Args:
        labeled: The images with their labels.
        probabilities: In [0, 1], one column per finding of the images.
        points: A threshold for each of these findings.
        resamples: Resamples of the patients, for the intervals of averages.
        seed: Seed of the resamples.

    Raises:
        DataError: A probability is not in [0, 1], or shapes differ.
    """
    predictions = LabeledPredictions(
        targets=labeled.targets,
        probabilities=probabilities,
        decisions=binarize(probabilities, points.thresholds),
        patients=labeled.patients,
        findings=labeled.findings,
    )
    return ModelDecisions(points, classify(predictions, resamples=resamples, seed=seed))
