"""Train a recipe on a store, from first weights to a bundle."""

from typing import TYPE_CHECKING

from thorax.packages import lazy_names

if TYPE_CHECKING:
    from thorax.training.learner import NonFiniteLoss
    from thorax.training.loop import TrainingInterrupted, train
    from thorax.training.ranks import ProcessLost
    from thorax.training.run_folder import RunSummary

__all__ = ["NonFiniteLoss", "ProcessLost", "RunSummary", "TrainingInterrupted", "train"]

# Lazy, because torch takes seconds to import, and `checks` finds mistakes before that.
__getattr__ = lazy_names(
    __name__,
    {
        "NonFiniteLoss": "thorax.training.learner",
        "ProcessLost": "thorax.training.ranks",
        "RunSummary": "thorax.training.run_folder",
        "TrainingInterrupted": "thorax.training.loop",
        "train": "thorax.training.loop",
    },
)
