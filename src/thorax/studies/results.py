"""The result of a study: its leaderboards, and the cells that failed."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from thorax.evaluation.statistics.intervals import Interval
from thorax.notebook import notes, page, shortened, table
from thorax.quoting import cut
from thorax.reporting.representations import frame
from thorax.reporting.summary import number_json
from thorax.studies.boards import Board, Entry
from thorax.studies.definition import StudyDefinition
from thorax.studies.work import CellOutcome

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "HEADER",
    "Leaderboards",
    "board_rows",
    "board_title",
    "columns_of",
    "p_text",
    "score_text",
    "signed_text",
]

HEADER: Final = ("", "Model", "Mean AUC (95 %)", "SD", "Seeds", "Less the first (95 %)", "p, Holm")
"""Headings of the columns of `board_rows`."""

_JOULES_PER_KWH: Final = 3.6e6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Leaderboards:
    """The result of a study.

    Attributes:
        folder: The study's folder.
        study: The study.
        boards: One for each data set and split, and for each list of findings if recipes differ in these.
        failed: The cells that failed, each with the step and the reason.
        num_cells: The number of all cells.
    """

    folder: Path
    study: StudyDefinition
    boards: tuple[Board, ...]
    failed: tuple[CellOutcome, ...]
    num_cells: int

    @property
    def page(self) -> Path:
        """The page of all leaderboards."""
        return self.folder / "report.html"

    def headline(self) -> str:
        """Return in one line how much of the study is done, and how much of it failed."""
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return (
            f"study {self.study.name}: {self.num_cells - len(self.failed)} of {self.num_cells} runs{failed}"
        )

    def to_frame(self) -> "pd.DataFrame":
        """Return one row for each model of each leaderboard; "_low" and "_high" are ends of intervals.

        Raises:
            MissingExtra: pandas is not installed.
        """
        return frame(columns_of(self.boards))

    def __repr__(self) -> str:
        return f"Leaderboards({shortened(str(self.folder))!r}: {self.headline()})"

    def _repr_html_(self) -> str:
        pieces = [
            piece
            for board in self.boards
            for piece in (notes([board_title(board)]), table(HEADER, board_rows(board)))
        ]
        failures = [f"{one.cell.name}, {one.step}: {one.reason}" for one in self.failed]
        return page(self.headline(), *pieces, notes(failures))


def board_title(board: Board) -> str:
    """Return what a leaderboard is of: the part, the images and the findings."""
    leaderboard = board.leaderboard
    few = f", {leaderboard.too_few_patients.partition(':')[0]}" if leaderboard.too_few_patients else ""
    return (
        f"{board.data}: {board.context.where}, {leaderboard.num_images:,} images of "
        f"{leaderboard.num_patients:,} patients, mean of {len(leaderboard.findings)} findings{few}"
    )


def board_rows(board: Board) -> list[tuple[str, ...]]:
    """Return the models as text, in the columns of `HEADER`; gaps are from the board's reference."""
    return [
        (
            str(rank),
            cut(entry.standing.model, 40),
            str(entry.standing.macro.mean),
            score_text(entry.standing.macro.spread, digits=4),
            _seeds_text(board, entry),
            _gap_text(board, entry),
            "" if entry.gap is None else p_text(entry.gap.p_adjusted),
        )
        for rank, entry in enumerate(board.entries, start=1)
    ]


def _seeds_text(board: Board, entry: Entry) -> str:
    count, missing = len(entry.cells), len(board.lacking.get(entry.standing.model, ()))
    return f"{count} of {count + missing}" if missing else str(count)


def _gap_text(board: Board, entry: Entry) -> str:
    if entry.gap is None:
        return "the baseline" if board.reference != board.entries[0].standing.model else ""
    return signed_text(entry.gap.difference)


def signed_text(difference: Interval) -> str:
    """Write "-0.012 (-0.030 to +0.006)"; "n/a" if the difference does not exist."""
    if math.isnan(difference.value):
        return "n/a"
    ends = "n/a" if math.isnan(difference.low) else f"{difference.low:+.3f} to {difference.high:+.3f}"
    return f"{difference.value:+.3f} ({ends})"


def score_text(value: float | None, *, digits: int = 3) -> str:
    """Write ".671"; "n/a" for None and NaN."""
    return "n/a" if value is None or math.isnan(value) else f"{value:.{digits}f}".removeprefix("0")


def p_text(value: float) -> str:
    """Write a p value as ".013" or "<.001"; "n/a" for NaN."""
    if math.isnan(value):
        return "n/a"
    return "<.001" if value < 0.001 else f"{value:.3f}".removeprefix("0")  # noqa: PLR2004  (three digits)


def columns_of(boards: tuple[Board, ...]) -> Mapping[str, list[Any]]:
    """Return the leaderboards as columns of one table, with a row for each model of each."""
    rows = [row for board in boards for row in _flat_rows(board)]
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else {})}


def _flat_rows(board: Board) -> Iterator[dict[str, Any]]:
    for rank, entry in enumerate(board.entries, start=1):
        macro, gap = entry.standing.macro, entry.gap
        joules = entry.cost.joules
        yield {
            "data": board.data,
            "split": board.context.split,
            "rank": rank,
            "model": entry.standing.model,
            "auc": number_json(macro.mean.value),
            "auc_low": number_json(macro.mean.low),
            "auc_high": number_json(macro.mean.high),
            "sd_over_seeds": number_json(macro.spread),
            "seeds": " ".join(str(cell.seed) for cell in entry.cells),
            "auc_by_seed": " ".join("" if math.isnan(auc) else repr(auc) for auc in macro.aucs),
            "num_findings": len(board.leaderboard.findings),
            "num_images": board.leaderboard.num_images,
            "num_patients": board.leaderboard.num_patients,
            "reference": board.reference,
            "less_reference": None if gap is None else number_json(gap.difference.value),
            "less_reference_low": None if gap is None else number_json(gap.difference.low),
            "less_reference_high": None if gap is None else number_json(gap.difference.high),
            "p": None if gap is None else number_json(gap.p),
            "p_holm": None if gap is None else number_json(gap.p_adjusted),
            "checkpoint_excess": entry.checkpoint_excess,
            "best_seed_excess": number_json(entry.standing.best_run_excess),
            "train_images_per_second": entry.images_per_second,
            "hours": entry.cost.seconds / 3600,
            "kwh": None if joules is None else joules / _JOULES_PER_KWH,
        }
