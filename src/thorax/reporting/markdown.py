"""The report as Markdown: the tables, each under what it must travel with."""

from collections.abc import Sequence

from thorax.evaluation.classification import AVERAGES, RATES
from thorax.evaluation.discrimination import Discrimination
from thorax.evaluation.evaluate import AtOperatingPoint, Context, Evaluation, RadiologistEvaluation
from thorax.evaluation.published import PublishedResult
from thorax.evaluation.thresholds import TUNED_MARK
from thorax.reporting.html import AuditLines
from thorax.reporting.summary import (
    headline,
    markdown_cell,
    markdown_table,
    percent,
    pneumonia_f1,
    short,
    threshold_text,
    why_none_published,
)

__all__ = ["render_markdown"]

_RATE_NAMES = ("Sensitivity", "Specificity", "PPV", "NPV", "F1", "Accuracy", "Calling nothing")
"""In the order of `RATES`."""


def render_markdown(assessment: Evaluation, context: Context, *, audit: AuditLines | None = None) -> str:
    """Return the report as Markdown; see `render_html`."""
    title = f"# {markdown_cell(context.model.name)}\n"
    tuned = f"**{TUNED_MARK}**: rates at such thresholds are too good.\n" if assessment.test_tuned else ""
    parts = [
        title,
        markdown_cell(headline(assessment.ranking, context)) + ".\n",
        tuned,
        _list(context.warnings),
        _audit(audit),
        "## Ranking\n",
        _ranking(assessment.ranking),
        *(_at_point(each) for each in assessment.points),
        "## Calibration\n",
        _calibration(assessment),
        _recalibrated(assessment),
        "## Beside published results\n",
        _published(assessment, context),
        _pneumonia(assessment, context),
        _radiologists(assessment.radiologists),
        "## Subgroups\n" if assessment.subgroups else "",
        _subgroups(assessment),
        "## How it was made\n",
        _made(assessment.ranking, context),
        "**Not a medical device.** These numbers describe a model on a research data set.\n",
    ]
    return "\n".join(part for part in parts if part)


def _list(lines: Sequence[str]) -> str:
    return "".join(f"- {markdown_cell(line)}\n" for line in lines)


def _audit(audit: AuditLines | None) -> str:
    if audit is None:
        return ""
    found = _list([f"{severity}: {text}" for severity, text in audit]) or "Nothing was found wrong.\n"
    return f"## Audit\n\n{found}"


def _ranking(ranking: Discrimination) -> str:
    rows = [
        (
            each.finding.label,
            f"{each.num_known:,}",
            f"{each.num_positive:,}",
            *map(short, (each.auc, each.auc_delong, each.partial_auc, each.average_precision)),
        )
        for each in ranking.findings
    ]
    means = (
        ranking.macro_auc,
        ranking.macro_auc_delong,
        ranking.macro_partial_auc,
        ranking.macro_average_precision,
    )
    rows.append((f"Mean of {ranking.num_findings}", f"{ranking.num_images:,}", "", *map(short, means)))
    micro = (
        short(ranking.micro_auc),
        "",
        short(ranking.micro_partial_auc),
        short(ranking.micro_average_precision),
    )
    rows.append(("Micro average", f"{ranking.num_images:,}", "", *micro))
    header = ("Finding", "Images", "Positives", "AUC", "AUC, DeLong", "Partial AUC", "Average precision")
    return markdown_table(header, rows)


def _at_point(each: AtOperatingPoint) -> str:
    measured = each.classification
    rows = [
        (
            called.finding.label,
            threshold_text(threshold),
            *(short(called.rates[rate].interval) for rate in RATES),
            "/".join(
                f"{count:,}"
                for count in (
                    called.confusion.true_positives,
                    called.confusion.false_positives,
                    called.confusion.false_negatives,
                    called.confusion.true_negatives,
                )
            ),
            f"{short(values.ppv)} at {percent(values.prevalence)}" if values else "n/a",
        )
        for called, threshold, values in zip(
            measured.findings, each.points.thresholds, each.predictive_values, strict=True
        )
    ]
    rows += [
        (
            f"{average.capitalize()} average",
            "",
            *(short(measured.averages[average][rate].interval) for rate in RATES),
            "",
            "",
        )
        for average in AVERAGES
    ]
    header = ("Finding", "Threshold", *_RATE_NAMES, "TP/FP/FN/TN", "PPV at a stated prevalence")
    shares = (
        f"Exact match {short(measured.exact_match.interval)}, "
        f"Hamming loss {short(measured.hamming_loss.interval)}.\n"
    )
    return (
        f"## At {markdown_cell(each.points.name)}\n\n{markdown_cell(each.points.describe())}.\n\n"
        f"{markdown_table(header, rows)}\n{shares}"
    )


