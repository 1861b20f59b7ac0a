"""Training: recipes and stores to bundles."""

from thorax.training.learner import NonFiniteLoss
from thorax.training.loop import train
from thorax.training.run_folder import RunSummary
from thorax.training.signals import TrainingInterrupted

__all__ = ["NonFiniteLoss", "RunSummary", "TrainingInterrupted", "train"]
