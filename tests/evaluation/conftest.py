"""Real predictions, read once for every test of the statistics."""

from pathlib import Path

import pytest

from thorax.evaluation.inputs.join import JoinedPredictions, Labels, join_predictions, read_labels
from thorax.evaluation.inputs.prediction_csv import read_predictions, usable_predictions


@pytest.fixture(scope="session")
def chexnet_file(shared_data: Path) -> Path:
    """A real CheXNet retraining's probabilities of 11,516 NIH images."""
    return shared_data / "chexnet-predictions" / "predictions.csv.gz"


@pytest.fixture(scope="session")
def nih_labels(shared_data: Path) -> Labels:
    """The labels of all 112,120 NIH images."""
    return read_labels(shared_data / "nih-sample" / "Data_Entry_2017_v2020.csv.gz")


@pytest.fixture(scope="session")
def chexnet(chexnet_file: Path, nih_labels: Labels) -> JoinedPredictions:
    """These predictions beside their labels."""
    return join_predictions(usable_predictions(read_predictions(chexnet_file))[0], nih_labels)
