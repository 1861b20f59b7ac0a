"""The report as Markdown: its tables, with their context."""

from collections.abc import Sequence

from thorax.evaluation.classification import AVERAGES, RATES
from thorax.evaluation.discrimination import Discrimination
from thorax.evaluation.evaluate import AtOperatingPoint, Context, Evaluation, RadiologistEvaluation
from thorax.evaluation.published_results import PublishedResult
from thorax.evaluation.thresholds import TUNED_MARK
from thorax.reporting.abstention import (
    ABSTENTION_HEADER,
    NO_BANDS,
    abstention_note,
    abstention_rows,
    abstention_title,
)
from thorax.reporting.held_back import held_back_headline
from thorax.reporting.net_benefit import (
    NET_BENEFIT_NOTE,
    UNCALIBRATED_NOTE,
    net_benefit_header,
    net_benefit_rows,
)
from thorax.reporting.source_tables import ShownTable, published_by_finding, source_tables
from thorax.reporting.summary import (
    ZERO_AVERAGES_HEADER,
    ZERO_AVERAGES_NOTE,
    AuditLines,
    audit_headline,
    cost_ratio_text,
    f1_headline,
    headline,
    markdown_cell,
    markdown_table,
    markdown_tables,
    percent,
    pneumonia_f1,
    short,
    threshold_text,
    why_none_published,
    zero_average_rows,
)

__all__ = ["render_markdown"]

_RATE_NAMES = ("Sensitivity", "Specificity", "PPV", "NPV", "F1", "Accuracy", "Accuracy, all negative")
"""Names of the rates, in the order of `RATES`."""


def render_markdown(evaluation: Evaluation, context: Context, *, audit: AuditLines | None = None) -> str:
    """Return the report as Markdown; see `render_html`."""
    title = f"# {markdown_cell(context.model.name)}\n"
    tuned = f"**{TUNED_MARK}**: rates at these thresholds are optimistic.\n" if evaluation.test_tuned else ""
    sections = [
        title,
        markdown_cell(headline(evaluation.ranking, context)) + ".\n",
        markdown_cell(f1_headline(evaluation.primary)) + ".\n",
        "" if audit is None else f"**{markdown_cell(audit_headline(audit))}**.\n",
        f"{markdown_cell(gate)}.\n" if (gate := held_back_headline(evaluation)) else "",
        tuned,
        _list(context.notes),
        _audit(audit),
        "## Ranking\n",
        _ranking(evaluation.ranking),
        "![ROC curves of all findings](roc.png)\n",
        *(_at_point(point) for point in evaluation.points),
        "## Not decided\n",
        _abstention(evaluation),
        "## Calibration\n",
        _calibration(evaluation),
        _recalibrated(evaluation),
        "## Net benefit\n",
        _net_benefit(evaluation, context),
        "## Comparison with published results\n",
        _published(evaluation, context),
        _by_finding(evaluation, context),
        _pneumonia(evaluation, context),
        _source_tables(evaluation, context),
        _radiologists(evaluation.radiologists),
        "## Subgroups\n" if evaluation.subgroups else "",
        _subgroups(evaluation),
        "## Provenance\n",
        _provenance(evaluation.ranking, context),
        "**Not a medical device.** These numbers describe a model on a research data set.\n",
    ]
    return "\n".join(section for section in sections if section)


def _list(lines: Sequence[str]) -> str:
    return "".join(f"- {markdown_cell(line)}\n" for line in lines)


def _audit(audit: AuditLines | None) -> str:
    if audit is None:
        return ""
    lines = _list([f"{severity}: {text}" for severity, text in audit]) or "No problems were found.\n"
    return f"## Audit\n\n{lines}"


def _ranking(ranking: Discrimination) -> str:
    rows = [
        (
            result.finding.label,
            f"{result.num_known:,}",
            f"{result.num_positive:,}",
            *map(short, (result.auc, result.partial_auc, result.average_precision)),
        )
        for result in ranking.findings
    ]
    means = (
        ranking.macro_auc,
        ranking.macro_partial_auc,
        ranking.macro_average_precision,
    )
    rows.append((f"Mean of {ranking.num_findings}", f"{ranking.num_images:,}", "", *map(short, means)))
    micro = (
        short(ranking.micro_auc),
        short(ranking.micro_partial_auc),
        short(ranking.micro_average_precision),
    )
    rows.append(("Micro average", f"{ranking.num_images:,}", "", *micro))
    header = ("Finding", "Images", "Positives", "AUC", "Partial AUC", "Average precision")
    return markdown_table(header, rows)