def _calibration(assessment: Evaluation) -> str:
    measured = assessment.calibration
    rows = [
        (
            each.finding.label,
            *map(short, (each.mean_probability, each.share_positive, each.brier, each.ece)),
            short(shift.prevalence) if shift else "n/a",
        )
        for each, shift in zip(measured.findings, assessment.shift, strict=True)
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


def _recalibrated(assessment: Evaluation) -> str:
    if not assessment.recalibrated:
        return f"Calibrations on trial: none, for {markdown_cell(assessment.not_recalibrated)}.\n"
    rows = [
        (
            "As reported",
            "",
            short(assessment.calibration.macro_brier),
            short(assessment.calibration.macro_ece),
        )
    ]
    rows += [
        (
            how.name,
            str(how.calibration.fitted_on) if how.calibration else "",
            short(error.macro_brier),
            short(error.macro_ece),
        )
        for how, error in assessment.recalibrated
    ]
    return markdown_table(("Probabilities", "Fitted on", "Mean Brier", "Mean ECE"), rows)


def _pneumonia(assessment: Evaluation, context: Context) -> str:
    ours = pneumonia_f1(assessment)
    if ours is None:
        return ""
    point = assessment.primary.points
    images = f"{assessment.ranking.num_images:,}"
    rows = [(f"This model at {point.name}", short(ours.interval), images, context.where)]
    others = assessment.published_f1
    rows += [(each.reader, short(each.f1), f"{each.num_images:,}", each.source) for each in others]
    differs = markdown_cell(" ".join(assessment.published_f1[0].differs))
    table = markdown_table(("Who", "F1", "Images", "Source"), rows)
    return f"### Pneumonia, F1\n\n{table}\nNot ours to beat. {differs}\n"


def _published(assessment: Evaluation, context: Context) -> str:
    results = assessment.published.results
    if not results:
        return f"None: {markdown_cell(why_none_published(context))}\n"
    ours = ("**This model**", short(assessment.ranking.macro_auc), markdown_cell(context.where), "", "")
    rows = [ours, *(_published_row(each) for each in reversed(results))]
    return markdown_table(("Model", "Mean AUC", "Source", "Known from", "Remark"), rows)


def _published_row(each: PublishedResult) -> tuple[str, ...]:
    grade = "the source itself" if each.grade == "read" else "an excerpt of it"
    return each.name, short(each.auc), each.source, grade, each.remark


def _radiologists(them: RadiologistEvaluation | None) -> str:
    if them is None:
        return ""
    covered = f"{them.reference.num_covered:,} of these images were read by radiologists"
    heading = (
        f"## Against radiologists' reading\n\n{covered}; calls at {markdown_cell(them.points.name)}.\n\n"
    )
    if them.ranking is None or them.classification is None:
        return heading
    rows = [
        (
            each.finding.label,
            f"our mapping: {', '.join(part.label for part in by)}"
            if each.finding in them.reference.mapped
            else "itself",
            f"{each.num_positive:,} of {each.num_known:,}",
            short(each.auc),
            *(short(called.rates[rate].interval) for rate in ("sensitivity", "specificity", "f1")),
        )
        for each, called, by in zip(
            them.ranking.findings, them.classification.findings, them.reference.scored_by, strict=True
        )
    ]
    rows += [(each.finding.label, each.reason, *["n/a"] * 5) for each in them.reference.unscored]
    header = ("Finding", "Scored by", "Positives", "AUC", "Sensitivity", "Specificity", "F1")
    return heading + markdown_table(header, rows)


def _subgroups(assessment: Evaluation) -> str:
    if not assessment.subgroups:
        return ""
    rows = [
        (
            f"{each.axis}: {each.name}",
            f"{each.num_images:,}",
            f"{each.num_patients:,}",
            str(each.num_findings),
            short(each.macro_auc),
            str(each.macro_auc_gap),
        )
        for each in assessment.subgroups
    ]
    return markdown_table(("Group", "Images", "Patients", "Findings", "Mean AUC", "Gap to the rest"), rows)


def _made(ranking: Discrimination, context: Context) -> str:
    model = context.model
    lines = [
        f"Data: {context.dataset}",
        f"Split: {context.where}" + (f", sha256 {context.split_sha256}" if context.split_sha256 else ""),
        f"Images: {ranking.num_images:,} of {ranking.num_patients:,} patients",
        f"Images' sha256: {context.images_sha256}",
        f"Model: {model.name}, {'calibrated' if model.calibrated else 'not calibrated'}",
        f"Model's sha256: {model.bundle_sha256}",
        *(f"{name}: {text}" for name, text in context.made),
        (
            "Intervals: bias-corrected bootstrap, "
            f"{ranking.resamples:,} resamples of patients, seed {ranking.seed}"
        ),
        "Intervals of rates: Wilson's, for the number of images that vary as much as these patients do",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in context.versions.items()),
    ]
    return _list(lines)
