"""The report of an evaluation: `metrics.json` for programs, `report.html` and `report.md` for people."""

from dataclasses import dataclass
from pathlib import Path

from thorax.atomic_io import write_json, write_text
from thorax.errors import DataError
from thorax.evaluation.evaluate import Context, Evaluation
from thorax.reporting.gallery import Gallery
from thorax.reporting.html import AuditLines, render_html
from thorax.reporting.markdown import render_markdown
from thorax.reporting.metrics import metrics

__all__ = ["ReportFiles", "refuse_file", "write_report"]


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """The files of a report.

    Attributes:
        metrics: All numbers, as JSON.
        html: One page that needs neither other files nor a network.
        markdown: The tables, for a repository or a paper's supplement.
    """

    metrics: Path
    html: Path
    markdown: Path


def write_report(
    evaluation: Evaluation,
    context: Context,
    *,
    out: Path,
    audit: AuditLines | None = None,
    gallery: Gallery | None = None,
) -> ReportFiles:
    """Write `metrics.json`, `report.html` and `report.md` into `out`, each atomically.

    The same evaluation and context give the same bytes.

    Args:
        evaluation: The numbers.
        context: Their context.
        out: The folder; created if it does not exist.
        audit: What the audit found; None if there was none.
        gallery: Examples with maps, for the HTML page only; None leaves them out.

    Raises:
        DataError: `out` is a file.
    """
    refuse_file(out)
    out.mkdir(parents=True, exist_ok=True)
    files = ReportFiles(out / "metrics.json", out / "report.html", out / "report.md")
    write_text(files.html, render_html(evaluation, context, audit=audit, gallery=gallery))
    write_text(files.markdown, render_markdown(evaluation, context, audit=audit))
    write_json(files.metrics, metrics(evaluation, context))
    return files


def refuse_file(out: Path) -> None:
    """Refuse an output folder that is a file.

    Raises:
        DataError: `out` is a file.
    """
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file; give a folder for the report")
