"""Train a recipe on a store, from first weights to a bundle."""

from thorax.training.learner import NonFiniteLoss
from thorax.training.loop import TrainingInterrupted, train
from thorax.training.run_folder import RunSummary

__all__ = ["NonFiniteLoss", "RunSummary", "TrainingInterrupted", "train"]
