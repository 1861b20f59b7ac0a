"""Labels from the assessments that readers made on the page: the CSV that the service exports."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from thorax.datasets.splits import registered_sha256
from thorax.datasets.table import DESCRIPTION, Patients, SampleTable, read_csv, refuse_acting
from thorax.errors import DataError
from thorax.evaluation.inputs.join import Labels
from thorax.findings import Finding, finding_or_new
from thorax.quoting import quoted
from thorax.tabular import open_text, separated_lines

__all__ = ["is_assessments", "read_assessments"]

_NEEDED: Final = ("image", "reader", "finding", "present", "ai_shown", "model", "bundle_sha256")
_DATASET: Final = "assessments"


def is_assessments(path: Path) -> bool:
    """Return whether a CSV has the columns of assessments; False if it cannot be read."""
    try:
        with open_text(path, what="CSV", remedy="export it again") as file:
            separator, lines = separated_lines(file)
            header = next(iter(lines), "").strip().split(separator)
    except (DataError, OSError):
        return False
    return set(_NEEDED) <= {name.strip('"') for name in header}


def read_assessments(path: Path) -> Labels:
    """Read assessments as labels: for each image and finding, what most readers say.

    Of one reader, the last word before seeing the model counts, or else the last one after it; those are
    counted in a warning, since they favor the model that the reader saw. A finding on which equally many
    readers say yes and no, or that all are uncertain of, is not labeled. The file names no patients, so that
    each image counts as one.

    Raises:
        DataError: The file cannot be read, or a row is malformed; the message gives the line.
    """
    rows = read_csv(path, _NEEDED)
    refuse_acting(rows["image"], path, what="image")
    _refuse_others(rows["present"], ("0", "1", ""), path, "present")
    _refuse_others(rows["ai_shown"], ("before", "after"), path, "ai_shown")
    words = _last_words(rows)
    images = list(dict.fromkeys(rows["image"]))
    votes = _votes(words)
    findings = tuple(dict.fromkeys(word.finding for word in words))
    frame = _table_of(images)
    for finding in findings:
        said = [votes.get((image, finding), 0) for image in images]
        labels = [None if vote == 0 else int(vote > 0) for vote in said]
        frame[finding.name] = pd.array(labels, dtype="Int8")
    whole = Patients(tuple(images), tuple(images), ("",) * len(images))
    return Labels(
        SampleTable(frame, findings),
        _DATASET,
        registered_sha256(whole, _DATASET),
        origin=path.name,
        warnings=_warnings(words, ties=sum(vote == 0 for vote in votes.values())),
    )


@dataclass(frozen=True, slots=True)
class _Word:
    """What counts of one reader on one finding in one image."""

    image: str
    finding: Finding
    present: str
    after: bool
    model: str


def _last_words(rows: pd.DataFrame) -> list[_Word]:
    """Return each reader's last word before seeing the model, or else the last one after it."""
    words: dict[tuple[str, Finding, str], _Word] = {}
    columns = ("image", "finding", "reader", "present", "ai_shown", "model", "bundle_sha256")
    for image, name, reader, present, state, model, bundle in zip(
        *(rows[column] for column in columns), strict=True
    ):
        finding = finding_or_new(name)
        key, after = (image, finding, reader), state == "after"
        if key not in words or words[key].after or not after:
            words[key] = _Word(image, finding, present, after, f"{model} ({bundle[:8]})")
    return list(words.values())


def _table_of(images: Sequence[str]) -> pd.DataFrame:
    """Return the columns of a sample table that describe images of which only the names are known."""
    frame = pd.DataFrame({name: pd.Series([""] * len(images), dtype=object) for name in DESCRIPTION})
    frame["image"] = frame["patient"] = pd.Series(images, dtype=object)
    for name in ("age", "follow_up"):
        frame[name] = pd.Series([pd.NA] * len(images), dtype="Int16")
    frame["boxes"] = pd.Series([()] * len(images), dtype=object)
    return frame


def _votes(words: Sequence[_Word]) -> dict[tuple[str, Finding], int]:
    """Return, by image and finding, how many more readers say yes than no; uncertain ones do not vote."""
    votes: dict[tuple[str, Finding], int] = {}
    for word in words:
        if word.present:
            key = (word.image, word.finding)
            votes[key] = votes.get(key, 0) + (1 if word.present == "1" else -1)
    return votes


def _warnings(words: Sequence[_Word], *, ties: int) -> tuple[str, ...]:
    voting = [word for word in words if word.present]
    after = [word for word in voting if word.after]
    models = ", ".join(dict.fromkeys(word.model for word in after))
    warnings = (
        f"{len(after):,} of {len(voting):,} labels were made after the reader saw what the model {models} "
        "says: they favor it, and figures on them do not measure it."
        if after
        else "",
        f"{ties:,} {'label is' if ties == 1 else 'labels are'} left out, because as many readers say yes as "
        "no."
        if ties
        else "",
    )
    return tuple(warning for warning in warnings if warning)


def _refuse_others(texts: pd.Series, allowed: tuple[str, ...], path: Path, column: str) -> None:
    wrong = np.flatnonzero(~texts.isin(allowed).to_numpy())
    if len(wrong):
        known = ", ".join(text or "nothing" for text in allowed)
        raise DataError(
            f"{path}, line {wrong[0] + 2}: {column} is {quoted(texts.iloc[wrong[0]])}; write {known}"
        )
