"""Comparisons as JSON, Markdown, a page, CSV and rows of a terminal table."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from thorax.atomic_io import write_bytes, write_json, write_text
from thorax.evaluation.classification import REPORT_RATES
from thorax.evaluation.compare import (
    Comparison,
    Difference,
    FindingDifference,
    ModelRuns,
    PairComparison,
)
from thorax.evaluation.curves import RunRoc
from thorax.evaluation.evaluate import Context
from thorax.evaluation.side_by_side import ModelDecisions
from thorax.evaluation.statistics.intervals import LEVEL
from thorax.quoting import cut
from thorax.reporting.comparison_roc import draw_comparison_roc
from thorax.reporting.metrics import labels_json
from thorax.reporting.plotting import FIGURE_KINDS
from thorax.reporting.reading_notes import shared_notes
from thorax.reporting.report import page_templates, refuse_file
from thorax.reporting.side_by_side import (
    RATE_NAMES,
    classification_csv,
    report_rows,
    side_by_side_rows,
    thresholds_text,
)
from thorax.reporting.summary import (
    interval_json,
    markdown_cell,
    markdown_table,
    model_json,
    number_json,
    split_json,
)

__all__ = [
    "COMPARISON_FORMAT",
    "DIFFERENCE_NOTE",
    "RUNS_HEADER",
    "SEEDS_NOTE",
    "ComparisonFiles",
    "comparison_header",
    "comparison_json",
    "comparison_rows",
    "comparison_title",
    "comparison_warnings",
    "has_seeds",
    "headline_remarks",
    "render_comparison",
    "render_comparison_html",
    "runs_rows",
    "side_by_side_header",
    "write_comparison",
]

COMPARISON_FORMAT: Final = "thorax-comparison/2"
"""The layout of `comparison.json`; the number increases when the meaning of a key changes."""

_LONGEST_NAME: Final = 24

RUNS_HEADER: Final = ("Model", "Runs", "Mean AUC (95 %)", "SD over runs", "Each run")
"""Headings of the columns of `runs_rows`."""

DIFFERENCE_NOTE: Final = (
    "Paired, with the patient as the unit: DeLong's variances and Student's quantile, on the scales of the "
    "difference and of the logits; of both, the wider end. p < .05 exactly where the interval excludes 0"
)
"""How the differences were computed."""

SEEDS_NOTE: Final = (
    "Several runs of a recipe are one model: its AUC is the mean over the runs, and the intervals hold the "
    "patients and the seeds of training. A model of one run is that one network: its interval holds the "
    "patients alone."
)
"""What several runs mean."""


@dataclass(frozen=True, slots=True)
class ComparisonFiles:
    """The files of a comparison."""

    json: Path
    markdown: Path
    html: Path
    classification: Path
    """Precision, recall and F1 of each model, as CSV."""
    roc: tuple[Path, ...]
    """The ROC curves of all models in one picture, as PNG, SVG and PDF; empty without curves."""


def write_comparison(
    comparison: Comparison,
    contexts: Mapping[str, Context],
    decisions: Mapping[str, ModelDecisions],
    *,
    curves: Sequence[RunRoc] = (),
    out: Path,
) -> ComparisonFiles:
    """Write `comparison.json`, `.md` and `.html`, `classification.csv` and the ROC curves into `out`.

    Args:
        comparison: The differences.
        contexts: The context of each model's numbers, by its name; the part is the same for all.
        decisions: Each model's decisions at its own thresholds, by its name.
        curves: ROC curves of each run and finding.
        out: The folder; created if it does not exist.

    Raises:
        DataError: `out` is a file.
    """
    refuse_file(out)
    out.mkdir(parents=True, exist_ok=True)
    drawn = any(curve.points for curve in curves)
    files = ComparisonFiles(
        json=out / "comparison.json",
        markdown=out / "comparison.md",
        html=out / "comparison.html",
        classification=out / "classification.csv",
        roc=tuple(out / f"roc.{kind}" for kind in FIGURE_KINDS) if drawn else (),
    )
    for path, kind in zip(files.roc, FIGURE_KINDS, strict=False):
        write_bytes(path, draw_comparison_roc(comparison, curves, next(iter(contexts.values())), kind))
    write_text(files.html, render_comparison_html(comparison, contexts, decisions, pictures=files.roc))
    write_text(files.markdown, render_comparison(comparison, contexts, decisions))
    write_text(files.classification, classification_csv(decisions))
    write_json(files.json, comparison_json(comparison, contexts))
    return files


def comparison_title(pair: PairComparison, comparison: Comparison, context: Context) -> str:
    """Return a title: the models, the images, and the correction of the p values."""
    return (
        f"{pair.model} less {pair.baseline}: {context.where}, {comparison.num_images:,} images of "
        f"{comparison.num_patients:,} patients{headline_remarks(comparison)}; p after {comparison.correction}"
    )


def headline_remarks(comparison: Comparison) -> str:
    """Return what a headline says if images were left out or patients are too few; otherwise ""."""
    few = comparison.too_few_patients.partition(":")[0]
    common = comparison.common.remark if comparison.common else ""
    return "".join(f", {remark}" for remark in (few, common) if remark)


def comparison_warnings(comparison: Comparison) -> tuple[str, ...]:
    """Return what a reader must know of images left out and of few patients, in sentences."""
    common = "" if comparison.common is None else comparison.common.warning
    return tuple(filter(None, (comparison.too_few_patients, common, comparison.one_patient_note)))


def comparison_header(pair: PairComparison) -> tuple[str, ...]:
    """Return the headings of the columns of `comparison_rows`.

    p inverts the interval beside it; the last is adjusted.
    """
    names = (cut(name, _LONGEST_NAME) for name in (pair.baseline, pair.model))
    return ("Finding", *(f"AUC, {name}" for name in names), "Difference (95 %)", "p", "p, Holm")


def comparison_rows(pair: PairComparison) -> list[tuple[str, ...]]:
    """Return the differences as text, in the columns of `comparison_header`; the last row is the mean."""
    rows = [(row.finding.label, *_cells(row.auc)) for row in pair.findings]
    return [*rows, (f"Mean of {pair.num_findings}", *_cells(pair.macro))]


def has_seeds(comparison: Comparison) -> bool:
    """Return whether a model has several training runs."""
    return any(len(model.runs) > 1 for model in comparison.models)


def runs_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """Return each model's runs as text, in the columns of `RUNS_HEADER`."""
    return [
        (
            model.model,
            str(len(model.runs)),
            str(model.mean),
            "n/a" if number_json(model.spread) is None else f"{model.spread:.4f}",
            ", ".join(map(_score_text, model.aucs)),
        )
        for model in comparison.models
    ]


