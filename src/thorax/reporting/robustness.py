"""Robustness as a page with its figure, Markdown, JSON, CSV and rows of a terminal table."""

import csv
import io
import math
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from thorax.atomic_io import write_json, write_text
from thorax.evaluation.evaluate import Context
from thorax.evaluation.robustness import Changes, LevelChanges, Robustness
from thorax.evaluation.statistics.intervals import LEVEL, Interval
from thorax.notebook import Html, notes, page, table
from thorax.reporting.figures import svg_file
from thorax.reporting.metrics import labels_json
from thorax.reporting.panels import PanelColumn, PanelRow, panels_svg
from thorax.reporting.report import page_templates, refuse_file
from thorax.reporting.summary import (
    interval_json,
    markdown_cell,
    markdown_table,
    model_json,
    number_json,
    split_json,
)

__all__ = [
    "ROBUSTNESS_FORMAT",
    "ROBUSTNESS_HEADER",
    "RobustnessFiles",
    "render_robustness_html",
    "robustness_columns",
    "robustness_html",
    "robustness_json",
    "robustness_markdown",
    "robustness_rows",
    "robustness_svg",
    "robustness_title",
    "write_robustness",
]

ROBUSTNESS_FORMAT: Final = "thorax-robustness/1"
"""The layout of `robustness.json`; the number increases when the meaning of a key changes."""

ROBUSTNESS_HEADER: Final = ("Change", "Mean AUC", "Probability, points", "Flipped, % (95 %)")
"""Headings of the columns of `robustness_rows`: differences from the unchanged images, with intervals."""

_MEASURES: Final = (
    "auc", "auc_change", "brier_change", "probability_change", "flipped", "to_positive", "to_negative",
)  # fmt: skip
"""The attributes of `Changes`, in the order of files."""


@dataclass(frozen=True, slots=True)
class RobustnessFiles:
    """The files of a result."""

    json: Path
    csv: Path
    markdown: Path
    html: Path
    svg: Path


def write_robustness(robustness: Robustness, context: Context, *, out: Path) -> RobustnessFiles:
    """Write `robustness.json`, `.csv`, `.md`, `.html` and `.svg` into `out`, each atomically.

    The same numbers and context give the same bytes.

    Raises:
        DataError: `out` is a file.
    """
    refuse_file(out)
    out.mkdir(parents=True, exist_ok=True)
    kinds = ("json", "csv", "md", "html", "svg")
    files = RobustnessFiles(*(out / f"robustness.{kind}" for kind in kinds))
    write_text(files.svg, svg_file(robustness_svg(robustness)))
    write_text(files.html, render_robustness_html(robustness, context))
    write_text(files.markdown, robustness_markdown(robustness, context))
    write_text(files.csv, _csv(robustness))
    write_json(files.json, robustness_json(robustness, context))
    return files


def robustness_title(robustness: Robustness, context: Context) -> str:
    """Return the mean AUC on the unchanged images, with its interval, part, and numbers of images."""
    mean, count = robustness.mean_auc, robustness.num_findings
    name = f"mean AUC over {count} finding{'' if count == 1 else 's'}"
    number = f"{name} {mean.value:.3f} (95 % interval {mean.ends})" if mean.exists else "mean AUC n/a"
    return (
        f"{number} on unchanged images: {context.where}, {robustness.num_images:,} images of "
        f"{robustness.num_patients:,} patients"
    )


def robustness_rows(robustness: Robustness) -> list[tuple[str, ...]]:
    """Return what each level changes on average over the findings; see `ROBUSTNESS_HEADER`."""
    return [
        (
            level.perturbation.label,
            _give_or_take(level.mean.auc_change),
            _give_or_take(level.mean.probability_change, scale=100),
            _share(level.mean.flipped).replace(" to ", "-"),
        )
        for level in robustness.levels
    ]


