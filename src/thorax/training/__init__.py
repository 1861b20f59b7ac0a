"""Training: recipes and stores to bundles."""

from thorax.training.learner import NonFiniteLoss
from thorax.training.loop import train
from thorax.training.run_folder import RunSummary
from thorax.training.signals import TrainingInterrupted
from thorax.training.throughput import Progress, ProgressCallback

__all__ = ["NonFiniteLoss", "Progress", "ProgressCallback", "RunSummary", "TrainingInterrupted", "train"]
