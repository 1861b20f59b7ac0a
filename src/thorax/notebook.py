"""HTML representations of results in notebooks.

A result's `_repr_html_` returns `page(title, piece, ...)`. Anything that is not `Html` is escaped here, once.
Text and lines inherit the page's color, so that the same HTML works in light and dark notebooks.
"""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from thorax.quoting import visible_lines

__all__ = [
    "Html",
    "Markdown",
    "facts",
    "markup",
    "notes",
    "page",
    "probability_bar",
    "shortened",
    "table",
    "texts",
]

_STYLE: Final = """
.thorax{font-size:13px;line-height:1.45;max-width:60em}
.thorax p{margin:.15em 0}
.thorax .title{font-weight:600;font-size:14px;overflow-wrap:anywhere}
.thorax .note{opacity:.75}
.thorax .scroll{overflow-x:auto}
.thorax table{border-collapse:collapse;border:0;margin:.4em 0;font-size:inherit}
.thorax tr{background:none!important}
.thorax th,.thorax td{border:0;padding:.12em 1.1em .12em 0;text-align:right!important}
.thorax th,.thorax td{font-weight:normal;white-space:nowrap}
.thorax th:first-child,.thorax td:first-child{text-align:left!important}
.thorax thead th{opacity:.7;border-bottom:1px solid rgba(128,128,128,.6)}
.thorax .facts td,.thorax .texts td,.thorax .texts th{text-align:left!important;white-space:normal}
.thorax .texts td{vertical-align:top}
.thorax .facts th{opacity:.7;vertical-align:top}
.thorax .bar{display:inline-block;position:relative;width:9em;height:.65em;border-radius:2px}
.thorax .bar{background:rgba(128,128,128,.22)}
.thorax .bar i{position:absolute;left:0;top:0;bottom:0;background:#3987cf;border-radius:2px}
.thorax .bar b{position:absolute;top:-.2em;bottom:-.2em;width:2px;margin-left:-1px;background:currentColor}
.thorax svg{display:block;max-width:100%;height:auto;margin:.4em 0}
.thorax svg text{fill:currentColor;font:12px sans-serif}
.thorax svg .grid{stroke:currentColor;stroke-opacity:.18;fill:none}
.thorax svg .chance{stroke:currentColor;stroke-opacity:.7;stroke-dasharray:2 3;fill:none}
.thorax svg .whisker,.thorax svg .curve{stroke:#3987cf;stroke-width:2;fill:none}
.thorax svg .dot,.thorax svg text.named{fill:#3987cf}
.thorax svg .curve.other{stroke:#d9822b}
.thorax svg text.other{fill:#d9822b}
.thorax img{max-width:100%;height:auto}
"""


class Html(str):
    """Text that is already HTML and must not be escaped."""

    __slots__ = ()


class Markdown(str):
    """Markdown text, which a notebook renders."""

    __slots__ = ()

    def _repr_markdown_(self) -> str:
        return str(self)


def markup(text: str) -> Html:
    """Return text as HTML, escaped unless it is `Html`."""
    return text if isinstance(text, Html) else Html(escape(visible_lines(text)))


def page(title: str, *pieces: Html) -> str:
    """Return the HTML that a notebook shows for a result.

    Args:
        title: The first line.
        pieces: The HTML below it.
    """
    heading = f'<p class="title">{markup(title)}</p>'
    return f'<div class="thorax"><style>{_STYLE}</style>{heading}{"".join(pieces)}</div>'


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Html:
    """Return a table with text in its first column and numbers in the others."""
    head = "".join(f"<th>{markup(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(f'<td>{markup(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return Html(
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def texts(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Html:
    """Return a table of sentences, or nothing if there are no rows."""
    if not rows:
        return Html("")
    head = "".join(f"<th>{markup(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(f'<td>{markup(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return Html(f'<table class="texts"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>')


def facts(pairs: Iterable[tuple[str, str]]) -> Html:
    """Return names with their values, one pair per line."""
    rows = "".join(f"<tr><th>{markup(name)}</th><td>{markup(value)}</td></tr>" for name, value in pairs)
    return Html(f'<table class="facts"><tbody>{rows}</tbody></table>')


def notes(texts: Iterable[str]) -> Html:
    """Return paragraphs of small print, leaving out empty texts."""
    return Html("".join(f'<p class="note">{markup(text)}</p>' for text in texts if text))


def probability_bar(probability: float, threshold: float | None) -> Html:
    """Return a bar whose length is a probability in [0, 1], with a mark at the threshold if there is one."""
    mark = "" if threshold is None else f'<b style="left:{100 * min(max(threshold, 0.0), 1.0):.1f}%"></b>'
    return Html(f'<span class="bar"><i style="width:{100 * probability:.1f}%"></i>{mark}</span>')


def shortened(text: str, length: int = 60) -> str:
    """Return text cut to `length` characters, keeping its end, since the end of a path says most."""
    return text if len(text) <= length else f"...{text[3 - length :]}"
