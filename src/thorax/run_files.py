"""Names of the files in the folder of a training run or a study, by which others recognize and read them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

__all__ = ["FINISHING", "FITTING_THE_GATE", "LOG", "RECIPE", "STUDY", "is_finishing"]

RECIPE: Final = "recipe.toml"
"""What was asked for, of a run or a study."""

LOG: Final = "log.jsonl"
"""The events of a run."""

STUDY: Final = "study.json"
"""The identity of a hyperparameter search."""

FINISHING: Final = "finishing"
"""The event after the last epoch: what follows is the bundle, of which the input gate takes longest."""

FITTING_THE_GATE: Final = "fitting the gate"
"""What this state of a run is called, wherever it is shown."""


def is_finishing(events: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the events of a log end where the bundle is made, in a process that may be killed."""
    return bool(events) and events[-1].get("event") == FINISHING
