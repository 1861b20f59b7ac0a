"""Names of the files in the folder of a training run or a study, by which others recognize and read them."""

from typing import Final

__all__ = ["LOG", "RECIPE", "STUDY"]

RECIPE: Final = "recipe.toml"
"""What was asked for, of a run or a study."""

LOG: Final = "log.jsonl"
"""The events of a run."""

STUDY: Final = "study.json"
"""The identity of a hyperparameter search."""
