"""How numbers are written: for programs with null for what does not exist, for people with n/a."""

import math
from collections.abc import Sequence

from thorax.evaluation.classification import Measure
from thorax.evaluation.intervals import Interval

__all__ = [
    "bare_ends",
    "interval_json",
    "markdown_cell",
    "markdown_table",
    "measure_json",
    "number_json",
    "percent",
    "short",
    "threshold_text",
]


def number_json(number: float) -> float | None:
    """Return a number, None where it does not exist."""
    return None if math.isnan(number) else number


def interval_json(interval: Interval) -> dict[str, float | None]:
    """Return value, low and high."""
    return {
        name: number_json(number)
        for name, number in (("value", interval.value), ("low", interval.low), ("high", interval.high))
    }


def measure_json(measure: Measure) -> dict[str, float | int | None]:
    """Return value, low and high, what they are over, and the resamples that are undefined."""
    return {
        **interval_json(measure.interval),
        "over": measure.over,
        "undefined_resamples": measure.undefined_resamples,
    }


def short(interval: Interval) -> str:
    """Write ".671 (.616-.715)": five columns of these fit the 80 of a terminal."""
    if not interval.exists:
        return "n/a"
    value, low, high = (_bare(number) for number in (interval.value, interval.low, interval.high))
    return f"{value} (n/a)" if math.isnan(interval.low) else f"{value} ({low}-{high})"


def bare_ends(interval: Interval) -> str:
    """Write ".616 to .715", "n/a" where there are no ends."""
    return "n/a" if math.isnan(interval.low) else f"{_bare(interval.low)} to {_bare(interval.high)}"


def percent(share: float) -> str:
    """Write "3.0 %", with more digits below 1 %; "n/a" for NaN."""
    if math.isnan(share):
        return "n/a"
    small = 0 < share < 0.01  # noqa: PLR2004  (1 %)
    return f"{100 * share:.2f} %" if small else f"{100 * share:.1f} %"


def threshold_text(threshold: float | None) -> str:
    """Write a threshold with three digits that say something; "none" where there is none."""
    return "none" if threshold is None else f"{threshold:.3g}"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown; the first column is text, the others are numbers."""
    ruler = ["---", *["---:"] * (len(header) - 1)]
    lines = [[markdown_cell(cell) for cell in row] for row in (header, *rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], ruler, *lines[1:])) + "\n"


def markdown_cell(text: str) -> str:
    """Return text that neither ends a cell nor is read as HTML."""
    folded = " ".join(text.split())
    return folded.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")


def _bare(number: float) -> str:
    return "n/a" if math.isnan(number) else f"{number:.3f}".removeprefix("0")
