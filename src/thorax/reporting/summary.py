"""The few numbers that come first: one sentence, and tables for a terminal."""

from collections.abc import Sequence
from typing import Final

from thorax.evaluation.assess import Assessment, AtOperatingPoint
from thorax.evaluation.classification import Measure, Rate
from thorax.evaluation.evaluate import Context, Evaluation
from thorax.reporting.numbers import short, threshold_text

__all__ = [
    "ACCURACY_HEADER",
    "CALLS_HEADER",
    "SUMMARY_HEADER",
    "accuracy_rows",
    "call_rows",
    "calls_title",
    "headline",
    "official_test_share",
    "pneumonia_f1",
    "summary_rows",
    "why_none_published",
]

SUMMARY_HEADER = ("Finding", "Images", "Positives", "AUC (95 %)", "AP (95 %)")
"""What the columns of `summary_rows` are called; AP is average precision."""

CALLS_HEADER = ("Finding", "Threshold", "Sensitivity", "Specificity", "F1")
"""What the columns of `call_rows` are called."""

ACCURACY_HEADER = ("Finding", "Accuracy", "Calling nothing")
"""What the columns of `accuracy_rows` are called; the last is that of calling no image."""

_CALLS: Final[tuple[Rate, ...]] = ("sensitivity", "specificity", "f1")
_ACCURACIES: Final[tuple[Rate, ...]] = ("accuracy", "all_negative_accuracy")


def headline(evaluation: Evaluation, context: Context) -> str:
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


def official_test_share(evaluation: Evaluation, context: Context) -> str:
    """Say how many of the images are in NIH's official test; "" with a stated split, or for other data."""
    if context.split or context.num_official_test is None:
        return ""
    return f"{context.num_official_test:,} of the {evaluation.num_images:,} are in NIH's official test"


def pneumonia_f1(assessment: Assessment) -> Measure | None:
    """Return F1 of pneumonia at the first operating point, to stand beside published ones; None without."""
    if not assessment.pneumonia:
        return None
    return next(
        each.rates["f1"]
        for each in assessment.primary.classification.findings
        if each.finding == assessment.pneumonia[0].finding
    )


def why_none_published(context: Context) -> str:
    """Say why no published result stands beside a measurement, as a sentence."""
    if not context.split:
        return "the split is not stated, and the same model scores about 3 points more on a random one."
    if not context.whole_part:
        return "published results are of the whole part, and these are only some of its images."
    return "nobody has published results on this part that we know of."


def summary_rows(evaluation: Evaluation) -> list[tuple[str, ...]]:
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
    return f"At {each.points.name} ({each.points.told})"


def call_rows(each: AtOperatingPoint) -> list[tuple[str, ...]]:
    """Return what the calls are worth, in the columns of `CALLS_HEADER`; the last row is the mean."""
    texts = [threshold_text(threshold) for threshold in each.points.thresholds]
    rows = _rate_rows(each, _CALLS)
    return [(row[0], text, *row[1:]) for row, text in zip(rows, [*texts, ""], strict=True)]


def accuracy_rows(each: AtOperatingPoint) -> list[tuple[str, ...]]:
    """Return accuracy beside its baseline, in the columns of `ACCURACY_HEADER`; the last row is the mean."""
    return _rate_rows(each, _ACCURACIES)


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
