"""Calibration at a site as a page with its curve, Markdown, JSON, CSV and rows of a terminal table."""

import csv
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from thorax.atomic_io import write_json, write_text
from thorax.evaluation.calibration.adjust import LogitAdjustment
from thorax.evaluation.calibration.site import SiteMeasurement
from thorax.evaluation.evaluate import Context
from thorax.evaluation.statistics.intervals import LEVEL, Interval
from thorax.notebook import Html, notes, page, table
from thorax.reporting.figures import svg_file
from thorax.reporting.panels import PanelColumn, PanelRow, panels_svg
from thorax.reporting.report import page_templates, refuse_file
from thorax.reporting.site_json import site_json
from thorax.reporting.summary import AuditLines, audit_headline, markdown_cell, markdown_table, number_json
from thorax.wording import percent

__all__ = [
    "NO_AUDIT",
    "SITE_HEADER",
    "SiteFiles",
    "audit_text",
    "curve_svg",
    "curve_text",
    "not_said",
    "render_site_html",
    "site_columns",
    "site_html",
    "site_markdown",
    "site_rows",
    "site_title",
    "write_site",
]

SITE_HEADER: Final = ("Finding", "Observed", "Observed : expected", "In the large", "Slope", "Adjusted by")
"""Headings of the columns of `site_rows`; intervals are 95 %."""

NO_AUDIT: Final = (
    "No audit was made, because all images of the store are measured, without a split to check. Patients and "
    "images that the bundle saw are refused."
)
"""Said where an audit would be shown."""

_CURVE_NAMES: Final = {"auto": "By the data", "intercept": "Intercept", "slope": "Slope", "all": "Both"}


@dataclass(frozen=True, slots=True)
class SiteFiles:
    """The files of a result."""

    json: Path
    csv: Path
    markdown: Path
    html: Path
    svg: Path
    """Written if there is a curve."""


def write_site(
    name: str, measurement: SiteMeasurement, context: Context, *, out: Path, audit: AuditLines | None
) -> SiteFiles:
    """Write `site.json`, `.csv`, `.md`, `.html` and, if there is a curve, `.svg`, each atomically.

    The same numbers, context and audit (None: none was made) give the same bytes.

    Raises:
        DataError: `out` is a file.
    """
    refuse_file(out)
    out.mkdir(parents=True, exist_ok=True)
    files = SiteFiles(*(out / f"site.{kind}" for kind in ("json", "csv", "md", "html", "svg")))
    if measurement.curve:
        write_text(files.svg, svg_file(curve_svg(measurement)))
    else:
        files.svg.unlink(missing_ok=True)  # of an earlier result
    write_text(files.html, render_site_html(name, measurement, context, audit))
    write_text(files.markdown, site_markdown(name, measurement, context, audit))
    write_text(files.csv, _csv(measurement))
    write_json(files.json, site_json(name, measurement, context, audit))
    return files


def site_title(name: str, measurement: SiteMeasurement, context: Context) -> str:
    """Return the site, its images, and the change of log loss by adjusting, with its interval."""
    adjusted = [one.finding for one in measurement.findings if one.adjustment.kind != "none"]
    change = _signed(measurement.mean_log_loss_change, digits=4)
    return (
        f"{name}: {context.where}, {measurement.num_images:,} images of {measurement.num_patients:,} "
        f"patients; {len(adjusted)} of {len(measurement.findings)} findings are adjusted"
        + (f", which changes the mean log loss of left-out patients by {change}" if adjusted else "")
    )


def site_rows(measurement: SiteMeasurement) -> list[tuple[str, ...]]:
    """Return one row per finding; see `SITE_HEADER`."""
    return [
        (
            one.finding.label,
            f"{one.num_positive:,} of {one.num_known:,}",
            _plain(one.observed_expected),
            _signed(one.in_the_large),
            _plain(one.slope),
            _adjusted(one.adjustment),
        )
        for one in measurement.findings
    ]


