"""What an audit says: problems, each with what to do, and what was and was not looked at."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from thorax.findings import finding_or_new
from thorax.notebook import Html, notes, page, table, texts

__all__ = ["AUDIT_FORMAT", "Audit", "Prevalence", "Problem", "Severity", "few", "found", "prevalence_table"]

AUDIT_FORMAT: Final = "thorax-audit/1"
"""What the JSON of an audit calls its own layout; the number rises when a key changes its meaning."""

Severity = Literal["error", "warning", "note"]
"""An error makes figures wrong; a warning can; a note is for the reader of the figures."""

_ORDER: Final[tuple[Severity, ...]] = ("error", "warning", "note")
_EXAMPLES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong, or that a reader should know.

    Attributes:
        severity: Whether figures are wrong, may be, or need the remark.
        kind: A short name that stays the same over versions, such as "patients-in-two-parts".
        what: What is wrong, with the values, in one sentence.
        count: How many patients, images, rows or findings it concerns.
        examples: At most five of them.
        remedy: What to do next.
    """

    severity: Severity
    kind: str
    what: str
    count: int
    examples: tuple[str, ...] = ()
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prevalence:
    """How often a finding is labelled in one part.

    Attributes:
        finding: The finding's name.
        part: The part of the split.
        num_known: Images of the part with a label, present or absent.
        num_positive: Those of them with the finding.
    """

    finding: str
    part: str
    num_known: int
    num_positive: int

    @property
    def share(self) -> float:
        """The prevalence in [0, 1]; NaN where no image has a label."""
        return self.num_positive / self.num_known if self.num_known else float("nan")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Audit:
    """What was found wrong with a split, a store and what a model made of them.

    Attributes:
        dataset: Name of the data set.
        split: Name of the split, or "lists" for lists of images that have none.
        split_sha256: SHA-256 of the whole split.
        num_images: Images of each part that are in the store.
        problems: What was found, the gravest first.
        checked: What was looked at.
        unchecked: What was not, and why.
        prevalence: How often each finding is labelled in each part.
    """

    dataset: str
    split: str
    split_sha256: str
    num_images: Mapping[str, int]
    problems: tuple[Problem, ...]
    checked: tuple[str, ...]
    unchecked: tuple[str, ...]
    prevalence: tuple[Prevalence, ...]

    def __post_init__(self) -> None:
        """Put the gravest problems first; among equals the order stays."""
        ordered = sorted(self.problems, key=lambda problem: _ORDER.index(problem.severity))
        object.__setattr__(self, "problems", tuple(ordered))

    def __repr__(self) -> str:
        return f"Audit({self.headline})"

    def _repr_html_(self) -> str:
        rows = [
            (problem.severity, problem.what, problem.remedy, ", ".join(problem.examples))
            for problem in self.problems
        ]
        looked = [
            f"Looked at: {'; '.join(self.checked)}.",
            *(f"Not looked at: {line}." for line in self.unchecked),
        ]
        return page(
            self.headline,
            texts(("Severity", "What is wrong", "What to do", "Examples"), rows),
            table(*prevalence_table(self)) if self.prevalence else Html(""),
            notes(looked),
        )

    @property
    def failed(self) -> bool:
        """Whether there is an error among the problems."""
        return self.count("error") > 0

    def count(self, severity: Severity) -> int:
        """Return how many problems have this severity."""
        return sum(problem.severity == severity for problem in self.problems)

    @property
    def headline(self) -> str:
        """The outcome in one sentence, with the split and its hash."""
        counts = [(self.count(severity), severity) for severity in _ORDER]
        found = ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for count, name in counts)
        images = ", ".join(f"{part} {count:,}" for part, count in self.num_images.items())
        return f"{found}: split {self.split} ({self.split_sha256[:12]}) of {self.dataset}; images: {images}"

    def as_json(self) -> dict[str, Any]:
        """Return the content of the audit's JSON."""
        return {
            "format": AUDIT_FORMAT,
            "dataset": self.dataset,
            "split": {"name": self.split, "sha256": self.split_sha256},
            "num_images": dict(self.num_images),
            "failed": self.failed,
            "problems": [
                {
                    "severity": problem.severity,
                    "kind": problem.kind,
                    "what": problem.what,
                    "count": problem.count,
                    "examples": list(problem.examples),
                    "remedy": problem.remedy,
                }
                for problem in self.problems
            ],
            "checked": list(self.checked),
            "unchecked": list(self.unchecked),
            "prevalence": [
                {
                    "finding": each.finding,
                    "part": each.part,
                    "num_known": each.num_known,
                    "num_positive": each.num_positive,
                }
                for each in self.prevalence
            ],
        }


def prevalence_table(audit: Audit) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return header and rows: for each finding its positives and their share in each part."""
    parts = list(dict.fromkeys(cell.part for cell in audit.prevalence))
    counted = {(cell.finding, cell.part): cell for cell in audit.prevalence}
    findings = list(dict.fromkeys(cell.finding for cell in audit.prevalence))
    rows = []
    for finding in findings:
        cells = [counted[finding, part] for part in parts]
        rows.append(
            (
                finding_or_new(finding).label,
                *(f"{cell.num_positive:,} ({cell.share:.1%})" if cell.num_known else "n/a" for cell in cells),
            )
        )
    return ("Finding", *parts), rows


def few(examples: Iterable[str]) -> tuple[str, ...]:
    """Return the first five examples in sorted order."""
    return tuple(sorted(examples)[:_EXAMPLES])


def found(severity: Severity, kind: str, items: Collection[str], *, what: str, remedy: str) -> list[Problem]:
    """Return the one problem that these items have, with their number and some of them; none without items.

    Args:
        severity: See `Problem`.
        kind: See `Problem`.
        items: What it concerns, each as an example would name it.
        what: See `Problem`.
        remedy: See `Problem`.
    """
    if not items:
        return []
    examples = few(items)
    return [
        Problem(severity=severity, kind=kind, what=what, count=len(items), examples=examples, remedy=remedy)
    ]