def comparison_json(comparison: Comparison, contexts: Mapping[str, Context]) -> dict[str, Any]:
    """Return the content of `comparison.json`; undefined values are None."""
    context = next(iter(contexts.values()))
    return {
        "format": COMPARISON_FORMAT,
        "split": split_json(context),
        "images_sha256": context.images_sha256,
        "labels": labels_json(context.labels),
        "dataset": context.dataset,
        "num_images": comparison.num_images,
        "num_patients": comparison.num_patients,
        "num_nih_official_test": context.num_official_test,
        "common_images": comparison.common
        and {
            "num_images": len(comparison.common.images),
            "of": comparison.common.num_all,
            "lacking": dict(comparison.common.lacking),
        },
        "models": {
            name: {
                **model_json(model_context),
                "warnings": list(model_context.warnings),
                "history": model_context.history and model_context.history.as_json(),
            }
            for name, model_context in contexts.items()
        },
        "intervals": {
            "method": "paired DeLong by patient with Student's quantile, on the scales of the difference and "
            "of the logits; of several runs, with the variance between them",
            "method_of_bootstrap": "paired percentile bootstrap of patients, widened for few patients",
            "unit": "patient",
            "level": LEVEL,
            "resamples": comparison.resamples,
            "seed": comparison.seed,
        },
        "runs": {model.model: _runs(model) for model in comparison.models},
        "correction": comparison.correction,
        "too_few_patients": comparison.too_few_patients or None,
        "one_patient_note": comparison.one_patient_note or None,
        "pairs": [_pair(pair) for pair in comparison.pairs],
    }


def side_by_side_header(models: Iterable[str]) -> tuple[str, ...]:
    """Return the headings of the columns of `side_by_side_rows`."""
    return ("Finding", "Positives", *(f"{name}, {model}" for model in models for name in RATE_NAMES))


def render_comparison(
    comparison: Comparison, contexts: Mapping[str, Context], decisions: Mapping[str, ModelDecisions]
) -> str:
    """Return the comparison as Markdown."""
    context = next(iter(contexts.values()))
    sections = ["# Comparison\n"]
    sections += [f"**{markdown_cell(warning)}**\n" for warning in comparison_warnings(comparison)]
    for pair in comparison.pairs:
        sections.append(f"## {markdown_cell(pair.model)} less {markdown_cell(pair.baseline)}\n")
        sections.append(markdown_cell(comparison_title(pair, comparison, context)) + ".\n")
        sections.append(markdown_table(comparison_header(pair), comparison_rows(pair)))
    if has_seeds(comparison):
        sections.append("## Training runs\n")
        sections.append(markdown_table(RUNS_HEADER, runs_rows(comparison)))
        sections.append(f"{SEEDS_NOTE}\n")
    if decisions:
        sections.append("## Decisions at each model's own thresholds\n")
        sections.append("".join(f"- {markdown_cell(text)}.\n" for text in thresholds_text(decisions)))
        sections.append(markdown_table(side_by_side_header(decisions), side_by_side_rows(decisions)))
        sections.append(
            "The averages leave out No Finding and count an undefined rate as 0, as scikit-learn's "
            "classification report does.\n"
        )
    lines = shared_notes(contexts)
    lines += [
        f"{name}: sha256 {model_context.model.bundle_sha256}" for name, model_context in contexts.items()
    ]
    lines += [
        f"Images: sha256 {context.images_sha256}",
        *([f"Labels: {context.labels.summary}; sha256 {context.labels.sha256}"] if context.labels else []),
        DIFFERENCE_NOTE,
        f"Intervals of decisions: {comparison.resamples:,} resamples of the patients, seed {comparison.seed}",
    ]
    sections.append("".join(f"- {markdown_cell(line)}\n" for line in lines))
    return "\n".join(sections)


