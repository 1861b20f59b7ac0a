"""Bands of abstention, and how they do on the reported part, as JSON and as rows of a table."""

import math
from collections.abc import Mapping
from typing import Any, Final

from thorax.bands import Band, Bands
from thorax.evaluation.abstention import Abstention, FindingAbstention
from thorax.evaluation.evaluate import Evaluation
from thorax.evaluation.statistics.intervals import Interval
from thorax.findings import finding_or_new
from thorax.reporting.summary import interval_json, markdown_cell, markdown_table, short

__all__ = [
    "ABSTENTION_HEADER",
    "NO_BANDS",
    "abstention_json",
    "abstention_note",
    "abstention_rows",
    "abstention_tables",
    "abstention_title",
    "card_abstention",
    "card_bands",
]

ABSTENTION_HEADER: Final = ("Finding", "Not decided", "Covered with", "Covered without", "Undecided share")
"""Headings of the columns of `abstention_rows`."""

_ENDS: Final = ("value", "low", "high")

NO_BANDS: Final = "none were set for these predictions"
"""Why there are no bands, where no other reason is given."""


def abstention_title(evaluation: Evaluation) -> str:
    """Return the title of the table: the level, and whose decisions the bands limit."""
    assert evaluation.abstention is not None
    level = 100 * evaluation.abstention.bands.level
    return f"Not decided, at {level:.3g} %, with the thresholds of {evaluation.primary.points.name}"


def abstention_note(evaluation: Evaluation) -> str:
    """Return what the columns and the bands mean, and for which patients they hold, as sentences."""
    assert evaluation.abstention is not None
    bands = evaluation.abstention.bands
    absent = [result for result in evaluation.abstention.findings if result.band is None]
    needs = {result.absent.partition("; ")[2] for result in absent}
    shared = needs.pop() if len(absent) > 1 and len(needs) == 1 else ""  # said once, not for each finding
    without = [f"{one.finding.label} ({one.absent.removesuffix(f'; {shared}')})" for one in absent]
    why = f", because {shared}" if shared else ""
    return (
        f"{bands.promise} The bands were set on the {bands.chosen_on}. Covered: the share of the patients "
        "with the finding for whom the band does not rule it out, and of those without it for whom it does "
        f"not rule out its absence; at least {bands.level:.3g} is promised on average. Undecided share: of "
        "all patients. Each patient counts once."
        + (
            f" Without a band, and always decided by the threshold{why}: {', '.join(without)}."
            if without
            else ""
        )
    )


def abstention_tables(
    evaluation: Evaluation,
) -> list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    """Return title, header and rows for a terminal; empty without bands, or of too few patients."""
    if evaluation.abstention is None or evaluation.ranking.too_few_patients:
        return []
    return [(abstention_title(evaluation), ABSTENTION_HEADER, abstention_rows(evaluation))]


def abstention_rows(evaluation: Evaluation) -> list[tuple[str, ...]]:
    """Return one row per finding; see `ABSTENTION_HEADER`."""
    assert evaluation.abstention is not None
    return [
        (
            result.finding.label,
            _where(result.band, result.threshold),
            short(result.covered_with),
            short(result.covered_without),
            short(result.undecided),
        )
        for result in evaluation.abstention.findings
    ]


def abstention_json(evaluation: Evaluation) -> dict[str, Any]:
    """Return the part of `metrics.json`."""
    measured: Abstention | None = evaluation.abstention
    if measured is None:
        return {"level": None, "absent": evaluation.no_bands or NO_BANDS, "findings": {}}
    bands = measured.bands
    return {
        "level": bands.level,
        "promise": bands.promise,
        "chosen_on": bands.chosen_on.model_dump(exclude={"dataset"}),
        "operating_point": evaluation.primary.points.name,
        "findings": {result.finding.name: _finding(result) for result in measured.findings},
    }


def _finding(result: FindingAbstention) -> dict[str, Any]:
    return {
        "band": result.band and result.band.model_dump(),
        "absent": result.absent or None,
        "not_decided": result.not_decided and list(result.not_decided),
        "patients_with": result.patients_with,
        "patients_without": result.patients_without,
        "covered_with": interval_json(result.covered_with),
        "covered_without": interval_json(result.covered_without),
        "undecided": interval_json(result.undecided),
    }


def card_bands(bands: Bands, thresholds: Mapping[str, float | None]) -> str:
    """Return the bands of a bundle for its card, in Markdown."""
    level = f"At {100 * bands.level:.3g} %, set on the {bands.chosen_on}."
    rows = [
        (
            finding_or_new(name).label,
            _where(bands.bands.get(name), threshold),
            bands.absent.get(name, ""),
        )
        for name, threshold in thresholds.items()
    ]
    table = markdown_table(("Finding", "Not decided", "Why there is no band"), rows)
    return f"{markdown_cell(level)} {markdown_cell(bands.promise)}\n\n{table}"


def card_abstention(measured: Mapping[str, Any] | None) -> str:
    """Return coverage and abstention for a card, in Markdown, from `metrics.json`; "" without bands."""
    if not measured or not measured["findings"]:
        return ""
    rows = [
        (
            finding_or_new(name).label,
            *(_short(result[key]) for key in ("covered_with", "covered_without", "undecided")),
        )
        for name, result in measured["findings"].items()
        if result["band"]
    ]
    table = markdown_table((ABSTENTION_HEADER[0], *ABSTENTION_HEADER[2:]), rows)
    title = f"Not decided, at {100 * measured['level']:.3g} %, with the thresholds of "
    return f"{title}{markdown_cell(measured['operating_point'])}.\n\n{table}\n{measured['promise']}\n"


def _short(value: Mapping[str, float | None]) -> str:
    ends = (value[name] for name in _ENDS)
    return short(Interval(*(math.nan if end is None else end for end in ends)))


def _where(band: Band | None, threshold: float | None) -> str:
    """Return the probabilities that are not decided, in words where there are none."""
    if band is None:
        return "no band"
    if threshold is None:
        return "no threshold"
    low, high = band.undecided(threshold)
    return f"{low:.3f} to {high:.3f}" if low < high else "never"