def curve_text(measurement: SiteMeasurement) -> str:
    """Say how many local patients it takes."""
    if measurement.no_curve:
        return f"How many patients an adjustment takes is not known: {measurement.no_curve}."
    most = max(point.num_patients for point in measurement.curve)
    needed = measurement.patients_needed
    if needed is None:
        return (
            f"Even {most:,} patients did not make an adjustment by the data lower the mean log loss of the "
            f"others in {100 * LEVEL:.0f} % of the draws: keep the probabilities as they are, or collect "
            "more."
        )
    return (
        f"From {needed:,} patients on, an adjustment by the data lowered the mean log loss of the others in "
        f"at least {100 * LEVEL:.0f} % of the draws."
    )


def audit_text(audit: AuditLines | None) -> str:
    """Return what an audit found, in one line; of None, why none was made."""
    return NO_AUDIT if audit is None else f"{audit_headline(audit)}."


def not_said(measurement: SiteMeasurement) -> list[str]:
    """Say what the data cannot say, one sentence per reason with the findings that it holds for."""
    reasons: dict[str, list[str]] = {}
    for one in measurement.findings:
        for reason in one.not_said:
            reasons.setdefault(reason, []).append(one.finding.label)
    every = len(measurement.findings)
    return [
        f"These data do not say {reason} ({'every finding' if len(labels) == every else ', '.join(labels)})."
        for reason, labels in reasons.items()
    ]


def curve_svg(measurement: SiteMeasurement) -> str:
    """Return the change of log loss by the number of patients; one figure for each adjustment."""
    groups = [list(points) for _, points in groupby(measurement.curve, key=lambda point: point.rule)]
    columns = [
        PanelColumn(_CURVE_NAMES[points[0].rule], [f"{point.num_patients}" for point in points])
        for points in groups
    ]
    row = PanelRow(
        "Change of the mean log loss of left-out patients, by the number of patients fitted on",
        [[point.change for point in points] for points in groups],
    )
    return panels_svg(columns, [row], panel_width=300)


def site_columns(measurement: SiteMeasurement) -> dict[str, list[Any]]:
    """Return one row per finding."""
    findings = measurement.findings
    columns: dict[str, list[Any]] = {
        "finding": [one.finding.name for one in findings],
        "images": [one.num_known for one in findings],
        "observed": [one.num_positive for one in findings],
        "expected": [one.expected for one in findings],
        "positive_patients": [one.positive_patients for one in findings],
        "negative_patients": [one.negative_patients for one in findings],
    }
    for name in ("observed_expected", "in_the_large", "slope", "log_loss_change"):
        intervals: list[Interval] = [getattr(one, name) for one in findings]
        columns[name] = [interval.value for interval in intervals]
        columns[f"{name}_low"] = [interval.low for interval in intervals]
        columns[f"{name}_high"] = [interval.high for interval in intervals]
    columns["adjusted"] = [one.adjustment.kind for one in findings]
    columns["new_intercept"] = [one.adjustment.intercept for one in findings]
    columns["new_slope"] = [one.adjustment.slope for one in findings]
    columns["reason"] = [one.adjustment.reason for one in findings]
    return columns


def site_markdown(name: str, measurement: SiteMeasurement, context: Context, audit: AuditLines | None) -> str:
    """Return the result as Markdown."""
    lines = [
        *not_said(measurement),
        curve_text(measurement),
        f"Images: sha256 {context.images_sha256}",
        *([f"Labels: {context.labels.summary}, sha256 {context.labels.sha256}"] if context.labels else []),
        f"Model: {context.model.name}, sha256 {context.model.bundle_sha256}",
    ]
    pieces = [
        f"# {markdown_cell(name)}\n",
        markdown_cell(site_title(name, measurement, context)) + ".\n",
        f"**{markdown_cell(audit_text(audit))}**\n",
        *(f"- {severity}: {markdown_cell(text)}\n" for severity, text in audit or ()),
        *(f"**{markdown_cell(warning)}**\n" for warning in context.notes),
        markdown_table(SITE_HEADER, site_rows(measurement)),
        markdown_table(_LOSS_HEADER, _loss_rows(measurement)),
    ]
    if measurement.curve:
        pieces.append(markdown_table(_CURVE_HEADER, _curve_rows(measurement)))
    return "\n".join([*pieces, "".join(f"- {markdown_cell(line)}\n" for line in lines)])


