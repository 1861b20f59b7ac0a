"""Comparisons as JSON, Markdown and rows of a terminal table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from thorax.atomic_io import write_json, write_text
from thorax.evaluation.compare import Comparison, Difference, FindingDifference, PairComparison
from thorax.evaluation.evaluate import Context
from thorax.evaluation.statistics.intervals import LEVEL
from thorax.reporting.report import refuse_file
from thorax.reporting.summary import interval_json, markdown_cell, markdown_table, number_json

__all__ = [
    "COMPARISON_FORMAT",
    "COMPARISON_HEADER",
    "ComparisonFiles",
    "comparison_json",
    "comparison_rows",
    "comparison_title",
    "render_comparison",
    "write_comparison",
]

COMPARISON_FORMAT: Final = "thorax-comparison/1"
"""The layout of `comparison.json`; the number increases when the meaning of a key changes."""

COMPARISON_HEADER: Final = ("Finding", "AUC, first", "AUC, second", "Difference (95 %)", "p", "p, DeLong")
"""Headings of the columns of `comparison_rows`. Both p values are adjusted by Holm's method."""


@dataclass(frozen=True, slots=True)
class ComparisonFiles:
    """The files of a comparison."""

    json: Path
    markdown: Path


def write_comparison(
    comparison: Comparison, contexts: Mapping[str, Context], *, out: Path
) -> ComparisonFiles:
    """Write `comparison.json` and `comparison.md` into `out`, each atomically.

    Args:
        comparison: The differences.
        contexts: The context of each model's numbers, by its name; the part is the same for all.
        out: The folder; created if it does not exist.

    Raises:
        DataError: `out` is a file.
    """
    refuse_file(out)
    out.mkdir(parents=True, exist_ok=True)
    files = ComparisonFiles(out / "comparison.json", out / "comparison.md")
    write_text(files.markdown, render_comparison(comparison, contexts))
    write_json(files.json, comparison_json(comparison, contexts))
    return files


def comparison_title(pair: PairComparison, comparison: Comparison, context: Context) -> str:
    """Return a title: the models, the images, and the correction of the p values."""
    return (
        f"{pair.model} less {pair.baseline}: {context.where}, {comparison.num_images:,} images of "
        f"{comparison.num_patients:,} patients; p after {comparison.correction}"
    )


def comparison_rows(pair: PairComparison) -> list[tuple[str, ...]]:
    """Return the differences as text, in the columns of `COMPARISON_HEADER`; the last row is the mean."""
    rows = [(row.finding.label, *_cells(row.auc)) for row in pair.findings]
    return [*rows, (f"Mean of {pair.num_findings}", *_cells(pair.macro))]


def comparison_json(comparison: Comparison, contexts: Mapping[str, Context]) -> dict[str, Any]:
    """Return the content of `comparison.json`; undefined values are None."""
    context = next(iter(contexts.values()))
    return {
        "format": COMPARISON_FORMAT,
        "split": {
            "name": context.split or None,
            "part": context.part or None,
            "sha256": context.split_sha256 or None,
        },
        "images_sha256": context.images_sha256,
        "dataset": context.dataset,
        "num_images": comparison.num_images,
        "num_patients": comparison.num_patients,
        "num_nih_official_test": context.num_official_test,
        "models": {
            name: {
                "name": model_context.model.name,
                "bundle_sha256": model_context.model.bundle_sha256,
                "calibrated": model_context.model.calibrated,
                "warnings": list(model_context.warnings),
            }
            for name, model_context in contexts.items()
        },
        "intervals": {
            "method": "paired percentile bootstrap, widened for few patients",
            "unit": "patient",
            "level": LEVEL,
            "resamples": comparison.resamples,
            "seed": comparison.seed,
        },
        "correction": comparison.correction,
        "pairs": [_pair(pair) for pair in comparison.pairs],
    }


def render_comparison(comparison: Comparison, contexts: Mapping[str, Context]) -> str:
    """Return the comparison as Markdown."""
    context = next(iter(contexts.values()))
    sections = ["# Comparison\n"]
    for pair in comparison.pairs:
        sections.append(f"## {markdown_cell(pair.model)} less {markdown_cell(pair.baseline)}\n")
        sections.append(markdown_cell(comparison_title(pair, comparison, context)) + ".\n")
        sections.append(markdown_table(COMPARISON_HEADER, comparison_rows(pair)))
    lines = [
        f"{name}: {warning}" for name, model_context in contexts.items() for warning in model_context.warnings
    ]
    lines += [
        f"{name}: sha256 {model_context.model.bundle_sha256}" for name, model_context in contexts.items()
    ]
    lines += [
        f"Images: sha256 {context.images_sha256}",
        f"Paired bootstrap of patients: {comparison.resamples:,} resamples, seed {comparison.seed}",
        "Independent check: DeLong's test with the patient as the unit",
    ]
    sections.append("".join(f"- {markdown_cell(line)}\n" for line in lines))
    return "\n".join(sections)


def _cells(result: Difference) -> Sequence[str]:
    difference = result.difference
    ends = "" if difference.low != difference.low else f" ({difference.low:+.3f} to {difference.high:+.3f})"
    value = f"{difference.value:+.3f}{ends or ' (n/a)'}" if difference.exists else "n/a"
    return (
        _score_text(result.baseline_auc),
        _score_text(result.model_auc),
        value,
        _p_text(result.p_adjusted),
        _p_text(result.delong_p_adjusted),
    )


def _score_text(value: float) -> str:
    return "n/a" if number_json(value) is None else f"{value:.3f}".removeprefix("0")


def _p_text(value: float) -> str:
    if number_json(value) is None:
        return "n/a"
    return "<.001" if value < 0.001 else f"{value:.3f}".removeprefix("0")  # noqa: PLR2004  (three digits)


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
        "delong": {
            **interval_json(difference.delong.interval),
            "p": number_json(difference.delong.p),
            "p_adjusted": number_json(difference.delong_p_adjusted),
        },
        "undefined_resamples": difference.undefined_resamples,
    }
