"""Explanations as `thorax explain` prints them: a table, or JSON."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from thorax.cli.console import print_table
from thorax.cli.output import say, say_json
from thorax.errors import NotARadiograph
from thorax.inference.predictor import Failure
from thorax.quoting import cut
from thorax.wording import three_digits

if TYPE_CHECKING:
    from thorax.workflows.explain import ExplainedRadiograph
    from thorax.workflows.predicting import Tally

__all__ = ["explain_all", "print_one"]

_NAME: Final = 24
"""Letters of a file's name in the table of several images."""


def print_one(result: "ExplainedRadiograph", *, as_json: bool) -> None:
    """Print the explanation of one image, with its notes on standard error."""
    if as_json:
        say_json(result.as_json())
    else:
        header = ("Finding", "Probability", "Method", "Highest", "Place (x, y)", "Box (x, y, width, height)")
        print_table(header, _rows(result), path=result.prediction.source)
    for note in result.notes:
        say(f"note: {note}", err=True)
    if result.picture is not None:
        say(f"picture: {result.picture}", err=as_json)


def explain_all(
    results: "Iterable[ExplainedRadiograph | Failure]", tally: "Tally", *, as_json: bool
) -> Callable[[], None]:
    """Print failures, and as JSON also the results, as they come, and count them.

    Returns:
        A function that prints the table of all, unless it is JSON, and the notes, below the bars.
    """
    rows: list[tuple[str, ...]] = []
    notes: dict[str, None] = {}
    num_silent = 0
    for result in results:
        if isinstance(result, Failure):
            tally.failed += 1
            tally.held_back += result.code == NotARadiograph.code
            say(f"{result.source}: {result.reason}", err=True, prose=True)
            continue
        tally.predicted += 1
        if as_json:
            say_json(result.as_json())
        source = result.prediction.source
        rows += [(source, *row[:-1]) for row in _rows(result)]
        num_silent += sum(entry.place is None for entry in result.maps)
        notes |= dict.fromkeys(f"{source}: {warning}" for warning in result.prediction.warnings)
        notes |= dict.fromkeys(result.model_notes)
    if num_silent:
        silent = f"{num_silent:,} of {len(rows):,} maps have no value above 0"
        notes[f"{silent}: no location supports the finding"] = None
    return partial(_print_overview, [] if as_json else rows, notes)


def _print_overview(rows: list[tuple[str, ...]], notes: Iterable[str]) -> None:
    if rows:
        print_table(*_overview(rows))
    for note in notes:
        say(f"note: {note}", err=True)


def _overview(rows: Sequence[tuple[str, ...]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the table of several images: each name once, and the method only if there are several."""
    header = ("Image", "Finding", "Probability", "Method", "Highest", "Place (x, y)")
    several = len({row[3] for row in rows}) > 1
    shown = []
    for before, row in zip([None, *rows], rows, strict=False):
        name = "" if before is not None and before[0] == row[0] else cut(Path(row[0]).name, _NAME)
        shown.append((name, *row[1:3], *row[3 if several else 4 :]))
    return (*header[:3], *header[3 if several else 4 :]), shown


def _rows(result: "ExplainedRadiograph") -> list[tuple[str, ...]]:
    probability = {entry.finding: entry.as_texts()[1] for entry in result.prediction.findings}
    return [
        (
            entry.finding.label, probability[entry.finding], entry.method, three_digits(entry.highest),
            _in_pixels(entry.place), _in_pixels(entry.box),
        )
        for entry in result.maps
    ]  # fmt: skip


def _in_pixels(numbers: tuple[float, ...] | None) -> str:
    return "n/a" if numbers is None else ", ".join(f"{number:.0f}" for number in numbers)
