"""The report of an evaluation: `metrics.json` for programs, `report.html` and `report.md` for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thorax.atomic_io import write_bytes, write_json, write_text
from thorax.errors import DataError
from thorax.evaluation.calibration.measure import CalibrationError
from thorax.evaluation.classification import AVERAGES, Rate
from thorax.evaluation.discrimination import FindingDiscrimination
from thorax.evaluation.evaluate import Context, Evaluation
from thorax.evaluation.statistics.ranking import PARTIAL_RATE
from thorax.evaluation.subgroups import FEWEST_PATIENTS
from thorax.evaluation.thresholds import TUNED_MARK
from thorax.quoting import visible_lines
from thorax.reporting.abstention import (
    ABSTENTION_HEADER,
    NO_BANDS,
    abstention_note,
    abstention_rows,
    abstention_title,
)
from thorax.reporting.contents import with_links
from thorax.reporting.figures import (
    close_axis,
    decision_svg,
    interval_axis,
    precision_recall_svg,
    reliability_svg,
    roc_svg,
)
from thorax.reporting.gallery import Gallery
from thorax.reporting.held_back import held_back_headline
from thorax.reporting.markdown import render_markdown
from thorax.reporting.metrics import metrics
from thorax.reporting.net_benefit import (
    NET_BENEFIT_NOTE,
    UNCALIBRATED_NOTE,
    net_benefit_header,
    net_benefit_rows,
    useful_text,
)
from thorax.reporting.roc_figure import draw_roc_curves
from thorax.reporting.source_tables import published_by_finding, source_tables
from thorax.reporting.summary import (
    ZERO_AVERAGES_HEADER,
    ZERO_AVERAGES_NOTE,
    AuditLines,
    audit_headline,
    bare_ends,
    cost_ratio_text,
    headline,
    official_test_share,
    percent,
    pneumonia_f1,
    threshold_text,
    why_none_published,
    zero_average_rows,
)

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["ReportFiles", "page_templates", "refuse_file", "render_html", "write_report"]

_SHOWN_RATES: tuple[Rate, ...] = (
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
    "f1",
    "accuracy",
    "all_negative_accuracy",
)


def render_html(
    evaluation: Evaluation,
    context: Context,
    *,
    audit: AuditLines | None = None,
    gallery: Gallery | None = None,
    training: Sequence[str] = (),
) -> str:
    """Return the report as one HTML page, which is also well-formed XML and loads no other file.

    Args:
        evaluation: The numbers.
        context: Their context.
        audit: What the audit found; None if there was none.
        gallery: Examples with maps; None leaves them out.
        training: Figures of the run's curves, as SVG elements.
    """
    page = (
        page_templates()
        .get_template("report.html.j2")
        .render(
            **_ranking_values(evaluation),
            **_decision_values(evaluation),
            **_published_values(evaluation, context),
            abstention=_abstention_values(evaluation),
            evaluation=evaluation,
            ranking=evaluation.ranking,
            calibration=evaluation.calibration,
            reliability=_reliability(evaluation.calibration),
            net_benefit=_net_benefit_values(evaluation, context),
            recalibrated=[(how, error, _reliability(error)) for how, error in evaluation.recalibrated],
            trained_source=next((stated.source for stated in evaluation.trained.values()), ""),
            fewest_patients=FEWEST_PATIENTS,
            context=context,
            audit=audit,
            audit_headline=None if audit is None else audit_headline(audit),
            input_gate=held_back_headline(evaluation).removeprefix("Input gate: "),
            audit_errors=[text for severity, text in audit or () if severity == "error"],
            gallery=gallery,
            training=training,
            headline=headline(evaluation.ranking, context),
            mean_f1=str(evaluation.primary.classification.averages["macro"]["f1"].interval),
            official_share=official_test_share(evaluation.ranking, context),
            percent=percent,
            threshold=threshold_text,
            cost_ratio=cost_ratio_text,
        )
    )
    return page.rstrip() + "\n"


@cache
def page_templates() -> "Environment":
    """Return the templates of the pages, which escape every value and refuse undefined ones."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("thorax.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.globals |= {"tuned_mark": TUNED_MARK, "bare_ends": bare_ends, "with_links": with_links}
    return environment