def render_comparison_html(
    comparison: Comparison,
    contexts: Mapping[str, Context],
    decisions: Mapping[str, ModelDecisions],
    *,
    pictures: Sequence[Path] = (),
) -> str:
    """Return the comparison as one HTML page, which is also well-formed XML and loads no other file.

    Args:
        comparison: The differences.
        contexts: See `write_comparison`.
        decisions: See `write_comparison`.
        pictures: Files with the ROC curves, beside the page, which links to them.
    """
    context = next(iter(contexts.values()))
    reports = [report_rows(one) for one in decisions.values()]
    rows = [
        (
            each[0].label,
            f"{max(row.support for row in each):,}",
            [row.measures[rate].interval for row in each for rate in REPORT_RATES],
            each[0].is_average,
        )
        for each in zip(*reports, strict=True)
    ]
    page = (
        page_templates()
        .get_template("comparison.html.j2")
        .render(
            comparison=comparison,
            pictures=[path.name for path in pictures],
            context=context,
            compared=[runs.model for runs in comparison.models],
            models=list(contexts),
            warnings=dict.fromkeys([*comparison_warnings(comparison), *shared_notes(contexts)]),
            thresholds=thresholds_text(decisions),
            rate_names=RATE_NAMES,
            rows=rows,
            remarks=headline_remarks(comparison),
            difference_note=DIFFERENCE_NOTE,
            runs_header=RUNS_HEADER,
            runs=runs_rows(comparison) if has_seeds(comparison) else [],
            seeds_note=SEEDS_NOTE,
            pairs=[
                (f"{pair.model} less {pair.baseline}", comparison_header(pair), comparison_rows(pair))
                for pair in comparison.pairs
            ],
            provenance=[
                *((name, each.model.bundle_sha256) for name, each in contexts.items()),
                ("Images", context.images_sha256),
                *([("Labels", context.labels.sha256)] if context.labels else []),
            ],
        )
    )
    return page.rstrip() + "\n"


def _cells(result: Difference) -> Sequence[str]:
    difference = result.difference
    ends = "" if difference.low != difference.low else f" ({difference.low:+.3f} to {difference.high:+.3f})"
    value = f"{difference.value:+.3f}{ends or ' (n/a)'}" if difference.exists else "n/a"
    return (
        _score_text(result.baseline_auc),
        _score_text(result.model_auc),
        value,
        _p_text(result.p),
        _p_text(result.p_adjusted),
    )


def _score_text(value: float) -> str:
    return "n/a" if number_json(value) is None else f"{value:.3f}".removeprefix("0")


def _p_text(value: float) -> str:
    if number_json(value) is None:
        return "n/a"
    return "<.001" if value < 0.001 else f"{value:.3f}".removeprefix("0")  # noqa: PLR2004  (three digits)


def _runs(model: ModelRuns) -> dict[str, Any]:
    return {
        "runs": dict(zip(model.runs, map(number_json, model.aucs), strict=True)),
        "macro_auc": interval_json(model.mean),
        "standard_deviation": number_json(model.spread),
    }


def _pair(pair: PairComparison) -> dict[str, Any]:
    return {
        "baseline": pair.baseline,
        "model": pair.model,
        "macro": {**_difference(pair.macro), "num_findings": pair.num_findings},
        "findings": {finding.finding.name: _finding(finding) for finding in pair.findings},
    }


def _finding(row: FindingDifference) -> dict[str, Any]:
    return {"num_known": row.num_known, "num_positive": row.num_positive, **_difference(row.auc)}


def _difference(difference: Difference) -> dict[str, Any]:
    return {
        "baseline_auc": number_json(difference.baseline_auc),
        "model_auc": number_json(difference.model_auc),
        "difference": interval_json(difference.difference),
        "p": number_json(difference.p),
        "p_adjusted": number_json(difference.p_adjusted),
        "bootstrap": interval_json(difference.bootstrap),
        "undefined_resamples": difference.undefined_resamples,
    }
