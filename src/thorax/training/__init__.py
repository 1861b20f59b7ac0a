"""Training: recipes and stores to bundles."""

from thorax.training.interruption import TrainingInterrupted
from thorax.training.learner import NonFiniteLoss
from thorax.training.loop import train
from thorax.training.pace import Progress, ProgressCallback
from thorax.training.run_folder import RunSummary

__all__ = ["NonFiniteLoss", "Progress", "ProgressCallback", "RunSummary", "TrainingInterrupted", "train"]