def robustness_svg(robustness: Robustness) -> str:
    """Return the figure: AUC, probability and flipped decisions (rows) at each level (columns)."""
    groups = [list(levels) for _, levels in _by_kind(robustness)]
    columns = [
        PanelColumn(levels[0].perturbation.title, [level.perturbation.amount for level in levels])
        for levels in groups
    ]

    def points(name: str) -> list[list[Interval]]:
        return [[getattr(level.mean, name) for level in levels] for levels in groups]

    return panels_svg(
        columns,
        [
            PanelRow("Change of the mean AUC", points("auc_change")),
            PanelRow(
                "Change of the mean probability, in points of percent", points("probability_change"), 100
            ),
            PanelRow("Decisions that flip, in percent", points("flipped"), 100),
        ],
    )


def robustness_json(robustness: Robustness, context: Context) -> dict[str, Any]:
    """Return the content of `robustness.json`; undefined values are None."""
    points = robustness.points
    return {
        "format": ROBUSTNESS_FORMAT,
        "split": split_json(context),
        "images_sha256": context.images_sha256,
        "labels": labels_json(context.labels),
        "dataset": context.dataset,
        "num_images": robustness.num_images,
        "num_patients": robustness.num_patients,
        "model": model_json(context),
        "thresholds": {
            "rule": points.rule,
            "origin": points.describe(),
            "values": {
                finding.name: threshold
                for finding, threshold in zip(points.findings, points.thresholds, strict=True)
            },
        },
        "intervals": {
            "method": "analytic: DeLong's covariance, and ratios of sums over patients",
            "unit": "patient",
            "level": LEVEL,
            "paired": True,
            "corrected_for_levels": False,
        },
        "unchanged": {
            "macro_auc": {**interval_json(robustness.mean_auc), "num_findings": robustness.num_findings},
            "findings": {
                one.finding.name: {
                    "num_known": one.num_known,
                    "num_positive": one.num_positive,
                    "auc": interval_json(one.auc),
                }
                for one in robustness.unchanged
            },
        },
        "levels": [
            {
                "perturbation": level.perturbation.kind,
                "level": level.perturbation.level,
                "macro": _changes_json(level.mean),
                "findings": {one.finding.name: _changes_json(one.changes) for one in level.findings},
            }
            for level in robustness.levels
        ],
        "warnings": list(context.warnings),
        "history": context.history and context.history.as_json(),
        "versions": dict(context.versions),
    }


def robustness_columns(robustness: Robustness) -> dict[str, list[Any]]:
    """Return one row per level and finding, and one per level for the mean over findings."""
    rows = [
        (level.perturbation, name, changes)
        for level in robustness.levels
        for name, changes in [
            ("mean", level.mean),
            *((one.finding.name, one.changes) for one in level.findings),
        ]
    ]
    columns: dict[str, list[Any]] = {
        "perturbation": [perturbation.kind for perturbation, _, _ in rows],
        "level": [perturbation.level for perturbation, _, _ in rows],
        "finding": [name for _, name, _ in rows],
    }
    for name in _MEASURES:
        intervals: list[Interval] = [getattr(changes, name) for _, _, changes in rows]
        columns[name] = [interval.value for interval in intervals]
        columns[f"{name}_low"] = [interval.low for interval in intervals]
        columns[f"{name}_high"] = [interval.high for interval in intervals]
    return columns


def robustness_markdown(robustness: Robustness, context: Context) -> str:
    """Return the means over findings as Markdown."""
    lines = [
        f"Images: sha256 {context.images_sha256}",
        *([f"Labels: {context.labels.summary}, sha256 {context.labels.sha256}"] if context.labels else []),
        f"Model: {context.model.name}, sha256 {context.model.bundle_sha256}",
        f"Decisions: {robustness.points.name}, {robustness.points.describe()}",
        _METHOD,
    ]
    return "\n".join(
        [
            "# Robustness\n",
            _capital(markdown_cell(robustness_title(robustness, context))) + ".\n",
            *(f"**{markdown_cell(warning)}**\n" for warning in context.notes),
            markdown_table(_WIDE_HEADER, [_wide_row(level) for level in robustness.levels]),
            "".join(f"- {markdown_cell(line)}\n" for line in lines),
        ]
    )


