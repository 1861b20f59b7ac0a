"""What is known about a path, as values that are printed or written as JSON."""

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from thorax.notebook import facts, notes, page
from thorax.quoting import with_addresses

__all__ = ["Fact", "Info"]


_COLUMNS: Final = 80
_AROUND: Final = 4
"""Columns of the spaces before and after a label."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that is known.

    Attributes:
        name: Its key in JSON, such as "num_images".
        value: Its value in JSON.
        text: The value for people; made from the value if empty.
        label: What people call it; made from the name if empty.
    """

    name: str
    value: Any
    text: str = ""
    label: str = ""

    def line(self) -> tuple[str, str]:
        """Return the label and the text."""
        label = self.label or self.name.removeprefix("num_").replace("_", " ")
        return f"{label[:1].upper()}{label[1:]}", self.text or _shown(self.value)


@dataclass(frozen=True, slots=True)
class Info:
    """What a path holds. Nothing in it is about a patient.

    Attributes:
        path: The path.
        kind: What it is, in one word or two: "bundle", "run", "store", "report", "image"...
        summary: The same in a sentence without its period.
        facts: What is known about it, in the order in which people read it.
        warnings: What is wrong or in doubt, sentences without their periods.
        next_step: A command to run next; "" without one.
    """

    path: Path
    kind: str
    summary: str
    facts: tuple[Fact, ...] = ()
    warnings: tuple[str, ...] = ()
    next_step: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return everything as values of JSON."""
        return {
            "path": with_addresses(str(self.path)),
            "kind": self.kind,
            "summary": self.summary,
            **{fact.name: fact.value for fact in self.facts},
            "warnings": list(self.warnings),
            "next": self.next_step or None,
        }

    def lines(self) -> Iterator[str]:
        """Yield lines of at most 80 columns for people: the summary, and the facts; no word is broken."""
        yield f"{self.path}: {self.summary}"
        width = max((len(fact.line()[0]) for fact in self.facts), default=0) + _AROUND
        for label, text in (fact.line() for fact in self.facts):
            yield from textwrap.wrap(
                text,
                _COLUMNS,
                initial_indent=f"  {label}".ljust(width),
                subsequent_indent=" " * width,
                break_long_words=False,
                break_on_hyphens=False,
            )

    def _repr_html_(self) -> str:
        return page(
            f"{self.path}: {self.summary}",
            facts([fact.line() for fact in self.facts]),
            notes(f"{warning[:1].upper()}{warning[1:]}." for warning in self.warnings),
        )


def _shown(value: Any) -> str:
    match value:
        case Mapping():
            return ", ".join(f"{name} {_shown(item)}" for name, item in value.items()) or "none"
        case list() | tuple():
            return ", ".join(map(_shown, value)) or "none"
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
    return "n/a" if value is None else str(value)
