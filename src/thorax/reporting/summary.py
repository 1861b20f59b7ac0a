"""The summary of an evaluation, and how its numbers are written in text, Markdown and JSON."""

import math
import re
from collections.abc import Sequence
from typing import Any, Final

from thorax.evaluation.classification import REPORT_RATES, Classification, Measure, Rate
from thorax.evaluation.decision_curves import cost_ratio
from thorax.evaluation.discrimination import Discrimination
from thorax.evaluation.evaluate import AtOperatingPoint, Context, Evaluation
from thorax.evaluation.published_results import comparable_results, covers_nih14
from thorax.evaluation.statistics.intervals import Interval
from thorax.quoting import visible
from thorax.wording import three_digits

__all__ = [
    "ACCURACY_HEADER",
    "DECISIONS_HEADER",
    "SUMMARY_HEADER",
    "ZERO_AVERAGES_HEADER",
    "ZERO_AVERAGES_NOTE",
    "AuditLines",
    "accuracy_rows",
    "audit_headline",
    "audit_json",
    "bare_ends",
    "cost_ratio_text",
    "decision_rows",
    "decisions_title",
    "f1_headline",
    "headline",
    "interval_json",
    "markdown_cell",
    "markdown_table",
    "markdown_tables",
    "measure_json",
    "model_json",
    "number_json",
    "official_test_share",
    "percent",
    "pneumonia_f1",
    "short",
    "split_json",
    "summary_rows",
    "summary_tables",
    "threshold_text",
    "value_text",
    "why_none_published",
    "zero_average_rows",
]

AuditLines = Sequence[tuple[str, str]]
"""Severity and text of each problem that an audit found."""


def audit_headline(audit: AuditLines) -> str:
    """Return how many errors and warnings an audit found, and what errors mean, in one line."""
    errors, warnings = (sum(severity == kind for severity, _ in audit) for kind in ("error", "warning"))
    counts = f"Audit: {_counted(errors, 'error')}, {_counted(warnings, 'warning')}"
    return f"{counts}. These numbers are not a result until the errors are resolved" if errors else counts