def _at_point(point: AtOperatingPoint) -> str:
    measured = point.classification
    rows = [
        (
            finding.finding.label,
            threshold_text(threshold),
            cost_ratio_text(threshold),
            *(short(finding.rates[rate].interval) for rate in RATES),
            "n/a"
            if threshold is None
            else "/".join(
                f"{count:,}"
                for count in (
                    finding.confusion.true_positives,
                    finding.confusion.false_positives,
                    finding.confusion.false_negatives,
                    finding.confusion.true_negatives,
                )
            ),
            f"{short(values.ppv)} at {percent(values.prevalence)}" if values else "n/a",
        )
        for finding, threshold, values in zip(
            measured.findings, point.points.thresholds, point.predictive_values, strict=True
        )
    ]
    rows += [
        (
            f"{average.capitalize()} average",
            "",
            "",
            *(short(measured.averages[average][rate].interval) for rate in RATES),
            "",
            "",
        )
        for average in AVERAGES
    ]
    header = (
        "Finding",
        "Threshold",
        "FP worth a TP",
        *_RATE_NAMES,
        "TP/FP/FN/TN",
        "PPV at a stated prevalence",
    )
    shares = (
        f"Exact match {short(measured.exact_match.interval)}, "
        f"Hamming loss {short(measured.hamming_loss.interval)}.\n"
    )
    zeros = markdown_table(ZERO_AVERAGES_HEADER, zero_average_rows(measured))
    return (
        f"## At {markdown_cell(point.points.name)}\n\n{markdown_cell(point.points.describe())}.\n\n"
        f"{markdown_tables(header, rows, _AT_POINT)}\n{shares}\n{ZERO_AVERAGES_NOTE}\n\n{zeros}"
    )


_AT_POINT = (
    ("Sensitivity", "Specificity", "F1"),
    ("PPV", "NPV", "PPV at a stated prevalence"),
    ("Threshold", "FP worth a TP", "TP/FP/FN/TN"),
    ("Accuracy", "Accuracy, all negative"),
)
"""The columns of the tables at an operating point, of which one table would be too wide."""


def _calibration(evaluation: Evaluation) -> str:
    measured = evaluation.calibration
    rows = [
        (
            finding.finding.label,
            *map(short, (finding.mean_probability, finding.share_positive, finding.brier, finding.ece)),
            short(shift.prevalence) if shift else "n/a",
        )
        for finding, shift in zip(measured.findings, evaluation.shift, strict=True)
    ]
    rows.append(
        (
            f"Mean of {measured.num_findings}",
            "",
            "",
            short(measured.macro_brier),
            short(measured.macro_ece),
            "",
        )
    )
    header = ("Finding", "Mean probability", "Share positive", "Brier", "ECE", "Estimated prevalence")
    return markdown_table(header, rows)


def _recalibrated(evaluation: Evaluation) -> str:
    if not evaluation.recalibrated:
        return f"Recalibration was not tried: {markdown_cell(evaluation.not_recalibrated)}.\n"
    rows = [
        (
            "As reported",
            "",
            short(evaluation.calibration.macro_brier),
            short(evaluation.calibration.macro_ece),
        )
    ]
    rows += [
        (
            how.name,
            str(how.calibration.fitted_on) if how.calibration else "",
            short(error.macro_brier),
            short(error.macro_ece),
        )
        for how, error in evaluation.recalibrated
    ]
    return markdown_table(("Probabilities", "Fitted on", "Mean Brier", "Mean ECE"), rows)


def _net_benefit(evaluation: Evaluation, context: Context) -> str:
    notes = [NET_BENEFIT_NOTE, *([] if context.model.calibrated else [UNCALIBRATED_NOTE])]
    table = markdown_table(net_benefit_header(), net_benefit_rows(evaluation.decision_curves))
    return f"{' '.join(notes)}\n\n{table}"


def _abstention(evaluation: Evaluation) -> str:
    if evaluation.abstention is None:
        return f"No bands: {markdown_cell(evaluation.no_bands or NO_BANDS)}.\n"
    table = markdown_table(ABSTENTION_HEADER, abstention_rows(evaluation))
    return f"{abstention_title(evaluation)}.\n\n{table}\n{markdown_cell(abstention_note(evaluation))}\n"


def _pneumonia(evaluation: Evaluation, context: Context) -> str:
    ours = pneumonia_f1(evaluation)
    if ours is None:
        return ""
    point = evaluation.primary.points
    images = f"{evaluation.ranking.num_images:,}"
    rows = [(f"This model at {point.name}", short(ours.interval), images, context.where)]
    others = evaluation.published_f1
    rows += [(result.reader, short(result.f1), f"{result.num_images:,}", result.source) for result in others]
    differs = markdown_cell(" ".join(evaluation.published_f1[0].differs))
    table = markdown_table(("Reader", "F1", "Images", "Source"), rows)
    return f"### Pneumonia, F1\n\n{table}\nNot directly comparable. {differs}\n"


