"""A comparison for programs and people: JSON, Markdown, and rows for a terminal."""

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
"""What `comparison.json` calls its own layout; the number rises when a key changes its meaning."""

COMPARISON_HEADER: Final = ("Finding", "AUC, first", "AUC, second", "Difference (95 %)", "p", "p, DeLong")
"""What the columns of `comparison_rows` are called. Both p values are after Holm."""


@dataclass(frozen=True, slots=True)
class ComparisonFiles:
    """The files of a comparison."""

    json: Path
    markdown: Path


def write_comparison(
    comparison: Comparison, contexts: Mapping[str, Context], *, out: Path
) -> ComparisonFiles:
    """Write `comparison.json` and `comparison.md` into `out`, each whole or not at all.

    Args:
        comparison: The differences.
        contexts: What the numbers of each model travel with, by its name; the same part for all.
        out: The folder; made if it is not there.

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
    """Return which models on what, and how it was corrected."""
    return (
        f"{pair.model} less {pair.baseline}: {context.where}, {comparison.num_images:,} images of "
        f"{comparison.num_patients:,} patients; p after {comparison.correction}"
    )


def comparison_rows(pair: PairComparison) -> list[tuple[str, ...]]:
    """Return the differences as text, in the columns of `COMPARISON_HEADER`; the last row is the mean."""
    rows = [(each.finding.label, *_cells(each.auc)) for each in pair.findings]
    return [*rows, (f"Mean of {pair.num_findings}", *_cells(pair.macro))]


def comparison_json(comparison: Comparison, contexts: Mapping[str, Context]) -> dict[str, Any]:
    """Return the content of `comparison.json`; a value that does not exist is None."""
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
                "name": each.model.name,
                "bundle_sha256": each.model.bundle_sha256,
                "calibrated": each.model.calibrated,
                "warnings": list(each.warnings),
            }
            for name, each in contexts.items()
        },
        "intervals": {
            "method": "paired percentile bootstrap, widened for few patients",
            "unit": "patient",
            "level": LEVEL,
            "resamples": comparison.resamples,
            "seed": comparison.seed,
        },
        "correction": comparison.correction,
        "pairs": [_pair(each) for each in comparison.pairs],
    }


def render_comparison(comparison: Comparison, contexts: Mapping[str, Context]) -> str:
    """Return the comparison as Markdown."""
    context = next(iter(contexts.values()))
    parts = ["# Comparison\n"]
    for pair in comparison.pairs:
        parts.append(f"## {markdown_cell(pair.model)} less {markdown_cell(pair.baseline)}\n")
        parts.append(markdown_cell(comparison_title(pair, comparison, context)) + ".\n")
        parts.append(markdown_table(COMPARISON_HEADER, comparison_rows(pair)))
    lines = [f"{name}: {warning}" for name, each in contexts.items() for warning in each.warnings]
    lines += [f"{name}: sha256 {each.model.bundle_sha256}" for name, each in contexts.items()]
    lines += [
        f"Images: sha256 {context.images_sha256}",
        f"Paired bootstrap of patients: {comparison.resamples:,} resamples, seed {comparison.seed}",
        "Second opinion: DeLong, patients as units",
    ]
    parts.append("".join(f"- {markdown_cell(line)}\n" for line in lines))
    return "\n".join(parts)


def _cells(each: Difference) -> Sequence[str]:
    difference = each.difference
    ends = "" if difference.low != difference.low else f" ({difference.low:+.3f} to {difference.high:+.3f})"
    value = f"{difference.value:+.3f}{ends or ' (n/a)'}" if difference.exists else "n/a"
    return (
        _three(each.baseline_auc),
        _three(each.model_auc),
        value,
        _p(each.p_adjusted),
        _p(each.delong_p_adjusted),
    )


def _three(value: float) -> str:
    return "n/a" if number_json(value) is None else f"{value:.3f}".removeprefix("0")


def _p(value: float) -> str:
    if number_json(value) is None:
        return "n/a"
    return "<.001" if value < 0.001 else f"{value:.3f}".removeprefix("0")  # noqa: PLR2004  (three digits)


def _pair(each: PairComparison) -> dict[str, Any]:
    return {
        "baseline": each.baseline,
        "model": each.model,
        "macro": {**_difference(each.macro), "num_findings": each.num_findings},
        "findings": {finding.finding.name: _finding(finding) for finding in each.findings},
    }


def _finding(each: FindingDifference) -> dict[str, Any]:
    return {"num_known": each.num_known, "num_positive": each.num_positive, **_difference(each.auc)}


def _difference(each: Difference) -> dict[str, Any]:
    return {
        "baseline_auc": number_json(each.baseline_auc),
        "model_auc": number_json(each.model_auc),
        "difference": interval_json(each.difference),
        "p": number_json(each.p),
        "p_adjusted": number_json(each.p_adjusted),
        "delong": {
            **interval_json(each.delong.interval),
            "p": number_json(each.delong.p),
            "p_adjusted": number_json(each.delong_p_adjusted),
        },
        "undefined_resamples": each.undefined_resamples,
    }
