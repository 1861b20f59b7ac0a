"""The few numbers that come first: one sentence, and tables for a terminal."""

import math
from collections.abc import Sequence
from typing import Final

from thorax.evaluation.classification import Measure, Rate
from thorax.evaluation.discrimination import Discrimination
from thorax.evaluation.evaluate import AtOperatingPoint, Context, Evaluation
from thorax.evaluation.statistics.intervals import Interval

__all__ = [
    "ACCURACY_HEADER",
    "CALLS_HEADER",
    "SUMMARY_HEADER",
    "accuracy_rows",
    "bare_ends",
    "call_rows",
    "calls_title",
    "headline",
    "interval_json",
    "markdown_cell",
    "markdown_table",
    "measure_json",
    "number_json",
    "official_test_share",
    "percent",
    "pneumonia_f1",
    "short",
    "summary_rows",
    "summary_tables",
    "threshold_text",
    "why_none_published",
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


SUMMARY_HEADER = ("Finding", "Images", "Positives", "AUC (95 %)", "AP (95 %)")
"""What the columns of `summary_rows` are called; AP is average precision."""

CALLS_HEADER = ("Finding", "Threshold", "Sensitivity", "Specificity", "F1")
"""What the columns of `call_rows` are called."""

ACCURACY_HEADER = ("Finding", "Accuracy", "Calling nothing")
"""What the columns of `accuracy_rows` are called; the last is that of calling no image."""

_CALLS: Final[tuple[Rate, ...]] = ("sensitivity", "specificity", "f1")
_ACCURACIES: Final[tuple[Rate, ...]] = ("accuracy", "all_negative_accuracy")


def headline(evaluation: Discrimination, context: Context) -> str:
    """Return the macro AUC in one sentence, with all that it must travel with."""
    mean = evaluation.macro_auc
    plural = "" if evaluation.num_findings == 1 else "s"
    over = f"mean AUC over {evaluation.num_findings} finding{plural}"
    number = f"{over} {mean.value:.3f} (95 % interval {mean.ends})" if mean.exists else "mean AUC n/a"
    share = official_test_share(evaluation, context)
    return (
        f"{number}: {context.where}, {evaluation.num_images:,} images "
        f"of {evaluation.num_patients:,} patients{f'; {share}' if share else ''}"
    )


def official_test_share(evaluation: Discrimination, context: Context) -> str:
    """Say how many of the images are in NIH's official test; "" with a stated split, or for other data."""
    if context.split or context.num_official_test is None:
        return ""
    return f"{context.num_official_test:,} of the {evaluation.num_images:,} are in NIH's official test"


def pneumonia_f1(assessment: Evaluation) -> Measure | None:
    """Return F1 of pneumonia at the first operating point, to stand beside published ones; None without."""
    if not assessment.published_f1:
        return None
    return next(
        each.rates["f1"]
        for each in assessment.primary.classification.findings
        if each.finding == assessment.published_f1[0].finding
    )


def why_none_published(context: Context) -> str:
    """Say why no published result stands beside a measurement, as a sentence."""
    if not context.split:
        return "the split is not stated, and the same model scores about 3 points more on a random one."
    if not context.whole_part:
        return "published results are of the whole part, and these are only some of its images."
    return "nobody has published results on this part that we know of."


def summary_rows(evaluation: Discrimination) -> list[tuple[str, ...]]:
    """Return the table of findings as text, in the columns of `SUMMARY_HEADER`; the last row is the mean.

    The mean's row says over how many findings it is taken; what does not exist is "n/a".
    """
    rows: list[tuple[str, ...]] = [
        (
            each.finding.label,
            f"{each.num_known:,}",
            f"{each.num_positive:,}",
            short(each.auc),
            short(each.average_precision),
        )
        for each in evaluation.findings
    ]
    rows.append(
        (
            f"Mean of {evaluation.num_findings}",
            f"{evaluation.num_images:,}",
            "",
            short(evaluation.macro_auc),
            short(evaluation.macro_average_precision),
        )
    )
    return rows


def calls_title(each: AtOperatingPoint) -> str:
    """Return the name of an operating point and where its thresholds come from."""
    return f"At {each.points.name} ({each.points.describe()})"


def call_rows(each: AtOperatingPoint) -> list[tuple[str, ...]]:
    """Return what the calls are worth, in the columns of `CALLS_HEADER`; the last row is the mean."""
    texts = [threshold_text(threshold) for threshold in each.points.thresholds]
    rows = _rate_rows(each, _CALLS)
    return [(row[0], text, *row[1:]) for row, text in zip(rows, [*texts, ""], strict=True)]


def accuracy_rows(each: AtOperatingPoint) -> list[tuple[str, ...]]:
    """Return accuracy beside its baseline, in the columns of `ACCURACY_HEADER`; the last row is the mean."""
    return _rate_rows(each, _ACCURACIES)


def summary_tables(
    evaluation: Evaluation, context: Context
) -> list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    """Return title, header and rows of the tables for a terminal: ranking, calls, accuracy."""
    ranking, primary = evaluation.ranking, evaluation.primary
    return [
        (headline(ranking, context), SUMMARY_HEADER, summary_rows(ranking)),
        (calls_title(primary), CALLS_HEADER, call_rows(primary)),
        (f"At {primary.points.name}", ACCURACY_HEADER, accuracy_rows(primary)),
    ]


def _rate_rows(each: AtOperatingPoint, rates: Sequence[Rate]) -> list[tuple[str, ...]]:
    measured = each.classification
    means = measured.averages["macro"]
    return [
        *(
            (called.finding.label, *(short(called.rates[rate].interval) for rate in rates))
            for called in measured.findings
        ),
        (f"Mean of {means[rates[-1]].over}", *(short(means[rate].interval) for rate in rates)),
    ]