def _published(evaluation: Evaluation, context: Context) -> str:
    results = evaluation.published.results
    if not results:
        return f"None: {markdown_cell(why_none_published(evaluation.ranking, context))}\n"
    ours = ("**This model**", short(evaluation.ranking.macro_auc), markdown_cell(context.where), "", "")
    rows = [ours, *(_published_row(result) for result in reversed(results))]
    return markdown_table(("Model", "Mean AUC", "Source", "Taken from", "Remark"), rows)


def _by_finding(evaluation: Evaluation, context: Context) -> str:
    table = published_by_finding(evaluation, context)
    return _shown(table) if table else ""


def _source_tables(evaluation: Evaluation, context: Context) -> str:
    tables = source_tables(evaluation, context)
    point = markdown_cell(evaluation.primary.points.name)
    heading = f"## The source projects' own tables\n\nRates of this model are at {point}.\n\n"
    return heading + "\n".join(map(_shown, tables)) if tables else ""


def _shown(table: ShownTable) -> str:
    rows = f"\n{markdown_table(table.header, table.rows)}" if table.rows else ""
    return f"### {markdown_cell(table.title)}\n\n{markdown_cell(table.note)}\n{rows}"


def _published_row(result: PublishedResult) -> tuple[str, ...]:
    grade = "the source" if result.grade == "read" else "an excerpt"
    return result.name, short(result.auc), result.source, grade, result.remark


def _radiologists(radiologists: RadiologistEvaluation | None) -> str:
    if radiologists is None:
        return ""
    covered = f"{radiologists.reference.num_covered:,} of these images were read by radiologists"
    heading = (
        "## Agreement with radiologists\n\n"
        f"{covered}; decisions at {markdown_cell(radiologists.points.name)}.\n\n"
    )
    if radiologists.ranking is None or radiologists.classification is None:
        return heading
    rows = [
        (
            result.finding.label,
            f"our mapping: {', '.join(source.label for source in scored_by)}"
            if result.finding in radiologists.reference.mapped
            else "the same finding",
            f"{result.num_positive:,} of {result.num_known:,}",
            short(result.auc),
            *(short(decisions.rates[rate].interval) for rate in ("sensitivity", "specificity", "f1")),
        )
        for result, decisions, scored_by in zip(
            radiologists.ranking.findings,
            radiologists.classification.findings,
            radiologists.reference.scored_by,
            strict=True,
        )
    ]
    rows += [
        (result.finding.label, result.reason, *["n/a"] * 5) for result in radiologists.reference.unscored
    ]
    header = ("Finding", "Scored by", "Positives", "AUC", "Sensitivity", "Specificity", "F1")
    parts = (("Scored by", "Positives", "AUC"), ("Sensitivity", "Specificity", "F1"))
    return heading + markdown_tables(header, rows, parts)


def _subgroups(evaluation: Evaluation) -> str:
    if not evaluation.subgroups:
        return ""
    rows = [
        (
            f"{group.axis}: {group.name}",
            f"{group.num_images:,}",
            f"{group.num_patients:,}",
            str(group.num_findings),
            short(group.macro_auc),
            str(group.macro_auc_gap),
        )
        for group in evaluation.subgroups
    ]
    count = evaluation.subgroups[0].gaps.macro_auc
    note = f"Differences: intervals that hold all {count} together in 95 of 100 samples (Bonferroni).\n\n"
    return note + markdown_table(
        ("Group", "Images", "Patients", "Findings", "Mean AUC", "Difference from the rest"), rows
    )


def _provenance(ranking: Discrimination, context: Context) -> str:
    model = context.model
    lines = [
        f"Data: {context.dataset}",
        f"Split: {context.where}" + (f", sha256 {context.split_sha256}" if context.split_sha256 else ""),
        f"Images: {ranking.num_images:,} of {ranking.num_patients:,} patients",
        f"SHA-256 of the images: {context.images_sha256}",
        *(
            (f"Labels: {context.labels.summary}", f"SHA-256 of the labels: {context.labels.sha256}")
            if context.labels
            else ()
        ),
        f"Model: {model.name}, {'calibrated' if model.calibrated else 'not calibrated'}",
        f"SHA-256 of the model: {model.bundle_sha256}",
        *(f"{name}: {text}" for name, text in context.made),
        "Intervals of AUCs: by patient, from DeLong's variance, with Student's quantile",
        "Intervals of average precision: by patient, by infinitesimal jackknife, with Student's quantile",
        "Intervals of rates: Wilson, for the effective number of independent images",
        (
            "Other intervals: bias-corrected bootstrap, "
            f"{ranking.resamples:,} resamples of patients, seed {ranking.seed}"
        ),
        "Versions: " + ", ".join(f"{name} {version}" for name, version in context.versions.items()),
    ]
    return _list(lines)
