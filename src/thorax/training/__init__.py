"""Training: recipes and stores to bundles."""

from thorax.training.learner import NonFiniteLoss
from thorax.training.loop import TrainingInterrupted, train
from thorax.training.run_folder import RunSummary

__all__ = ["NonFiniteLoss", "RunSummary", "TrainingInterrupted", "train"]