def render_site_html(
    name: str, measurement: SiteMeasurement, context: Context, audit: AuditLines | None
) -> str:
    """Return the result as one HTML page, which is also well-formed XML and loads no other file."""
    text = (
        page_templates()
        .get_template("site.html.j2")
        .render(
            name=name,
            context=context,
            measurement=measurement,
            title=site_title(name, measurement, context),
            header=SITE_HEADER,
            rows=site_rows(measurement),
            loss_header=_LOSS_HEADER,
            loss_rows=_loss_rows(measurement),
            figure=curve_svg(measurement) if measurement.curve else "",
            curve_text=curve_text(measurement),
            curve_header=_CURVE_HEADER,
            curve_rows=_curve_rows(measurement),
            not_said=not_said(measurement),
            audit=audit,
            audit_text=audit_text(audit),
            audit_errors=[text for severity, text in audit or () if severity == "error"],
        )
    )
    return text.rstrip() + "\n"


def site_html(name: str, measurement: SiteMeasurement, context: Context, audit: AuditLines | None) -> str:
    """Return the tables and the curve for a notebook."""
    figure = [Html(curve_svg(measurement))] if measurement.curve else []
    return page(
        site_title(name, measurement, context),
        table(SITE_HEADER, site_rows(measurement)),
        *figure,
        notes([curve_text(measurement), *not_said(measurement), audit_text(audit), *context.notes]),
    )


_LOSS_HEADER: Final = ("Finding", "Log loss", "Change by adjusting", "Why")
_CURVE_HEADER: Final = ("Adjusted by", "Patients", "Mean log loss, change (95 % of draws)", "Better in")


def _loss_rows(measurement: SiteMeasurement) -> list[tuple[str, ...]]:
    rows = [
        (
            one.finding.label,
            "n/a" if math.isnan(one.log_loss_before) else f"{one.log_loss_before:.4f}",
            _signed(one.log_loss_change, digits=4),
            one.adjustment.reason or "as requested",
        )
        for one in measurement.findings
    ]
    return [*rows, ("Mean", "", _signed(measurement.mean_log_loss_change, digits=4), "")]


def _curve_rows(measurement: SiteMeasurement) -> list[tuple[str, ...]]:
    return [
        (
            _CURVE_NAMES[point.rule],
            f"{point.num_patients:,}",
            _signed(point.change, digits=4),
            percent(point.share_better, 0),
        )
        for point in measurement.curve
    ]


def _csv(measurement: SiteMeasurement) -> str:
    columns = site_columns(measurement)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow([number_json(cell) if isinstance(cell, float) else cell for cell in row])
    return text.getvalue()


def _adjusted(adjustment: LogitAdjustment) -> str:
    match adjustment.kind:
        case "none":
            return "nothing"
        case "intercept":
            return f"intercept {adjustment.intercept:+.2f}"
        case "slope":
            return f"slope {adjustment.slope:.2f}"
        case "all":
            return f"both {adjustment.intercept:+.2f}, {adjustment.slope:.2f}"


def _plain(interval: Interval) -> str:
    """Write "0.94 (0.81 to 1.09)", or "below 0.24" where only the upper end says anything."""
    return _text(interval, lambda number: f"{number:.2f}", lowest=0.0)


def _signed(interval: Interval, *, digits: int = 2) -> str:
    """Write "-0.06 (-0.21 to +0.09)", or "below -1.90"."""
    return _text(interval, lambda number: f"{number:+.{digits}f}", lowest=-math.inf)


def _text(interval: Interval, write: Callable[[float], str], *, lowest: float) -> str:
    if not interval.exists:
        return "n/a"
    if math.isnan(interval.low):
        return f"{write(interval.value)} (n/a)" if math.isfinite(interval.value) else "n/a"
    if interval.value == lowest == interval.low:
        return f"below {write(interval.high)}"
    if math.isinf(interval.value):
        return f"above {write(interval.low)}"
    high = f"to {write(interval.high)}" if math.isfinite(interval.high) else "or more"
    return f"{write(interval.value)} ({write(interval.low)} {high})"