def _shown(value: Any) -> Any:
    """Return a value as a page shows it, with escapes for control characters in text that is not HTML."""
    from markupsafe import Markup

    return visible_lines(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _reliability(error: CalibrationError) -> Mapping[str, str]:
    return {
        finding.finding.name: reliability_svg(finding.curve) for finding in error.findings if finding.curve
    }


def _net_benefit_values(evaluation: Evaluation, context: Context) -> Mapping[str, Any]:
    drawn = [curve for curve in evaluation.decision_curves if curve.num_positive]
    return {
        "notes": [NET_BENEFIT_NOTE, *([] if context.model.calibrated else [UNCALIBRATED_NOTE])],
        "figures": [
            (
                curve.finding.label,
                percent(curve.num_positive / curve.num_known),
                useful_text(curve),
                decision_svg(curve),
            )
            for curve in drawn
        ],
        "header": net_benefit_header(),
        "rows": net_benefit_rows(evaluation.decision_curves),
    }


def _ranking_values(evaluation: Evaluation) -> Mapping[str, Any]:
    ranking = evaluation.ranking
    defined = [result for result in ranking.findings if result.auc.exists]
    return {
        "ranked": sorted(defined, key=_falling_auc),
        "axis": interval_axis([result.auc for result in defined]),
        "roc": {result.finding.name: roc_svg(result.curves) for result in defined},
        "precision_recall": {
            result.finding.name: precision_recall_svg(
                result.curves, prevalence=result.num_positive / result.num_known
            )
            for result in defined
        },
        "undefined": [result for result in ranking.findings if not result.auc.exists],
        "uncertain_intervals": any(result.undefined_resamples > 0 for result in defined),
        "partial_rate": PARTIAL_RATE,
    }


def _decision_values(evaluation: Evaluation) -> Mapping[str, Any]:
    return {
        "shown_rates": _SHOWN_RATES,
        "zero_note": ZERO_AVERAGES_NOTE,
        "zero_header": ZERO_AVERAGES_HEADER,
        "zero_rows": zero_average_rows,
        "averages": sorted(AVERAGES, key=lambda average: average == "macro"),  # the headline average is last
        "any_predictive": [
            any(values is not None for values in point.predictive_values) for point in evaluation.points
        ],
        "stated_sources": sorted({stated.source for stated in evaluation.stated.values()}),
    }


def _abstention_values(evaluation: Evaluation) -> Mapping[str, Any]:
    if evaluation.abstention is None:
        return {"absent": evaluation.no_bands or NO_BANDS}
    return {
        "title": abstention_title(evaluation),
        "note": abstention_note(evaluation),
        "header": ABSTENTION_HEADER,
        "rows": abstention_rows(evaluation),
    }


def _published_values(evaluation: Evaluation, context: Context) -> Mapping[str, Any]:
    results = evaluation.published.results
    return {
        "published": evaluation.published,
        "published_axis": close_axis([*(result.auc for result in results), evaluation.ranking.macro_auc]),
        "why_none_published": why_none_published(evaluation.ranking, context),
        "pneumonia_f1": pneumonia_f1(evaluation),
        "by_finding": published_by_finding(evaluation, context),
        "source_tables": source_tables(evaluation, context),
    }


def _falling_auc(result: FindingDiscrimination) -> tuple[float, str]:
    return -result.auc.value, result.finding.name


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """The files of a report.

    Attributes:
        metrics: All numbers, as JSON.
        html: One page that needs neither other files nor a network.
        markdown: The tables, for a repository or a paper's supplement.
        roc_png: All ROC curves in one picture.
        roc_svg: The same picture, to scale.
        predictions: The probabilities of the reported images, as CSV.
        validation: Those of the validation images that chose thresholds; absent if there were none.
    """

    metrics: Path
    html: Path
    markdown: Path
    roc_png: Path
    roc_svg: Path
    predictions: Path
    validation: Path


def write_report(
    evaluation: Evaluation,
    context: Context,
    *,
    out: Path,
    audit: AuditLines | None = None,
    gallery: Gallery | None = None,
    training: Sequence[str] = (),
) -> ReportFiles:
    """Write `metrics.json`, `report.html`, `report.md` and the ROC curves into `out`, each atomically.

    The same evaluation and context give the same bytes. The files of predictions are only named.

    Args:
        evaluation: The numbers.
        context: Their context.
        out: The folder; created if it does not exist.
        audit: What the audit found; None if there was none.
        gallery: Examples with maps, for the HTML page only; None leaves them out.
        training: Figures of the run's curves, for the HTML page only.

    Raises:
        DataError: `out` is a file.
    """
    refuse_file(out)
    out.mkdir(parents=True, exist_ok=True)
    files = ReportFiles(
        metrics=out / "metrics.json",
        html=out / "report.html",
        markdown=out / "report.md",
        roc_png=out / "roc.png",
        roc_svg=out / "roc.svg",
        predictions=out / "predictions.csv",
        validation=out / "validation.csv",
    )
    write_text(files.html, render_html(evaluation, context, audit=audit, gallery=gallery, training=training))
    write_text(files.markdown, render_markdown(evaluation, context, audit=audit))
    write_bytes(files.roc_png, draw_roc_curves(evaluation.ranking, context, "png"))
    write_bytes(files.roc_svg, draw_roc_curves(evaluation.ranking, context, "svg"))
    write_json(files.metrics, metrics(evaluation, context, audit=audit))
    return files


def refuse_file(out: Path) -> None:
    """Refuse an output folder that is a file.

    Raises:
        DataError: `out` is a file.
    """
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file; give a folder for the report")
