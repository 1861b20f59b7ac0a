"""A shard in the making: its draft, and the note of what became of its rows."""

import json
import os
from dataclasses import asdict
from pathlib import Path

from thorax.errors import DataError
from thorax.files import replacing, sha256_of_file
from thorax.recipe.schema import Section
from thorax.store.manifest import Plan, Shard, disk_errors, load_section, shard_name
from thorax.store.rows import Outcome

__all__ = ["NOTES", "Note", "ShardDraft", "is_finished", "load_note"]

NOTES = "pixels-*.json"
"""The notes of a folder."""


class Note(Section):
    """What became of a shard's rows: what `finish` needs, and the proof that the shard is whole."""

    shard: Shard
    outcomes: tuple[Outcome, ...]
    """In row order."""


class ShardDraft:
    """A shard that workers are filling, under a temporary name; a slot that none fills stays zero.

    Attributes:
        path: Where the draft is.
        rows: Source rows of the shard.
    """

    def __init__(self, out: Path, plan: Plan, number: int) -> None:
        """Make the draft at its full length.

        Raises:
            DataError: It cannot be written.
        """
        self._final = out / shard_name(number)
        self.path = out / f".{self._final.name}.{os.getpid()}.draft.partial"
        self.rows = plan.rows_of(number)
        self._outcomes: list[Outcome] = []
        with disk_errors(out), self.path.open("wb") as file:
            file.write(plan.shard_header(number))
            file.truncate(plan.shard_bytes(number))

    def add(self, outcome: Outcome) -> None:
        """Keep what became of a row."""
        assert outcome.row in self.rows
        self._outcomes.append(outcome)

    @property
    def is_complete(self) -> bool:
        """Whether every row has its outcome."""
        return len(self._outcomes) == len(self.rows)

    def finish(self) -> None:
        """Give the shard its final name, then write its note; a shard without a note does not count.

        Raises:
            DataError: One of them cannot be written.
        """
        with disk_errors(self._final.parent):
            with replacing(self._final) as temporary:
                self.path.rename(temporary)
            self._write_note(Shard(rows=len(self.rows), sha256=sha256_of_file(self._final)))

    def _write_note(self, shard: Shard) -> None:
        # Row by row: as one value and one text, the note of 4,096 rows takes 5 MB.
        self._outcomes.sort(key=lambda outcome: outcome.row)
        with replacing(_note_path(self._final)) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.write(f'{{"shard": {shard.model_dump_json()}, "outcomes": [')
            for outcome in self._outcomes:
                comma = "," if outcome.row > self.rows.start else ""
                file.write(f"{comma}\n{json.dumps(asdict(outcome))}")
            file.write("\n]}\n")


def _note_path(shard: Path) -> Path:
    return shard.with_suffix(".json")


def load_note(out: Path, number: int) -> Note:
    """Read a shard's note.

    Raises:
        DataError: It is missing or damaged.
    """
    return load_section(Note, _note_path(out / shard_name(number)))


def is_finished(out: Path, plan: Plan, number: int) -> bool:
    """Return whether a shard is there and whole; one that is not is made again."""
    shard = out / shard_name(number)
    if not (shard.is_file() and shard.stat().st_size == plan.shard_bytes(number)):
        return False
    try:
        note = load_note(out, number)
    except DataError:
        return False
    return len(note.outcomes) == len(plan.rows_of(number)) and sha256_of_file(shard) == note.shard.sha256
