"""The figures of a localisation for programs (JSON) and for people (Markdown, rows for a terminal)."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from thorax.atomic_io import write_json, write_text
from thorax.evaluation.evaluate import Context
from thorax.evaluation.localization.regions import HITS
from thorax.evaluation.localization.scores import Localization, LocalizationScores, MapFaithfulness, MapScores
from thorax.evaluation.statistics.intervals import LEVEL, Interval
from thorax.explain.methods import NOT_OF_A_FINDING

__all__ = [
    "CURVES_HEADER",
    "LOCALIZATION_FORMAT",
    "TABLE_HEADER",
    "curves_rows",
    "localization_json",
    "localization_markdown",
    "table_rows",
    "write_localization",
]

LOCALIZATION_FORMAT: Final = "thorax-localization/1"
"""What `localization.json` calls its own layout; the number rises when a key changes its meaning."""

TABLE_HEADER: Final = (
    "Map",
    "Pointing game (95 %)",
    "Mean IoU (95 %)",
    "IoU >= .1",
    "IoU >= .5",
    "IoBB >= .1",
)
"""What the columns of `table_rows` are called."""

CURVES_HEADER: Final = ("Map", "Deletion", "Below chance (95 %)", "Insertion", "Above chance (95 %)")
"""What the columns of `curves_rows` are called."""


def write_localization(
    found: Localization, context: Context, *, out: Path, curves: Sequence[MapFaithfulness] = ()
) -> tuple[Path, Path]:
    """Write `localization.json` and `localization.md` into a folder, each whole or not at all.

    The same figures and context give the same bytes.
    """
    out.mkdir(parents=True, exist_ok=True)
    table, numbers = out / "localization.md", out / "localization.json"
    write_text(table, localization_markdown(found, context, curves=curves))
    write_json(numbers, localization_json(found, context, curves=curves))
    return numbers, table


def localization_json(
    found: Localization, context: Context, *, curves: Sequence[MapFaithfulness] = ()
) -> dict[str, Any]:
    """Return the content of `localization.json`; a value that does not exist is None."""
    return {
        "format": LOCALIZATION_FORMAT,
        "split": {"name": context.split, "part": context.part, "sha256": context.split_sha256},
        "images_sha256": context.images_sha256,
        "dataset": context.dataset,
        "model": {
            "name": context.model.name,
            "bundle_sha256": context.model.bundle_sha256,
            "calibrated": context.model.calibrated,
        },
        "num_fitting_boxes": found.num_fitting,
        "num_boxes": found.num_pairs,
        "num_patients": found.num_patients,
        "intervals": {"unit": "patient", "level": LEVEL, "resamples": found.resamples, "seed": found.seed},
        "hits_at": list(HITS),
        "methods": {each.name: _map_json(each) for each in found.methods},
        "baselines": {each.name: _map_json(each) for each in found.baselines},
        "faithfulness": {each.method: _curves_json(each) for each in curves},
        "warnings": list(context.warnings),
        "versions": dict(context.versions),
    }


def _map_json(each: MapScores) -> dict[str, Any]:
    return {
        "level": each.level,
        "mean_of_findings": _scores_json(each.mean),
        "all_boxes": _scores_json(each.pooled),
        "findings": {finding.name: _scores_json(scores) for finding, scores in each.by_finding.items()},
        "sizes": {size: _scores_json(scores) for size, scores in each.by_size.items()},
    }


def _curves_json(each: MapFaithfulness) -> dict[str, Any]:
    return {
        "num_maps": each.num_maps,
        "num_patients": each.num_patients,
        "deletion": _interval(each.deletion),
        "deletion_below_chance": _interval(each.deletion_gain),
        "insertion": _interval(each.insertion),
        "insertion_above_chance": _interval(each.insertion_gain),
    }


def _scores_json(scores: LocalizationScores) -> dict[str, Any]:
    return {
        "num_boxes": scores.num_pairs,
        "num_patients": scores.num_patients,
        "pointing": _interval(scores.pointing),
        "mean_iou": _interval(scores.iou),
        "iou_hits": [_interval(each) for each in scores.iou_hits],
        "iobb_hits": [_interval(each) for each in scores.iobb_hits],
    }


def _interval(interval: Interval) -> dict[str, float | None]:
    return {
        name: None if math.isnan(number) else number
        for name, number in (("value", interval.value), ("low", interval.low), ("high", interval.high))
    }


def table_rows(found: Localization) -> list[tuple[str, ...]]:
    """Return means over findings as text in the columns of `TABLE_HEADER`, methods before baselines."""
    return [_row(_name(each), each.mean) for each in (*found.methods, *found.baselines)]


def curves_rows(curves: Sequence[MapFaithfulness]) -> list[tuple[str, ...]]:
    """Return deletion and insertion as text in the columns of `CURVES_HEADER`."""
    return [
        (
            each.method,
            f"{each.deletion.value:.3f}",
            str(each.deletion_gain),
            f"{each.insertion.value:.3f}",
            str(each.insertion_gain),
        )
        for each in curves
    ]


def localization_markdown(
    found: Localization, context: Context, *, curves: Sequence[MapFaithfulness] = ()
) -> str:
    """Return the figures as Markdown: means over findings, each finding, each size, faithfulness."""
    maps = (*found.methods, *found.baselines)
    findings = list(dict.fromkeys(finding for each in maps for finding in each.by_finding))
    sizes = list(dict.fromkeys(size for each in maps for size in each.by_size))
    about = (
        f"{context.model.name} on {context.dataset}, split {context.split}, {context.part} part: "
        f"{found.num_pairs:,} boxed findings of {found.num_patients:,} patients. The height that regions "
        f"begin at, and the mean boxes, were fitted on {found.num_fitting:,} boxed findings of other "
        f"patients. Intervals: {LEVEL:.0%}, {found.resamples:,} resamples of the patients."
    )
    parts = [
        "# Localisation",
        about,
        *(f"**{warning}**" for warning in context.warnings),
        "## Mean over findings",
        _table("Map", [(_name(each), each.mean) for each in maps]),
        "## All boxes",
        _table("Map", [(_name(each), each.pooled) for each in maps]),
    ]
    for finding in findings:
        parts += [f"## {finding.label}", _table("Map", [(_name(m), m.by_finding[finding]) for m in maps])]
    for size in sizes:
        parts += [f"## {size.capitalize()} boxes", _table("Map", [(_name(m), m.by_size[size]) for m in maps])]
    if curves:
        parts += ["## Faithfulness", _about(curves[0]), _lines(CURVES_HEADER, curves_rows(curves))]
    return "\n\n".join(parts) + "\n"


def _about(curves: MapFaithfulness) -> str:
    return (
        "Mean areas under the probability, before any calibration, while the image is blurred cell by cell "
        "in the map's order (deletion, lower is better) or brought back (insertion, higher is better), over "
        f"{curves.num_maps:,} boxed findings of {curves.num_patients:,} patients. Chance: random orders of "
        "the same cells. A map of places that the net does not react to is no better than that."
    )


def _name(each: MapScores) -> str:
    note = " (not of a finding)" if each.name in NOT_OF_A_FINDING else ""
    return each.name + note if each.level is None else f"{each.name}{note}, from {each.level:.2f}"


def _table(first: str, named: Sequence[tuple[str, LocalizationScores]]) -> str:
    header = (first, "Boxes", *TABLE_HEADER[1:])
    rows = [(name, f"{scores.num_pairs:,}", *_row(name, scores)[1:]) for name, scores in named]
    return _lines(header, rows)


def _lines(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ("---", *("---:" for _ in header[1:]))
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def _row(name: str, scores: LocalizationScores) -> tuple[str, ...]:
    hits = (scores.iou_hits[0], scores.iou_hits[HITS.index(0.5)], scores.iobb_hits[0])
    return (name, str(scores.pointing), str(scores.iou), *(f"{each.value:.3f}" for each in hits))
