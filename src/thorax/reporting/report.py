"""The report of an evaluation: `metrics.json` for programs, one HTML file for people, rows for a terminal."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from thorax.errors import DataError
from thorax.evaluation.evaluate import Context, Evaluation, FindingEvaluation
from thorax.evaluation.intervals import LEVEL, Interval
from thorax.files import write_json, write_text
from thorax.reporting.figures import interval_axis, roc_svg

__all__ = [
    "METRICS_FORMAT",
    "SUMMARY_HEADER",
    "ReportFiles",
    "headline",
    "metrics",
    "render_html",
    "summary_rows",
    "write_report",
]

METRICS_FORMAT: Final = "thorax-metrics/1"
"""What `metrics.json` calls its own layout; the number rises when a key changes its meaning."""

SUMMARY_HEADER: Final = ("Finding", "Images", "Positives", "AUC (95 %)", "AP (95 %)")
"""What the columns of `summary_rows` are called; AP is average precision."""


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """The files of a report.

    Attributes:
        metrics: All numbers, as JSON.
        html: One page that needs no other file and no network.
    """

    metrics: Path
    html: Path


def write_report(evaluation: Evaluation, context: Context, *, out: Path) -> ReportFiles:
    """Write `metrics.json` and `report.html` into `out`, each whole or not at all.

    The same evaluation and context give the same bytes.

    Raises:
        DataError: `out` is a file.
    """
    if out.exists() and not out.is_dir():
        raise DataError(f"cannot write a report into {out.name}: it is a file; name a folder")
    out.mkdir(parents=True, exist_ok=True)
    files = ReportFiles(metrics=out / "metrics.json", html=out / "report.html")
    write_text(files.html, render_html(evaluation, context))
    write_json(files.metrics, metrics(evaluation, context))
    return files


def headline(evaluation: Evaluation, context: Context) -> str:
    """Return the macro AUC in one sentence, with all that it must travel with."""
    mean = evaluation.macro_auc
    plural = "" if evaluation.num_findings == 1 else "s"
    over = f"mean AUC over {evaluation.num_findings} finding{plural}"
    number = f"{over} {mean.value:.3f} (95 % interval {mean.ends})" if mean.exists else "mean AUC n/a"
    return (
        f"{number}: {context.split}, {context.part} part, {evaluation.num_images:,} images "
        f"of {evaluation.num_patients:,} patients"
    )


def summary_rows(evaluation: Evaluation) -> list[tuple[str, ...]]:
    """Return the table of findings as text, in the columns of `SUMMARY_HEADER`; the last row is the mean.

    The mean's row says over how many findings it is taken; what does not exist is "n/a".
    """
    rows: list[tuple[str, ...]] = [
        (
            each.finding.label,
            f"{each.num_known:,}",
            f"{each.num_positive:,}",
            _short(each.auc),
            _short(each.average_precision),
        )
        for each in evaluation.findings
    ]
    rows.append(
        (
            f"Mean of {evaluation.num_findings}",
            f"{evaluation.num_images:,}",
            "",
            _short(evaluation.macro_auc),
            _short(evaluation.macro_average_precision),
        )
    )
    return rows


def _short(interval: Interval) -> str:
    """Write ".671 (.616-.715)": five columns of these fit the 80 of a terminal."""
    if not interval.exists:
        return "n/a"
    value, low, high = (
        f"{number:.3f}".removeprefix("0") for number in (interval.value, interval.low, interval.high)
    )
    return f"{value} (n/a)" if math.isnan(interval.low) else f"{value} ({low}-{high})"


def metrics(evaluation: Evaluation, context: Context) -> dict[str, Any]:
    """Return the content of `metrics.json`; a value that does not exist is None."""
    return {
        "format": METRICS_FORMAT,
        "split": {"name": context.split, "part": context.part, "sha256": context.split_sha256},
        "images_sha256": context.images_sha256,
        "dataset": context.dataset,
        "num_images": evaluation.num_images,
        "num_patients": evaluation.num_patients,
        "model": {
            "name": context.model.name,
            "bundle_sha256": context.model.bundle_sha256,
            "calibrated": context.model.calibrated,
        },
        "intervals": {
            "method": "percentile bootstrap",
            "unit": "patient",
            "level": LEVEL,
            "resamples": evaluation.resamples,
            "seed": evaluation.seed,
        },
        "findings": {
            each.finding.name: {
                "num_known": each.num_known,
                "num_positive": each.num_positive,
                "auc": _interval(each.auc),
                "average_precision": _interval(each.average_precision),
                "undefined_resamples": each.undefined_resamples,
            }
            for each in evaluation.findings
        },
        "macro": {
            "auc": _interval(evaluation.macro_auc),
            "average_precision": _interval(evaluation.macro_average_precision),
            "num_findings": evaluation.num_findings,
            "incomplete_resamples": evaluation.incomplete_resamples,
        },
        "warnings": list(context.warnings),
        "versions": dict(context.versions),
    }


def render_html(evaluation: Evaluation, context: Context) -> str:
    """Return the report as one HTML page that is well-formed XML too and loads nothing."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("thorax.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        **_page_values(evaluation),
        evaluation=evaluation,
        context=context,
        headline=headline(evaluation, context),
    )
    return page.rstrip() + "\n"


def _page_values(evaluation: Evaluation) -> Mapping[str, Any]:
    """Return what the page shows that is not a field of the evaluation."""
    defined = [each for each in evaluation.findings if each.auc.exists]
    ranked = sorted(defined, key=_falling_auc)
    axis = interval_axis([each.auc for each in defined])
    return {
        "ranked": ranked,
        "axis": axis,
        "strips": {each.finding.name: axis.strip(each.auc) for each in defined},
        "curves": {each.finding.name: roc_svg(each.roc) for each in defined},
        "undefined": [each for each in evaluation.findings if not each.auc.exists],
        "uncertain_intervals": any(each.undefined_resamples > 0 for each in defined),
    }


def _falling_auc(each: FindingEvaluation) -> tuple[float, str]:
    return -each.auc.value, each.finding.name


def _interval(interval: Interval) -> dict[str, float | None]:
    return {
        name: None if math.isnan(number) else number
        for name, number in (("value", interval.value), ("low", interval.low), ("high", interval.high))
    }
