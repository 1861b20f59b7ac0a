"""The result of an audit: problems with their remedies, and what was and was not checked."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from thorax.findings import finding_or_new
from thorax.notebook import Html, notes, page, table, texts
from thorax.wording import percent

__all__ = ["AUDIT_FORMAT", "Audit", "Prevalence", "Problem", "Severity", "prevalence_table", "problem_if_any"]

AUDIT_FORMAT: Final = "thorax-audit/1"
"""Format of an audit's JSON; the number increases when a key changes its meaning."""

Severity = Literal["error", "warning", "note"]
"""An error invalidates results; a warning may; a note is for the reader of the results."""

_ORDER: Final[tuple[Severity, ...]] = ("error", "warning", "note")
_EXAMPLES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One error, or one thing that a reader should know.

    Attributes:
        severity: Whether results are wrong, may be wrong, or need the remark.
        kind: A short name that is stable across versions, such as "patients-in-two-parts".
        what: What is wrong, with the values, in one sentence.
        count: Number of patients, images, rows or findings affected.
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
    """How often a finding is labeled in one part.

    Attributes:
        finding: The finding's name.
        part: The part of the split.
        num_known: Images of the part that are labeled present or absent.
        num_positive: Images of the part that are labeled present.
    """

    finding: str
    part: str
    num_known: int
    num_positive: int

    @property
    def share(self) -> float:
        """The prevalence in [0, 1]; NaN if no image has a label."""
        return self.num_positive / self.num_known if self.num_known else float("nan")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Audit:
    """The problems of a split, a store and a model's output.

    Attributes:
        dataset: Name of the data set.
        split: Name of the split, or "lists" for lists of images without one.
        split_sha256: SHA-256 of the whole split.
        num_images: Images of each part that are in the store.
        problems: The problems, most severe first.
        checked: What was checked.
        unchecked: What was not, and why.
        prevalence: How often each finding is labeled in each part.
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
        """Sort the problems by severity, most severe first; the sort is stable."""
        ordered = sorted(self.problems, key=lambda problem: _ORDER.index(problem.severity))
        object.__setattr__(self, "problems", tuple(ordered))

    def __repr__(self) -> str:
        return f"Audit({self.headline})"

    def _repr_html_(self) -> str:
        rows = [
            (problem.severity, problem.what, problem.remedy, ", ".join(problem.examples))
            for problem in self.problems
        ]
        coverage = [
            f"Checked: {'; '.join(self.checked)}.",
            *(f"Not checked: {line}." for line in self.unchecked),
        ]
        return page(
            self.headline,
            texts(("Severity", "What is wrong", "What to do", "Examples"), rows),
            table(*prevalence_table(self)) if self.prevalence else Html(""),
            notes(coverage),
        )

    @property
    def failed(self) -> bool:
        """Whether any of the problems is an error."""
        return self.count("error") > 0

    def count(self, severity: Severity) -> int:
        """Return how many problems have this severity."""
        return sum(problem.severity == severity for problem in self.problems)

    @property
    def headline(self) -> str:
        """The outcome in one sentence, with the split and its hash."""
        counts = [(self.count(severity), severity) for severity in _ORDER]
        severities = ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for count, name in counts)
        images = ", ".join(f"{part} {count:,}" for part, count in self.num_images.items())
        split = f"split {self.split} ({self.split_sha256[:12]}) of {self.dataset}"
        return f"{severities}: {split}; images: {images}"

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
                    "finding": prevalence.finding,
                    "part": prevalence.part,
                    "num_known": prevalence.num_known,
                    "num_positive": prevalence.num_positive,
                }
                for prevalence in self.prevalence
            ],
        }


def prevalence_table(audit: Audit) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return header and rows: positives and prevalence of each finding in each part."""
    parts = list(dict.fromkeys(cell.part for cell in audit.prevalence))
    by_cell = {(cell.finding, cell.part): cell for cell in audit.prevalence}
    findings = list(dict.fromkeys(cell.finding for cell in audit.prevalence))
    rows = []
    for finding in findings:
        cells = [by_cell[finding, part] for part in parts]
        rows.append(
            (
                finding_or_new(finding).label,
                *(
                    f"{cell.num_positive:,} ({percent(cell.share)})" if cell.num_known else "n/a"
                    for cell in cells
                ),
            )
        )
    return ("Finding", *parts), rows


def _first_examples(examples: Iterable[str]) -> tuple[str, ...]:
    """Return the first five examples in sorted order."""
    return tuple(sorted(examples)[:_EXAMPLES])


def problem_if_any(
    severity: Severity, kind: str, items: Collection[str], *, what: str, remedy: str
) -> list[Problem]:
    """Return one problem with the number of items and examples, or an empty list if there are no items.

    Args:
        severity: See `Problem`.
        kind: See `Problem`.
        items: What is affected, each named as an example would be.
        what: See `Problem`.
        remedy: See `Problem`.
    """
    if not items:
        return []
    examples = _first_examples(items)
    return [
        Problem(severity=severity, kind=kind, what=what, count=len(items), examples=examples, remedy=remedy)
    ]
