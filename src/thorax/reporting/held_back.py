"""What an input gate would hold back of the reported images: one line beside the headline, and JSON."""

from collections.abc import Mapping
from typing import Any

from thorax.evaluation.evaluate import Evaluation
from thorax.evaluation.statistics.intervals import Interval
from thorax.reporting.summary import interval_json, percent, short

__all__ = ["held_back_headline", "held_back_json", "held_back_text"]


def held_back_headline(evaluation: Evaluation) -> str:
    """Return how many images the gate would hold back, and the mean AUC of the others; "" if not measured."""
    return held_back_text(held_back_json(evaluation))


def held_back_text(measured: Mapping[str, Any] | None) -> str:
    """Return `held_back_json` as a sentence without its period; "" for None."""
    if measured is None:
        return ""
    share, without = measured["share"], measured["macro_auc_without"]
    ends = "" if share["low"] is None else f", {percent(share['low'])} to {percent(share['high'])}"
    rules = "" if measured["is_fitted"] else " by its rules alone (it was not fitted)"
    number = f"{measured['num_held_back']:,} of {measured['num_images']:,} images would be held back{rules}"
    if not measured["num_held_back"]:
        return f"Input gate: {number}"
    reasons = ", ".join(f"{code} {count:,}" for code, count in measured["reasons"].items())
    mean = "" if without is None else f"; mean AUC without them {_short(without)}"
    return f"Input gate: {number} ({percent(share['value'])}{ends}; {reasons}){mean}"


def _short(interval: Mapping[str, float | None]) -> str:
    value, low, high = (interval[name] for name in ("value", "low", "high"))
    numbers = [float("nan") if number is None else number for number in (value, low, high)]
    return short(Interval(*numbers))


def held_back_json(evaluation: Evaluation) -> dict[str, Any] | None:
    """Return what the gate would hold back; None if that was not measured."""
    held_back = evaluation.held_back
    if held_back is None:
        return None
    passing = held_back.passing
    return {
        "num_images": held_back.num_images,
        "num_held_back": held_back.num_held_back,
        "share": interval_json(held_back.share),
        "reasons": dict(held_back.reasons),
        "images": list(held_back.images),
        "macro_auc_without": passing and interval_json(passing.macro_auc),
        "is_fitted": held_back.is_fitted,
    }
