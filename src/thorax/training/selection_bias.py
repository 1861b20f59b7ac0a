"""What choosing the checkpoint on the test part would have pretended.

Many published figures are those of the epoch with the best test AUC. A run that is asked to writes down each
epoch's test AUC, in its log and nowhere else: nothing reads it before the end, when the difference is told.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["TEST_CURVE", "SelectionBias", "read_premium"]

TEST_CURVE = "test-curve"
"""The log's event with an epoch's test AUC."""


@dataclass(frozen=True, slots=True)
class SelectionBias:
    """The honest score beside the one that selection on the test part would have reported.

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


def read_premium(events: Iterable[Mapping[str, Any]], *, selected_epoch: int) -> SelectionBias | None:
    """Read the test curve from a run's log; None where none was recorded or no AUC exists there."""
    curve = {
        int(event["epoch"]): float(event["macro_auc"])
        for event in events
        if event.get("event") == TEST_CURVE and event["macro_auc"] is not None
    }
    if selected_epoch not in curve:
        return None
    best = max(curve, key=lambda epoch: (curve[epoch], -epoch))
    return SelectionBias(selected_epoch, curve[selected_epoch], best, curve[best])