def _counted(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"


def audit_json(audit: AuditLines) -> dict[str, Any]:
    """Return an audit's problems and how many there are of each severity."""
    return {
        "failed": any(severity == "error" for severity, _ in audit),
        "num_errors": sum(severity == "error" for severity, _ in audit),
        "num_warnings": sum(severity == "warning" for severity, _ in audit),
        "problems": [{"severity": severity, "what": text} for severity, text in audit],
    }


def number_json(number: float) -> float | None:
    """Return a number; None for NaN and infinity, which JSON cannot hold."""
    return number if math.isfinite(number) else None


def interval_json(interval: Interval) -> dict[str, float | None]:
    """Return value, low and high; None for what is not finite."""
    return {
        name: number_json(number)
        for name, number in (("value", interval.value), ("low", interval.low), ("high", interval.high))
    }


def split_json(context: Context) -> dict[str, str | bool | None]:
    """Return which part of which split was measured; None for what the context does not have."""
    return {
        "name": context.split or None,
        "part": context.part or None,
        "sha256": context.split_sha256 or None,
        "whole_part": context.whole_part,
    }


def model_json(context: Context) -> dict[str, str | bool]:
    """Return which model was measured."""
    return {
        "name": context.model.name,
        "bundle_sha256": context.model.bundle_sha256,
        "calibrated": context.model.calibrated,
    }


def measure_json(measure: Measure) -> dict[str, float | int | None]:
    """Return value, low and high, how many they average over, and the number of undefined resamples."""
    return {
        **interval_json(measure.interval),
        "over": measure.over,
        "undefined_resamples": measure.undefined_resamples,
    }


def short(interval: Interval) -> str:
    """Write ".671 (.616-.715)": five columns of these fit a terminal of 80 characters."""
    if not interval.exists:
        return "n/a"
    value, low, high = (_bare(number) for number in (interval.value, interval.low, interval.high))
    return f"{value} (n/a)" if math.isnan(interval.low) else f"{value} ({low}-{high})"


def value_text(interval: Interval) -> str:
    """Write ".671"; "n/a" if the number does not exist."""
    return _bare(interval.value)


def bare_ends(interval: Interval) -> str:
    """Write ".616 to .715"; "n/a" if there are no ends."""
    return "n/a" if math.isnan(interval.low) else f"{_bare(interval.low)} to {_bare(interval.high)}"


def percent(share: float) -> str:
    """Write "3.0 %", with more digits below 1 %; "n/a" for NaN."""
    if math.isnan(share):
        return "n/a"
    small = 0 < share < 0.01  # noqa: PLR2004  (1 %)
    return f"{100 * share:.2f} %" if small else f"{100 * share:.1f} %"


def threshold_text(threshold: float | None) -> str:
    """Write a threshold with three significant digits; "none" if there is none."""
    return "none" if threshold is None else three_digits(threshold)


def cost_ratio_text(threshold: float | None) -> str:
    """Write how many false positives a true positive is worth at a threshold, with two significant digits."""
    ratio = math.nan if threshold is None else cost_ratio(threshold)
    if math.isnan(ratio):
        return "n/a"
    return f"{ratio:.0f}" if ratio >= 9.95 else f"{ratio:.2g}"  # noqa: PLR2004  (two digits)


_NUMBER: Final = re.compile(r"(below )?[-+<]?\.?\d|n/a|none|$")
"""How a cell begins that is a number, one that does not exist, or empty."""


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; numbers are aligned right, the first column and columns of words left."""
    columns = list(zip(*rows, strict=True))[1:] if rows else [()] * (len(header) - 1)
    ruler = ["---", *("---:" if all(map(_NUMBER.match, column)) else "---" for column in columns)]
    lines = [[markdown_cell(cell) for cell in row] for row in (header, *rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], ruler, *lines[1:])) + "\n"


def markdown_tables(
    header: Sequence[str], rows: Sequence[Sequence[str]], parts: Sequence[Sequence[str]]
) -> str:
    """Return a wide table as several Markdown tables that can be read, each with the first column.

    Args:
        header: Names of the columns.
        rows: The rows; one that is empty in all columns of a part is left out of it.
        parts: The columns of each table by name, after the first one.
    """
    tables = []
    for part in parts:
        places = [header.index(name) for name in part]
        kept = [(row[0], *(row[place] for place in places)) for row in rows]
        tables.append(markdown_table((header[0], *part), [row for row in kept if any(row[1:])]))
    return "\n".join(tables)


def markdown_cell(text: str) -> str:
    """Return text escaped so that it neither ends a cell nor is read as HTML."""
    folded = visible(" ".join(text.split()))
    return folded.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")


def _bare(number: float) -> str:
    return "n/a" if math.isnan(number) else f"{number:.3f}".removeprefix("0")


SUMMARY_HEADER = ("Finding", "Images", "Positives", "AUC (95 %)", "AP (95 %)")
"""Headings of the columns of `summary_rows`; AP is average precision."""

DECISIONS_HEADER = ("Finding", "Threshold", "Sensitivity", "Specificity", "F1")
"""Headings of the columns of `decision_rows`."""

ACCURACY_HEADER = ("Finding", "Accuracy", "Accuracy, all negative")
"""Headings of the columns of `accuracy_rows`; the last is the accuracy of predicting no positives."""

ZERO_AVERAGES_HEADER = ("Average", "Precision", "Recall", "F1", "Over")
"""Headings of the columns of `zero_average_rows`."""

ZERO_AVERAGES_NOTE = (
    "The averages above leave out undefined rates: the precision of a finding or an image without positive "
    "decisions, and the recall of an image without findings. Below they count as 0, as in scikit-learn's "
    "classification report."
)
"""How `zero_average_rows` differ from the other averages."""

_DECISION_RATES: Final[tuple[Rate, ...]] = ("sensitivity", "specificity", "f1")
_ACCURACY_RATES: Final[tuple[Rate, ...]] = ("accuracy", "all_negative_accuracy")


def headline(ranking: Discrimination, context: Context) -> str:
    """Return the macro AUC in one sentence, with its interval, split and number of images and patients."""
    mean = ranking.macro_auc
    plural = "" if ranking.num_findings == 1 else "s"
    name = f"mean AUC over {ranking.num_findings} finding{plural}"
    number = f"{name} {mean.value:.3f} (95 % interval {mean.ends})" if mean.exists else "mean AUC n/a"
    published = context.labels and context.labels.published
    remarks = [official_test_share(ranking, context), str(published or "")]
    too_few = ranking.too_few_patients.removesuffix(".")
    return "; ".join(
        (
            *((too_few,) if too_few else ()),
            f"{number}: {context.where}, {ranking.num_images:,} images of {ranking.num_patients:,} patients",
            *(remark for remark in remarks if remark),
        )
    )


def official_test_share(ranking: Discrimination, context: Context) -> str:
    """Say how many images are in NIH's official test; "" if a split is named, or for other data."""
    if context.split or context.num_official_test is None:
        return ""
    return f"{context.num_official_test:,} of the {ranking.num_images:,} are in NIH's official test"


def pneumonia_f1(evaluation: Evaluation) -> Measure | None:
    """Return F1 of pneumonia at the first operating point, if there are published ones; otherwise None."""
    if not evaluation.published_f1:
        return None
    return next(
        finding.rates["f1"]
        for finding in evaluation.primary.classification.findings
        if finding.finding == evaluation.published_f1[0].finding
    )


def why_none_published(ranking: Discrimination, context: Context) -> str:
    """Say why no published results are shown, as a sentence."""
    if not context.split:
        return "the split is not stated, and the same model scores about 3 points more on a random one."
    if not context.whole_part:
        return (
            "published results cover the whole part, and these are only some of its images."
            f"{_published_range(context)}"
        )
    if not covers_nih14(tuple(result.finding for result in ranking.findings)):
        return "published means are over NIH's 14 findings, and these are others or only some of them."
    return "we know of no published results on this part."


def _published_range(context: Context) -> str:
    """Return the range of the published means on the whole part, for orientation, or ""."""
    results = comparable_results(context.split, dataset=context.dataset, part=context.part).results
    if not results:
        return ""
    lowest, highest = results[0], results[-1]
    return (
        f" For orientation only: on all of its images, they go from {value_text(lowest.auc)} ({lowest.name}) "
        f"to {value_text(highest.auc)} ({highest.name})."
    )


def summary_rows(ranking: Discrimination) -> list[tuple[str, ...]]:
    """Return one row per finding, and a last one with the mean; see `SUMMARY_HEADER`.

    The last row states how many findings it averages; undefined numbers are "n/a".
    """
    rows: list[tuple[str, ...]] = [
        (
            result.finding.label,
            f"{result.num_known:,}",
            f"{result.num_positive:,}",
            short(result.auc),
            short(result.average_precision),
        )
        for result in ranking.findings
    ]
    rows.append(
        (
            f"Mean of {ranking.num_findings}",
            f"{ranking.num_images:,}",
            "",
            short(ranking.macro_auc),
            short(ranking.macro_average_precision),
        )
    )
    return rows


def decisions_title(point: AtOperatingPoint) -> str:
    """Return the name of an operating point and the origin of its thresholds."""
    return f"At {point.points.name} ({point.points.describe()})"


def f1_headline(point: AtOperatingPoint) -> str:
    """Return the mean F1 at an operating point, with its interval and the number of findings."""
    mean = point.classification.averages["macro"]["f1"]
    plural = "" if mean.over == 1 else "s"
    return f"F1 {mean.interval} at {point.points.name}, mean over {mean.over} finding{plural}"


def decision_rows(point: AtOperatingPoint) -> list[tuple[str, ...]]:
    """Return the rates of each finding's decisions, and a last row with the mean; see `DECISIONS_HEADER`."""
    texts = [threshold_text(threshold) for threshold in point.points.thresholds]
    rows = _rate_rows(point, _DECISION_RATES)
    return [(row[0], text, *row[1:]) for row, text in zip(rows, [*texts, ""], strict=True)]


def accuracy_rows(point: AtOperatingPoint) -> list[tuple[str, ...]]:
    """Return accuracy beside its baseline, and a last row with the mean; see `ACCURACY_HEADER`."""
    return _rate_rows(point, _ACCURACY_RATES)


def zero_average_rows(measured: Classification) -> list[tuple[str, ...]]:
    """Return the averages as scikit-learn's classification report counts them; see `ZERO_AVERAGES_HEADER`."""
    units = {"micro": "labels", "macro": "findings", "weighted": "findings", "samples": "images"}
    rows = []
    for average, rates in measured.zero_averages.items():
        counts = dict.fromkeys(f"{rates[rate].over:,}" for rate in REPORT_RATES)
        texts = (short(rates[rate].interval) for rate in REPORT_RATES)
        rows.append((f"{average.capitalize()} average", *texts, f"{'/'.join(counts)} {units[average]}"))
    return rows


def summary_tables(
    evaluation: Evaluation, context: Context
) -> list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    """Return title, header and rows of the tables for a terminal: ranking, decisions, accuracy.

    Of too few patients to say anything, only the ranking of the findings that have an AUC.
    """
    ranking, primary = evaluation.ranking, evaluation.primary
    if ranking.too_few_patients:
        return [(headline(ranking, context), SUMMARY_HEADER, _defined_rows(ranking))]
    return [
        (f"{headline(ranking, context)}; {f1_headline(primary)}", SUMMARY_HEADER, summary_rows(ranking)),
        (decisions_title(primary), DECISIONS_HEADER, decision_rows(primary)),
        (
            f"At {primary.points.name}, beside a model that never says yes",
            ACCURACY_HEADER,
            accuracy_rows(primary),
        ),
    ]


def _defined_rows(ranking: Discrimination) -> list[tuple[str, ...]]:
    *rows, mean = summary_rows(ranking)
    pairs = zip(rows, ranking.findings, strict=True)
    return [*(row for row, result in pairs if result.auc.exists), mean]


def _rate_rows(point: AtOperatingPoint, rates: Sequence[Rate]) -> list[tuple[str, ...]]:
    measured = point.classification
    means = measured.averages["macro"]
    return [
        *(
            (called.finding.label, *(short(called.rates[rate].interval) for rate in rates))
            for called in measured.findings
        ),
        (f"Mean of {means[rates[-1]].over}", *(short(means[rate].interval) for rate in rates)),
    ]
