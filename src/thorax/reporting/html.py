"""The report as one HTML page: what the page shows that is not a field of the assessment."""

from collections.abc import Mapping, Sequence
from typing import Any

from thorax.evaluation.calibration.measure import CalibrationError
from thorax.evaluation.classification import AVERAGES, Rate
from thorax.evaluation.discrimination import FindingDiscrimination
from thorax.evaluation.evaluate import Context, Evaluation
from thorax.evaluation.statistics.ranking import PARTIAL_RATE
from thorax.evaluation.subgroups import FEWEST_PATIENTS
from thorax.evaluation.thresholds import TUNED_MARK
from thorax.reporting.figures import (
    close_axis,
    interval_axis,
    precision_recall_svg,
    reliability_svg,
    roc_svg,
)
from thorax.reporting.gallery import Gallery, Outcome
from thorax.reporting.summary import (
    bare_ends,
    headline,
    official_test_share,
    percent,
    pneumonia_f1,
    threshold_text,
    why_none_published,
)

__all__ = ["AuditLines", "render_html"]

AuditLines = Sequence[tuple[str, str]]
"""What an audit found: severity and text of each problem."""

_SHOWN_RATES: tuple[Rate, ...] = (
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
    "f1",
    "accuracy",
    "all_negative_accuracy",
)


_CALL_NAMES: Mapping[Outcome, str] = {
    "true positive": "Called, has it",
    "false positive": "Called, has it not",
    "false negative": "Missed",
    "true negative": "Rightly not called",
}


def render_html(
    assessment: Evaluation,
    context: Context,
    *,
    audit: AuditLines | None = None,
    gallery: Gallery | None = None,
) -> str:
    """Return the report as one HTML page that is well-formed XML too and loads nothing.

    Args:
        assessment: The numbers.
        context: What they travel with.
        audit: What an audit found; None where there was none.
        gallery: Examples with maps; None shows none.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("thorax.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"tuned_mark": TUNED_MARK, "bare_ends": bare_ends}
    page = environment.get_template("report.html.j2").render(
        **_ranking_values(assessment),
        **_calls_values(assessment),
        **_published_values(assessment, context),
        assessment=assessment,
        evaluation=assessment.ranking,
        calibration=assessment.calibration,
        reliability=_reliability(assessment.calibration),
        recalibrated=[(how, error, _reliability(error)) for how, error in assessment.recalibrated],
        trained_source=next((each.source for each in assessment.trained.values()), ""),
        fewest_patients=FEWEST_PATIENTS,
        context=context,
        audit=audit,
        gallery=gallery,
        call_names=_CALL_NAMES,
        headline=headline(assessment.ranking, context),
        official_share=official_test_share(assessment.ranking, context),
        percent=percent,
        threshold=threshold_text,
    )
    return page.rstrip() + "\n"


def _reliability(error: CalibrationError) -> Mapping[str, str]:
    return {each.finding.name: reliability_svg(each.curve) for each in error.findings if each.curve}


def _ranking_values(assessment: Evaluation) -> Mapping[str, Any]:
    evaluation = assessment.ranking
    defined = [each for each in evaluation.findings if each.auc.exists]
    return {
        "ranked": sorted(defined, key=_falling_auc),
        "axis": interval_axis([each.auc for each in defined]),
        "roc": {each.finding.name: roc_svg(each.curves) for each in defined},
        "precision_recall": {
            each.finding.name: precision_recall_svg(
                each.curves, prevalence=each.num_positive / each.num_known
            )
            for each in defined
        },
        "undefined": [each for each in evaluation.findings if not each.auc.exists],
        "uncertain_intervals": any(each.undefined_resamples > 0 for each in defined),
        "partial_rate": PARTIAL_RATE,
    }


def _calls_values(assessment: Evaluation) -> Mapping[str, Any]:
    return {
        "shown_rates": _SHOWN_RATES,
        "averages": sorted(AVERAGES, key=lambda average: average == "macro"),  # the one that counts, last
        "any_predictive": [
            any(each is not None for each in point.predictive_values) for point in assessment.points
        ],
        "stated_sources": sorted({each.source for each in assessment.stated.values()}),
    }


def _published_values(assessment: Evaluation, context: Context) -> Mapping[str, Any]:
    results = assessment.published.results
    return {
        "published": assessment.published,
        "published_axis": close_axis([*(each.auc for each in results), assessment.ranking.macro_auc]),
        "why_none_published": why_none_published(context),
        "pneumonia_f1": pneumonia_f1(assessment),
    }


def _falling_auc(each: FindingDiscrimination) -> tuple[float, str]:
    return -each.auc.value, each.finding.name
