"""Localization results as JSON, Markdown and rows of a terminal table."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from thorax.atomic_io import write_json, write_text
from thorax.evaluation.evaluate import Context
from thorax.evaluation.localization.regions import HITS
from thorax.evaluation.localization.scores import Localization, LocalizationScores, MapFaithfulness, MapScores
from thorax.evaluation.statistics.intervals import LEVEL
from thorax.explain.explainers import NOT_OF_A_FINDING
from thorax.reporting.summary import interval_json, model_json, split_json
from thorax.wording import percent

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
"""The layout of `localization.json`; the number increases when the meaning of a key changes."""

TABLE_HEADER: Final = (
    "Map",
    "Pointing game (95 %)",
    "Mean IoU (95 %)",
    "IoU >= .1",
    "IoU >= .5",
    "IoBB >= .1",
)
"""Headings of the columns of `table_rows`."""

CURVES_HEADER: Final = ("Map", "Deletion", "Below chance (95 %)", "Insertion", "Above chance (95 %)")
"""Headings of the columns of `curves_rows`."""


def write_localization(
    localization: Localization, context: Context, *, out: Path, curves: Sequence[MapFaithfulness] = ()
) -> tuple[Path, Path]:
    """Write `localization.json` and `localization.md` into a folder, each atomically; return their paths.

    The same localization and context give the same bytes.
    """
    out.mkdir(parents=True, exist_ok=True)
    table, numbers = out / "localization.md", out / "localization.json"
    write_text(table, localization_markdown(localization, context, curves=curves))
    write_json(numbers, localization_json(localization, context, curves=curves))
    return numbers, table


def localization_json(
    localization: Localization, context: Context, *, curves: Sequence[MapFaithfulness] = ()
) -> dict[str, Any]:
    """Return the content of `localization.json`; undefined values are None."""
    return {
        "format": LOCALIZATION_FORMAT,
        "split": split_json(context),
        "images_sha256": context.images_sha256,
        "dataset": context.dataset,
        "model": model_json(context),
        "num_fitting_boxes": localization.num_fitting,
        "num_boxes": localization.num_pairs,
        "num_patients": localization.num_patients,
        "intervals": {
            "unit": "patient",
            "level": LEVEL,
            "resamples": localization.resamples,
            "seed": localization.seed,
        },
        "hits_at": list(HITS),
        "methods": {scores.name: _map_json(scores) for scores in localization.methods},
        "baselines": {scores.name: _map_json(scores) for scores in localization.baselines},
        "faithfulness": {curve.method: _curves_json(curve) for curve in curves},
        "warnings": list(context.warnings),
        "history": context.history and context.history.as_json(),
        "versions": dict(context.versions),
    }


def _map_json(map_scores: MapScores) -> dict[str, Any]:
    return {
        "level": map_scores.level,
        "mean_of_findings": _scores_json(map_scores.mean),
        "all_boxes": _scores_json(map_scores.pooled),
        "findings": {finding.name: _scores_json(scores) for finding, scores in map_scores.by_finding.items()},
        "sizes": {size: _scores_json(scores) for size, scores in map_scores.by_size.items()},
    }


def _curves_json(curves: MapFaithfulness) -> dict[str, Any]:
    return {
        "num_maps": curves.num_maps,
        "num_patients": curves.num_patients,
        "deletion": interval_json(curves.deletion),
        "deletion_below_chance": interval_json(curves.deletion_gain),
        "insertion": interval_json(curves.insertion),
        "insertion_above_chance": interval_json(curves.insertion_gain),
    }


def _scores_json(scores: LocalizationScores) -> dict[str, Any]:
    return {
        "num_boxes": scores.num_pairs,
        "num_patients": scores.num_patients,
        "pointing": interval_json(scores.pointing),
        "mean_iou": interval_json(scores.iou),
        "iou_hits": [interval_json(share) for share in scores.iou_hits],
        "iobb_hits": [interval_json(share) for share in scores.iobb_hits],
    }


def table_rows(localization: Localization) -> list[tuple[str, ...]]:
    """Return the means over findings, one row per map, methods before baselines; see `TABLE_HEADER`."""
    return [_row(_name(scores), scores.mean) for scores in (*localization.methods, *localization.baselines)]


def curves_rows(curves: Sequence[MapFaithfulness]) -> list[tuple[str, ...]]:
    """Return deletion and insertion, one row per method; see `CURVES_HEADER`."""
    return [
        (
            curve.method,
            f"{curve.deletion.value:.3f}",
            str(curve.deletion_gain),
            f"{curve.insertion.value:.3f}",
            str(curve.insertion_gain),
        )
        for curve in curves
    ]


def localization_markdown(
    localization: Localization, context: Context, *, curves: Sequence[MapFaithfulness] = ()
) -> str:
    """Return the results as Markdown: means over findings, each finding, each box size, faithfulness."""
    maps = (*localization.methods, *localization.baselines)
    findings = list(dict.fromkeys(finding for scores in maps for finding in scores.by_finding))
    sizes = list(dict.fromkeys(size for scores in maps for size in scores.by_size))
    caption = (
        f"{context.model.name} on {context.dataset}, split {context.split}, {context.part} part: "
        f"{localization.num_pairs:,} boxed findings of {localization.num_patients:,} patients. The "
        "threshold of the maps' regions and the mean boxes were fitted on "
        f"{localization.num_fitting:,} boxed findings of other patients. "
        f"Intervals: {percent(LEVEL, 0)}, {localization.resamples:,} resamples of the patients."
    )
    blocks = [
        "# Localization",
        caption,
        *(f"**{warning}**" for warning in context.notes),
        "## Mean over findings",
        _table("Map", [(_name(scores), scores.mean) for scores in maps]),
        "## All boxes",
        _table("Map", [(_name(scores), scores.pooled) for scores in maps]),
    ]
    for finding in findings:
        blocks += [
            f"## {finding.label}",
            _table("Map", [(_name(scores), scores.by_finding[finding]) for scores in maps]),
        ]
    for size in sizes:
        blocks += [
            f"## {size.capitalize()} boxes",
            _table("Map", [(_name(scores), scores.by_size[size]) for scores in maps]),
        ]
    if curves:
        blocks += [
            "## Faithfulness",
            _faithfulness_caption(curves[0]),
            _markdown_table(CURVES_HEADER, curves_rows(curves)),
        ]
    return "\n\n".join(blocks) + "\n"


def _faithfulness_caption(curves: MapFaithfulness) -> str:
    return (
        "Mean areas under the uncalibrated probability while the image is blurred cell by cell in the map's "
        "order (deletion, lower is better) or restored (insertion, higher is better), over "
        f"{curves.num_maps:,} boxed findings of {curves.num_patients:,} patients. Chance: random orders of "
        "the same cells. A map of cells that the network ignores is no better than chance."
    )


def _name(scores: MapScores) -> str:
    note = " (not of a finding)" if scores.name in NOT_OF_A_FINDING else ""
    return scores.name + note if scores.level is None else f"{scores.name}{note}, from {scores.level:.2f}"


def _table(first: str, named: Sequence[tuple[str, LocalizationScores]]) -> str:
    header = (first, "Boxes", *TABLE_HEADER[1:])
    rows = [(name, f"{scores.num_pairs:,}", *_row(name, scores)[1:]) for name, scores in named]
    return _markdown_table(header, rows)


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ("---", *("---:" for _ in header[1:]))
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def _row(name: str, scores: LocalizationScores) -> tuple[str, ...]:
    hits = (scores.iou_hits[0], scores.iou_hits[HITS.index(0.5)], scores.iobb_hits[0])
    return (name, str(scores.pointing), str(scores.iou), *(f"{hit.value:.3f}" for hit in hits))
