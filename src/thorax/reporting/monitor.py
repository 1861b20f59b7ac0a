"""Monitoring as a page with its figures, and as JSON: numbers about groups of images, none about one."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from thorax.atomic_io import write_json, write_text
from thorax.evaluation.agreement import Agreement
from thorax.evaluation.inputs.reader_words import ReaderAgreement
from thorax.evaluation.monitoring.detection import Detection
from thorax.evaluation.monitoring.monitor import Alarm, Monitoring, Week
from thorax.evaluation.monitoring.weekly import FEWEST_IMAGES, Comparison, Quantity, Window
from thorax.findings import finding_or_new
from thorax.reporting.report import page_templates, refuse_file
from thorax.reporting.summary import interval_json
from thorax.reporting.weekly_figure import daily_svg, weekly_svg

__all__ = [
    "MONITOR_FORMAT",
    "MonitorContext",
    "MonitorFiles",
    "alarm_lines",
    "monitor_headline",
    "monitor_json",
    "render_monitor_html",
    "write_monitor",
]

MONITOR_FORMAT: Final = "thorax-monitor/1"
"""The layout of `monitor.json`; the number increases when the meaning of a key changes."""

_DAYS: Final = 91
_FEWEST_FOR_KAPPA: Final = 5

_SCORES: Final = {
    "upright": "that it is an upright frontal chest radiograph",
    "unlike": "distance from the training images",
    "mirrored": "that it is mirrored",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorContext:
    """What else a page of monitoring says.

    Attributes:
        model: Name of the model.
        sha256: SHA-256 of its bundle.
        of_others: Images of other models in the queue, by name and hash.
        of_later_days: Images that came after today, by a clock that was wrong.
        daily: Objects that came on each day, by day and state.
        readers: How readers agree with the model; None without a file of assessments.
        since: The day from which words of readers are recent.
    """

    model: str
    sha256: str
    of_others: Mapping[tuple[str, str], int]
    of_later_days: int
    daily: Mapping[str, Counter[str]]
    readers: Sequence[ReaderAgreement] | None
    since: date


@dataclass(frozen=True, slots=True)
class MonitorFiles:
    """The files of a result."""

    html: Path
    json: Path


def write_monitor(monitoring: Monitoring, context: MonitorContext, *, out: Path) -> MonitorFiles:
    """Write `report.html` and `monitor.json` into `out`, each atomically.

    Raises:
        DataError: `out` is a file.
    """
    refuse_file(out)
    out.mkdir(parents=True, exist_ok=True)
    files = MonitorFiles(out / "report.html", out / "monitor.json")
    write_text(files.html, render_monitor_html(monitoring, context))
    write_json(files.json, monitor_json(monitoring, context))
    return files


def monitor_headline(monitoring: Monitoring, context: MonitorContext) -> str:
    """Return how many images of which model were compared, and how many alarms there are, as a sentence."""
    week, count = _week_text(monitoring.weeks[-1]), len(monitoring.alarms)
    images = f"{context.model}: {len(monitoring.observations):,} images"
    others, later = sum(context.of_others.values()), context.of_later_days
    without = [f"{others:,} of other models"] if others else []
    without += [f"{later:,} dated after today"] if later else []
    left_out = f" ({' and '.join(without)} left out)" if without else ""
    if not monitoring.latest:
        return f"{images}{left_out}; they are compared with validation from {FEWEST_IMAGES} on"
    return f"{images}{left_out}; {count or 'no'} alarm{'' if count == 1 else 's'} in {week}"


def alarm_lines(monitoring: Monitoring) -> list[str]:
    """Return the alarms of the last look as sentences without their periods."""
    return [_alarm_text(alarm) for alarm in monitoring.alarms]


# ---- the page ----------------------------------------------------------------------------------------


def render_monitor_html(monitoring: Monitoring, context: MonitorContext) -> str:
    """Return the result as one HTML page, which is also well-formed XML and loads no other file."""
    reference = monitoring.reference
    text = (
        page_templates()
        .get_template("monitor.html.j2")
        .render(
            context=context,
            monitoring=monitoring,
            measured_on=reference.measured_on,
            alarms=alarm_lines(monitoring),
            last=_week_text(monitoring.weeks[-1]),
            spans=[_span(window) for window, _ in monitoring.latest],
            findings=list(_finding_rows(monitoring)),
            gate=list(_gate_rows(monitoring)),
            figures=list(_figures(monitoring)),
            weeks=[_week_row(week) for week in reversed(monitoring.weeks)],
            days=daily_svg(context.daily, last=_DAYS),
            day_rows=list(context.daily.items())[: -_DAYS - 1 : -1],
            states=("received", "predicted", "sent", "skipped", "failed"),
            readers=None if context.readers is None else [_reader_row(each) for each in context.readers],
            others=[
                f"{count:,} of {name} ({sha256[:12]})" for (name, sha256), count in context.of_others.items()
            ],
        )
    )
    return text.rstrip() + "\n"


def _span(window: Window) -> str:
    return f"{window.images:,} images, {_day(window.begins)} to {_day(window.ends)}"


def _day(day: date) -> str:
    return f"{day.day} {day:%B %Y}"


def _week_text(week: Week) -> str:
    state = "" if week.look.is_complete else ", which has not ended"
    return f"the week of {_day(week.look.monday)}{state}"


def _label(name: str) -> str:
    return finding_or_new(name).label


@dataclass(frozen=True, slots=True)
class _Cell:
    """A value with its interval, and whether it is an alarm."""

    value: str
    ends: str = ""
    alarm: bool = False


def _cells(monitoring: Monitoring, quantity: Quantity) -> list[_Cell]:
    return [_cell(compared) for _, compared in monitoring.latest_of(quantity)]


def _cell(compared: Comparison) -> _Cell:
    value = compared.value
    if not value.exists:
        return _Cell("n/a")
    if compared.quantity.is_share:
        return _Cell(
            _percent(value.value), f"{_percent(value.low)} to {_percent(value.high)}", compared.is_alarm
        )
    return _Cell(f"{value.value:.2f}", f"{value.low:.2f} to {value.high:.2f}", compared.is_alarm)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _finding_rows(monitoring: Monitoring) -> Iterator[tuple[str, str, list[_Cell], list[_Cell], str]]:
    """Yield label, share called on validation, shares and indices by window, and when a doubling shows."""
    detections = {each.finding: each for each in monitoring.detections}
    for name, finding in monitoring.reference.findings.items():
        yield (
            _label(name),
            "n/a" if finding.positive is None else _percent(finding.positive.value),
            _cells(monitoring, Quantity("positive", name)) or [_Cell("n/a")] * len(monitoring.latest),
            _cells(monitoring, Quantity("probability", name)),
            _shows(detections.get(name), monitoring.weekly),
        )


def _shows(found: Detection | None, weekly: int) -> str:
    if found is None:
        return "not known"
    if found.images is None:
        return "not in 13 weeks"
    weeks = round(found.images / weekly)
    return f"about {found.images:,} images ({weeks} week{'' if weeks == 1 else 's'})"


def _gate_rows(monitoring: Monitoring) -> Iterator[tuple[str, str, list[_Cell]]]:
    gate = monitoring.reference.gate
    if gate is None:
        return
    yield "Held back, %", _percent(gate.held_back.value), _cells(monitoring, Quantity("held back"))
    yield "Warned about, %", _percent(gate.warned.value), _cells(monitoring, Quantity("warned"))
    for name, text in _SCORES.items():
        yield f"Score: {text}", "", _cells(monitoring, Quantity("gate score", name))


def _figures(monitoring: Monitoring) -> Iterator[tuple[str, str]]:
    """Yield a figure of the weekly shares of each finding with a threshold, with its label."""
    for name, finding in monitoring.reference.findings.items():
        if finding.positive is None:
            continue
        points = [week.called[name].value if name in week.called else None for week in monitoring.weeks]
        yield _label(name), weekly_svg(points, expected=finding.positive.value)


def _week_row(week: Week) -> tuple[str, str, str, list[str]]:
    name = _day(week.look.monday) + ("" if week.look.is_complete else " (so far)")
    return name, f"{week.images:,}", f"{week.held_back:,}", [_alarm_text(alarm) for alarm in week.alarms]


def _alarm_text(alarm: Alarm) -> str:
    compared, window = alarm.comparison, alarm.window
    where = f"of {compared.images:,} images from {_day(window.begins)} to {_day(window.ends)}"
    quantity, value = compared.quantity, compared.value
    if not quantity.is_share:
        what = (
            f"probability of {_label(quantity.name)}"
            if quantity.kind == "probability"
            else (f"gate's score {quantity.name}")
        )
        return (
            f"the {what} {where} is distributed otherwise than on validation: stability index "
            f"{value.value:.2f} ({value.low:.2f} to {value.high:.2f})"
        )
    does = {
        "held back": "the gate holds back",
        "warned": "the gate warns about",
        "positive": f"{_label(quantity.name) if quantity.name else ''} is called in",
    }[quantity.kind]
    return (
        f"{does} {_percent(value.value)} % ({_percent(value.low)} to {_percent(value.high)}) {where}; "
        f"{_percent(compared.expected)} % would be expected"
    )


def _reader_row(each: ReaderAgreement) -> tuple[str, list[_Cell], str]:
    cells = [cell for measured in (each.before, each.since) for cell in _agreement_cells(measured)]
    return _label(each.finding), cells, f"{each.after:,}"


def _agreement_cells(measured: Agreement) -> Iterable[_Cell]:
    kappa = measured.kappa
    yield _Cell(f"{measured.agreed:,} of {measured.images:,}" if measured.images else "none")
    if measured.images < _FEWEST_FOR_KAPPA or not kappa.exists:
        yield _Cell("n/a")
    else:
        yield _Cell(f"{kappa.value:.2f}", f"{kappa.low:.2f} to {kappa.high:.2f}")


# ---- JSON --------------------------------------------------------------------------------------------


def monitor_json(monitoring: Monitoring, context: MonitorContext) -> dict[str, Any]:
    """Return the content of `monitor.json`; undefined values are None."""
    return {
        "format": MONITOR_FORMAT,
        "model": {"name": context.model, "sha256": context.sha256},
        "validation": monitoring.reference.measured_on.model_dump(),
        "num_images": len(monitoring.observations),
        "images_of_other_models": [
            {"name": name, "sha256": sha256, "num_images": count}
            for (name, sha256), count in context.of_others.items()
        ],
        "images_of_later_days": context.of_later_days,
        "weekly_images": monitoring.weekly,
        "latest": [
            {**_window_json(window), "comparisons": [_comparison_json(each) for each in compared]}
            for window, compared in monitoring.latest
        ],
        "weeks": [
            {
                "monday": week.look.monday.isoformat(),
                "complete": week.look.is_complete,
                "images": week.images,
                "held_back": week.held_back,
                "alarms": [
                    {**_window_json(alarm.window), **_comparison_json(alarm.comparison)}
                    for alarm in week.alarms
                ],
            }
            for week in monitoring.weeks
        ],
        "doubled_prevalence": {
            each.finding: {"before": each.before, "after": each.after, "images": each.images}
            for each in monitoring.detections
        },
        "days": {day: dict(counts) for day, counts in context.daily.items()},
        "readers": None
        if context.readers is None
        else {
            each.finding: {
                "before": _agreement_json(each.before),
                "since": {"day": context.since.isoformat(), **_agreement_json(each.since)},
                "after_seeing_the_model": each.after,
            }
            for each in context.readers
        },
    }


def _window_json(window: Window) -> dict[str, Any]:
    return {
        "weeks": window.size.weeks,
        "first_day": window.begins.isoformat(),
        "last_day": window.ends.isoformat(),
    }


def _comparison_json(compared: Comparison) -> dict[str, Any]:
    return {
        "quantity": compared.quantity.kind,
        "name": compared.quantity.name,
        "images": compared.images,
        "value": interval_json(compared.value),
        "expected": compared.expected if compared.quantity.is_share else None,
        "p_value": compared.p_value,
        "level": compared.level,
        "alarm": compared.is_alarm,
    }


def _agreement_json(measured: Agreement) -> dict[str, Any]:
    kappa = interval_json(measured.kappa) if measured.images >= _FEWEST_FOR_KAPPA else None
    return {"images": measured.images, "agreed": measured.agreed, "kappa": kappa}