def render_robustness_html(robustness: Robustness, context: Context) -> str:
    """Return the result as one HTML page, which is also well-formed XML and loads no other file."""
    kinds = [
        (
            levels[0].perturbation.title,
            [level.perturbation.amount for level in levels],
            [
                (
                    finding.label,
                    [
                        (_change(one.auc_change), _share(one.flipped))
                        for one in (level.findings[k].changes for level in levels)
                    ],
                )
                for k, finding in enumerate(robustness.points.findings)
            ],
        )
        for levels in ([*group] for _, group in _by_kind(robustness))
    ]
    text = (
        page_templates()
        .get_template("robustness.html.j2")
        .render(
            context=context,
            title=_capital(robustness_title(robustness, context)),
            figure=robustness_svg(robustness),
            header=_WIDE_HEADER,
            rows=[_wide_row(level) for level in robustness.levels],
            kinds=kinds,
            method=_METHOD,
            points=robustness.points,
        )
    )
    return text.rstrip() + "\n"


def robustness_html(robustness: Robustness, context: Context) -> str:
    """Return the figure and the table of means for a notebook."""
    return page(
        _capital(robustness_title(robustness, context)),
        Html(robustness_svg(robustness)),
        table(ROBUSTNESS_HEADER, robustness_rows(robustness)),
        notes([_METHOD, f"Decisions: {robustness.points.describe()}.", *context.notes]),
    )


_METHOD: Final = (
    "Changes are made on the prepared images. Differences are paired with the unchanged images, with 95 % "
    "intervals by patient that are not corrected for the number of levels."
)

_WIDE_HEADER: Final = (
    "Change",
    "Mean AUC",
    "Mean Brier loss",
    "Mean probability, points",
    "Flipped, %",
    "To positive, %",
    "To negative, %",
)


def _wide_row(level: LevelChanges) -> tuple[str, ...]:
    mean = level.mean
    return (
        level.perturbation.label,
        _change(mean.auc_change),
        _change(mean.brier_change, digits=4),
        _change(mean.probability_change, scale=100),
        *(_share(share) for share in (mean.flipped, mean.to_positive, mean.to_negative)),
    )


def _by_kind(robustness: Robustness) -> "groupby[str, LevelChanges]":
    return groupby(robustness.levels, key=lambda level: level.perturbation.kind)


def _changes_json(changes: Changes) -> dict[str, Any]:
    return {name: interval_json(getattr(changes, name)) for name in _MEASURES}


def _csv(robustness: Robustness) -> str:
    columns = robustness_columns(robustness)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow([number_json(cell) if isinstance(cell, float) else cell for cell in row])
    return text.getvalue()


def _give_or_take(interval: Interval, *, scale: float = 1.0) -> str:
    """Write "-.012 ±.008": half the columns of `_change`, whose intervals are symmetric."""
    value, _, ends = _change(interval, scale=scale).partition(" ")
    if math.isnan(interval.low):
        return f"{value} {ends}".rstrip()
    reach = f"{scale * (interval.high - interval.low) / 2:.{1 if scale > 1 else 3}f}"
    return f"{value} ±{reach.removeprefix('0')}"


def _change(interval: Interval, *, scale: float = 1.0, digits: int = 3) -> str:
    """Write "-.012 (-.020 to -.004)" or, of percent, "-1.2 (-2.0 to -.4)"."""
    if not interval.exists:
        return "n/a"
    digits = 1 if scale > 1 else digits

    def text(number: float) -> str:
        return f"{scale * number:+.{digits}f}".replace("+0.", "+.").replace("-0.", "-.")

    ends = "n/a" if math.isnan(interval.low) else f"{text(interval.low)} to {text(interval.high)}"
    return f"{text(interval.value)} ({ends})"


def _share(interval: Interval) -> str:
    """Write "3.2 (2.1 to 4.4)", in percent."""
    if not interval.exists:
        return "n/a"
    value, low, high = (f"{100 * end:.1f}" for end in (interval.value, interval.low, interval.high))
    return f"{value} ({'n/a' if math.isnan(interval.low) else f'{low} to {high}'})"


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
