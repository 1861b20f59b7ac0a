"""How optimistic selecting the checkpoint on the test part would have been.

Many published results are those of the epoch with the best test AUC. On request, a run records each epoch's
test AUC in its log, and nowhere else: it is read only at the end, to report the difference.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["TEST_CURVE", "SelectionBias", "read_selection_bias"]

TEST_CURVE = "test-curve"
"""The log event with an epoch's test AUC."""


@dataclass(frozen=True, slots=True)
class SelectionBias:
    """The honest score, and the one that selection on the test part would have reported.

    Attributes:
        epoch: The epoch that validation chose, counted from 1.
        macro_auc: Its mean AUC on the test part: the honest score.
        best_epoch: The epoch that the test part would have chosen.
        best_macro_auc: Its mean AUC there: what would have been reported.
    """

    epoch: int
    macro_auc: float
    best_epoch: int
    best_macro_auc: float

    @property
    def excess(self) -> float:
        """How much selection on the test part would have added, 0 or more."""
        return self.best_macro_auc - self.macro_auc


def read_selection_bias(events: Iterable[Mapping[str, Any]], *, selected_epoch: int) -> SelectionBias | None:
    """Return the selection bias from a run's log; None if no test curve was recorded or it has no AUC."""
    curve = {
        int(event["epoch"]): float(event["macro_auc"])
        for event in events
        if event.get("event") == TEST_CURVE and event["macro_auc"] is not None
    }
    if selected_epoch not in curve:
        return None
    best = max(curve, key=lambda epoch: (curve[epoch], -epoch))
    return SelectionBias(selected_epoch, curve[selected_epoch], best, curve[best])
