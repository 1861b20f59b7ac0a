"""Net benefit as JSON, as rows of a table, and what its numbers mean."""

from collections.abc import Sequence
from typing import Any, Final

from thorax.evaluation.decision_curves import DecisionCurve, cost_ratio
from thorax.reporting.summary import cost_ratio_text, interval_json, short

__all__ = [
    "NET_BENEFIT_NOTE",
    "UNCALIBRATED_NOTE",
    "net_benefit_header",
    "net_benefit_json",
    "net_benefit_rows",
    "useful_text",
]

_SHOWN: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Thresholds of the table."""

NET_BENEFIT_NOTE: Final = (
    "Each threshold has a cost ratio: at 20 %, one true positive counts as much as 4 false positives. Net "
    "benefit: the share of images that are true positives, less the share that are false positives at that "
    "rate. A model pays off only where its net benefit is above that of a positive decision for every image, "
    "and above 0, the net benefit of none. It holds at the prevalence of these images."
)
"""What net benefit is."""

UNCALIBRATED_NOTE: Final = (
    "These probabilities were not calibrated: a threshold on them is not the risk at which one would act. "
    "The net benefit is that of deciding by the probabilities as they are; calibration may increase it."
)
"""What the numbers mean for probabilities that are not calibrated."""


def net_benefit_json(curves: Sequence[DecisionCurve]) -> dict[str, Any]:
    """Return the points of each finding's curve."""
    return {
        curve.finding.name: {
            "num_known": curve.num_known,
            "num_positive": curve.num_positive,
            "useful": [list(ends) for ends in curve.useful],
            "points": [
                {
                    "threshold": point.threshold,
                    "cost_ratio": cost_ratio(point.threshold),
                    "net_benefit": interval_json(point.model),
                    "treat_all": interval_json(point.treat_all),
                    "over_treat_all": interval_json(point.over_all),
                }
                for point in curve.points
            ],
        }
        for curve in curves
    }


def net_benefit_header() -> tuple[str, ...]:
    """Return the headings of the columns of `net_benefit_rows`."""
    worth = (f"At {100 * threshold:g} % (1 to {cost_ratio_text(threshold)})" for threshold in _SHOWN)
    return ("Finding", *worth, "Better than all and none")


def net_benefit_rows(curves: Sequence[DecisionCurve]) -> list[tuple[str, ...]]:
    """Return the net benefit of each finding at some thresholds, and where the model is worth using."""
    return [
        (
            curve.finding.label,
            *(short(point.model) for point in curve.points if point.threshold in _SHOWN),
            useful_text(curve),
        )
        for curve in curves
        if curve.points
    ]


def useful_text(curve: DecisionCurve) -> str:
    """Return the thresholds at which the model is better than both, such as "2 to 30 %", or "nowhere"."""
    ranges = [
        f"{100 * low:g} %" if low == high else f"{100 * low:g} to {100 * high:g} %"
        for low, high in curve.useful
    ]
    return ", ".join(ranges) or "nowhere"
