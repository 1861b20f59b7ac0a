"""The files of a study's result: `leaderboard.csv`, `.json` and `.md`, and `report.html`."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

from thorax.atomic_io import sha256_of_lines, write_json, write_text
from thorax.evaluation.published_results import ComparableResults
from thorax.evaluation.statistics.intervals import LEVEL
from thorax.packages import versions
from thorax.reporting.comparison import DIFFERENCE_NOTE
from thorax.reporting.metrics import labels_json
from thorax.reporting.summary import interval_json, markdown_cell, markdown_table, number_json, split_json
from thorax.studies.boards import Board, Entry, LookCount
from thorax.studies.definition import definition_as_toml
from thorax.studies.results import HEADER, Leaderboards, board_rows, board_title, columns_of, score_text
from thorax.studies.work import CellOutcome

__all__ = [
    "COSTS_HEADER",
    "LEADERBOARD_FORMAT",
    "NOTES",
    "PREMIUM_HEADER",
    "PUBLISHED_HEADER",
    "costs_rows",
    "leaderboards_json",
    "looks_text",
    "premium_rows",
    "published_rows",
    "render_markdown",
    "write_leaderboards",
]

LEADERBOARD_FORMAT: Final = "thorax-leaderboard/1"
"""The layout of `leaderboard.json`; the number increases when the meaning of a key changes."""

NOTES: Final = (
    (
        "A mean AUC is over the findings, and then over the seeds; SD is the standard deviation over the "
        "seeds. Intervals hold patients and seeds: DeLong's variance with the patient as the unit, and what "
        "the seeds vary beyond it, with Student's quantile for each"
    ),
    f"Differences: {DIFFERENCE_NOTE[0].lower()}{DIFFERENCE_NOTE[1:]}",
)
"""How the numbers were computed."""

PREMIUM_HEADER: Final = ("Model", "Honest", "Checkpoint by test", "Best seed", "Both")
"""Headings of the columns of `premium_rows`."""

COSTS_HEADER: Final = ("Model", "Images/s in training", "Hours", "kWh")
"""Headings of the columns of `costs_rows`."""

PUBLISHED_HEADER: Final = ("Published", "Mean AUC", "Source", "Remark")
"""Headings of the columns of `published_rows`."""


def write_leaderboards(result: Leaderboards, page: str) -> None:
    """Write the files of a result, each atomically; `leaderboard.json`, which has everything, is last.

    Args:
        result: The result.
        page: The page.
    """
    write_text(result.page, page)
    write_text(result.folder / "leaderboard.csv", _csv(result.boards))
    write_text(result.folder / "leaderboard.md", render_markdown(result))
    write_json(result.folder / "leaderboard.json", leaderboards_json(result))


def _csv(boards: tuple[Board, ...]) -> str:
    columns = columns_of(boards)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def looks_text(looks: LookCount) -> str:
    """Return how often a test part was looked at, in sentences."""
    curve = (
        f" Training measured it too, after each of {looks.test_curve_epochs:,} epochs, for what choosing "
        "the checkpoint on it would have added; no choice used that."
        if looks.test_curve_epochs
        else ""
    )
    others = (
        f" On this machine {looks.other_models:,} other models looked at it {looks.others:,} times."
        if looks.others
        else ""
    )
    times = "once" if looks.own == 1 else f"{looks.own:,} times"
    return (
        f"The runs of this study looked at the test part {times}, after all of them were trained."
        f"{curve}{others}"
    )


def premium_rows(board: Board) -> list[tuple[str, ...]]:
    """Return what selecting on the test part would have added, in the columns of `PREMIUM_HEADER`."""
    rows: list[tuple[str, ...]] = []
    for entry in board.entries:
        several = len(entry.cells) > 1
        rows.append(
            (
                entry.standing.model,
                score_text(entry.standing.macro.mean.value),
                _added(entry.checkpoint_excess),
                _added(entry.standing.best_run_excess if several else None),
                _added(entry.both_excess if several else None),
            )
        )
    return rows


def _added(value: float | None) -> str:
    text = score_text(value)
    return text if text == "n/a" else f"+{text}"


def costs_rows(board: Board) -> list[tuple[str, ...]]:
    """Return what each model cost with all its seeds, in the columns of `COSTS_HEADER`."""
    return [
        (
            entry.standing.model,
            "n/a" if entry.images_per_second is None else f"{entry.images_per_second:,.0f}",
            f"{entry.cost.seconds / 3600:.3g}",
            "n/a" if entry.cost.joules is None else f"{entry.cost.joules / 3.6e6:.3f}",
        )
        for entry in board.entries
    ]


def published_rows(published: ComparableResults) -> list[tuple[str, ...]]:
    """Return published results from the best down, in the columns of `PUBLISHED_HEADER`."""
    return [
        (result.name, score_text(result.auc.value), result.source, result.remark)
        for result in reversed(published.results)
    ]


def render_markdown(result: Leaderboards) -> str:
    """Return the leaderboards as Markdown."""
    sections = [f"# Study {result.study.name}\n", f"{result.study.summary}. {result.headline()}.\n"]
    if result.failed:
        sections.append("## Failed\n")
        sections.append(markdown_table(("Run", "Step", "Reason"), _failures(result.failed)))
    for board in result.boards:
        sections.append(f"## {markdown_cell(board_title(board))}\n")
        sections.append(markdown_table(HEADER, board_rows(board)))
        sections += [f"{markdown_cell(text)}\n" for text in (looks_text(board.looks), *board.warnings)]
        sections.append("What selecting on the test part would have added:\n")
        sections.append(markdown_table(PREMIUM_HEADER, premium_rows(board)))
        sections.append(markdown_table(COSTS_HEADER, costs_rows(board)))
        if board.published.results:
            sections.append(f"Published on the {board.published.split} split:\n")
            sections.append(markdown_table(PUBLISHED_HEADER, published_rows(board.published)))
    sections += [f"{text}.\n" for text in NOTES]
    return "\n".join(sections)


def _failures(failed: Sequence[CellOutcome]) -> list[tuple[str, ...]]:
    return [(one.cell.name, one.step, one.reason) for one in failed]


def leaderboards_json(result: Leaderboards) -> dict[str, Any]:
    """Return the content of `leaderboard.json`; undefined values are None."""
    return {
        "format": LEADERBOARD_FORMAT,
        "study": result.study.model_dump(mode="json"),
        "study_sha256": sha256_of_lines(definition_as_toml(result.study).splitlines()),
        "num_runs": result.num_cells,
        "failed": [{"run": one.cell.name, "step": one.step, "reason": one.reason} for one in result.failed],
        "intervals": {
            "method": "DeLong by patient with Student's quantile, with the variance between seeds",
            "unit": "patient and seed",
            "level": LEVEL,
            "resamples": result.study.resamples,
        },
        "boards": [_board(board) for board in result.boards],
        "versions": versions("thorax", "numpy"),
    }


def _board(board: Board) -> dict[str, Any]:
    leaderboard, context = board.leaderboard, board.context
    comparison = leaderboard.comparison
    return {
        "data": board.data,
        "dataset": context.dataset,
        "split": {"where": context.where} | split_json(context),
        "images_sha256": context.images_sha256,
        "labels": labels_json(context.labels),
        "num_images": leaderboard.num_images,
        "num_patients": leaderboard.num_patients,
        "findings": [finding.name for finding in leaderboard.findings],
        "too_few_patients": leaderboard.too_few_patients or None,
        "warnings": list(board.warnings),
        "looks": {
            "own": board.looks.own,
            "test_curve_epochs": board.looks.test_curve_epochs,
            "others": board.looks.others,
            "other_models": board.looks.other_models,
        },
        "reference": board.reference,
        "models": [_entry(board, entry) for entry in board.entries],
        "correction": comparison and comparison.correction,
        "pairs": [
            {
                "baseline": pair.baseline,
                "model": pair.model,
                "difference": interval_json(pair.macro.difference),
                "p": number_json(pair.macro.p),
                "p_adjusted": number_json(pair.macro.p_adjusted),
                "findings": {
                    row.finding.name: {
                        "difference": interval_json(row.auc.difference),
                        "p": number_json(row.auc.p),
                        "p_adjusted": number_json(row.auc.p_adjusted),
                    }
                    for row in pair.findings
                },
            }
            for pair in (comparison.pairs if comparison else ())
        ],
        "published": {
            "split_kind": board.published.split,
            "results": [
                {"name": one.name, "auc": interval_json(one.auc), "source": one.source, "grade": one.grade}
                for one in board.published.results
            ],
        },
    }


def _entry(board: Board, entry: Entry) -> dict[str, Any]:
    macro = entry.standing.macro
    runs: Mapping[str, Any] = {
        cell.name: {"seed": cell.seed, "macro_auc": number_json(auc)}
        for cell, auc in zip(entry.cells, macro.aucs, strict=True)
    }
    return {
        "model": entry.standing.model,
        "macro_auc": interval_json(macro.mean),
        "standard_deviation": number_json(macro.spread),
        "runs": runs,
        "missing_seeds": list(board.lacking.get(entry.standing.model, ())),
        "findings": {
            finding.name: {
                **interval_json(one.mean),
                "standard_deviation": number_json(one.spread),
            }
            for finding, one in entry.standing.findings.items()
        },
        "selection_on_test": {
            "checkpoint_excess": entry.checkpoint_excess,
            "best_seed_excess": number_json(entry.standing.best_run_excess),
            "both_excess": entry.both_excess,
        },
        "cost": {
            "train_images_per_second": entry.images_per_second,
            "seconds": round(entry.cost.seconds, 1),
            "joules": entry.cost.joules,
        },
    }
