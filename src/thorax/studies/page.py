"""The page of a study: its leaderboards, with figures, differences, published results and costs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from thorax.evaluation.compare import Comparison
from thorax.evaluation.statistics.intervals import Interval
from thorax.findings import Finding
from thorax.reporting.figures import IntervalAxis, close_axis
from thorax.reporting.report import page_templates
from thorax.studies.boards import Board
from thorax.studies.definition import definition_as_toml
from thorax.studies.leaderboard_files import (
    COSTS_HEADER,
    NOTES,
    PREMIUM_HEADER,
    costs_rows,
    looks_text,
    premium_rows,
)
from thorax.studies.results import (
    HEADER,
    Leaderboards,
    board_rows,
    board_title,
    p_text,
    score_text,
    signed_text,
)

__all__ = ["render_page"]

_MOST_TICKS: Final = 5


def render_page(result: Leaderboards) -> str:
    """Return the page of a study, which is also well-formed XML and loads no other file."""
    page = (
        page_templates()
        .get_template("leaderboard.html.j2")
        .render(
            result=result,
            study=result.study,
            boards=[_values(board) for board in result.boards],
            header=HEADER,
            premium_header=PREMIUM_HEADER,
            costs_header=COSTS_HEADER,
            notes=NOTES,
            definition=definition_as_toml(result.study),
        )
    )
    return page.rstrip() + "\n"


def _values(board: Board) -> Mapping[str, Any]:
    intervals = [entry.standing.macro.mean for entry in board.entries]
    published = board.published.results
    comparison = board.leaderboard.comparison
    return {
        "board": board,
        "title": board_title(board),
        "rows": board_rows(board),
        "axis": _axis([*intervals, *(result.auc for result in published)]),
        "published": list(reversed(published)),
        "looks": looks_text(board.looks),
        "findings": [(finding.label, _cells(board, finding)) for finding in _findings(board)],
        "pairs": _pairs(comparison),
        "correction": comparison.correction if comparison else "",
        "premium": premium_rows(board),
        "costs": costs_rows(board),
        "runs": [
            (cell.name, cell.seed, entry.standing.model, score_text(auc))
            for entry in board.entries
            for cell, auc in zip(entry.cells, entry.standing.macro.aucs, strict=True)
        ],
    }


def _axis(intervals: Sequence[Interval]) -> IntervalAxis:
    """Return an axis on which so few values are marked that they do not collide on a phone."""
    axis = close_axis(intervals)
    return replace(axis, ticks=axis.ticks[:: -(-len(axis.ticks) // _MOST_TICKS)])


def _findings(board: Board) -> list[Finding]:
    """Return the findings that some model predicts, in the order of the labels."""
    return list(dict.fromkeys(finding for entry in board.entries for finding in entry.standing.findings))


def _cells(board: Board, finding: Finding) -> list[tuple[str, str]]:
    """Return the AUC of a finding in each model, and its interval or what takes its place."""
    cells = []
    for entry in board.entries:
        one = entry.standing.findings.get(finding)
        exists = one is not None and one.mean.exists
        cells.append((score_text(one.mean.value), one.mean.ends) if one and exists else ("n/a", ""))
    return cells


def _pairs(comparison: Comparison | None) -> list[tuple[str, ...]]:
    return [
        (
            f"{pair.model} less {pair.baseline}",
            signed_text(pair.macro.difference),
            p_text(pair.macro.p),
            p_text(pair.macro.p_adjusted),
            str(sum(row.auc.p_adjusted < 0.05 for row in pair.findings)),  # noqa: PLR2004  (the usual level)
        )
        for pair in (comparison.pairs if comparison else ())
    ]
