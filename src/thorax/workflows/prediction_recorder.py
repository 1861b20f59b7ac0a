"""Predicts the files that a journal does not have, with their pictures, and adds them."""

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

from thorax.atomic_io import is_remote
from thorax.cluster import Cluster, Lost, run_units
from thorax.imaging.identity import read_identity
from thorax.inference.predictor import Predictor
from thorax.objects.place import place_of
from thorax.workflows.image_list import ImageFile, list_files
from thorax.workflows.predict_elsewhere import FilesUnit, PredictingWith, failures, predict_unit
from thorax.workflows.predicting import FilePrediction, predict_listed
from thorax.workflows.prediction_journal import JOURNAL, Journal
from thorax.workflows.prediction_pictures import Glance, Pictures, glance_at
from thorax.workflows.prediction_rows import Noted, noted

__all__ = ["Recorder", "State", "state_of"]

_TOGETHER: Final = 32
"""Files that are noted in the journal at once: those that the predictor computes together, never fewer.

So what is continued after a kill is computed in the same company, and equal to the last bit.
"""

State = tuple[int, int]
"""Size and modification time of a file."""

_Item = TypeVar("_Item")


class Recorder:
    """Predicts files into a journal.

    Args:
        predictor: The model.
        journal: The journal.
        pictures: Writes the pictures.
        out: The folder that is written, whose pictures are not images to predict.
        ids: Whether to note identifiers.
        failed: Receives each failure.
        predicted: Receives each prediction.

    Attributes:
        skipped: Files that the journal has, of the latest call.
        lost: Folders and addresses that are not files, of the latest call.
    """

    def __init__(
        self,
        predictor: Predictor,
        journal: Journal,
        pictures: Pictures,
        *,
        out: Path,
        ids: bool,
        failed: Callable[[str, str], None] | None = None,
        predicted: Callable[[FilePrediction[Glance]], None] | None = None,
    ) -> None:
        self.skipped = 0
        self.lost = 0
        self._predictor = predictor
        self._journal = journal
        self._pictures = pictures
        self._out = out
        self._ids = ids
        self._failed = failed
        self._predicted = predicted
        self._states: dict[str, State] = {}
        self._studies = _Studies(journal)

    def lose(self, place: str, reason: str) -> None:
        """Count and report what was given and has no file."""
        self.lost += 1
        if self._failed is not None:
            self._failed(place, reason)

    def predict(self, files: Iterator[ImageFile]) -> Generator[int, None, None]:
        """Predict files, and yield the number of those that are done after each chunk."""
        computed = 0
        for chunk in _chunks(predict_listed(self._predictor, files, glance_at), _TOGETHER):
            numbers = [self._journal.number_of(outcome.file.place) for outcome in chunk]
            self._append(noted(chunk, numbers, self._pictures, ids=self._ids))
            for outcome in chunk:
                if isinstance(outcome, FilePrediction) and self._predicted is not None:
                    self._predicted(outcome)
            computed += len(chunk)
            yield computed

    def predict_elsewhere(
        self, files: Iterator[ImageFile], tools: PredictingWith, cluster: Cluster
    ) -> Generator[int, None, None]:
        """Predict files over a cluster, as `predict` does: in the same order, with the same numbers.

        Raises:
            DataError: A node sees none of the files of a unit, or not the model or the folder.
            ServiceError: There is no such cluster, or it has no room.
        """
        units = (
            FilesUnit(tuple(chunk), tuple(self._journal.number_of(file.place) for file in chunk))
            for chunk in _chunks(files, _TOGETHER)
        )
        work, sees = partial(predict_unit, tools), [tools.bundle.folder, tools.out / JOURNAL]
        with closing(run_units(cluster, work, units, sees=sees, ordered=True)) as results:
            computed = 0
            for unit, result in results:
                self._append(failures(unit, result) if isinstance(result, Lost) else result)
                computed += len(unit.files)
                yield computed

    def has(self, file: ImageFile, state: State) -> bool:
        """Return whether a file is done, and has not changed since."""
        return self._journal.has(file.place, state)

    def expect(self, file: ImageFile, state: State) -> None:
        """Note the state in which a file is predicted: it may change while it is read."""
        self._states[file.place] = state

    def new_files(self, paths: Sequence[Path]) -> Iterator[ImageFile]:
        """Yield new files and, after them, those that failed or have changed.

        So the new ones are computed in the same company as without an interruption.
        """
        self.skipped = self.lost = 0
        again: list[ImageFile] = []
        for file in list_files(paths, failed=self.lose, without=self._out):
            state = file.state or state_of(file.path)
            if self.has(file, state) or file.place in self._states:
                self.skipped += 1
            else:
                self.expect(file, state)
                if self._journal.knows(file.place):
                    again.append(file)
                else:
                    yield file
        yield from again

    def _append(self, rows: Sequence[Noted]) -> None:
        """Add the rows of files that were computed together, and report the failures among them."""
        for one in rows:
            row = one.row
            state = self._states.pop(row["place"], None) or one.state or state_of(row["path"])
            row["size"], row["time"] = state
            if "study" in row:
                row["study"] = self._studies.number(one.study_uid)
        self._journal.append([one.row for one in rows])
        for one in rows:
            if one.row.get("reason") and self._failed is not None:
                self._failed(one.row["path"], one.row["reason"])


class _Studies:
    """Numbers of studies, in the order in which they are first seen.

    A journal has the numbers and, unless they were asked for, not the UIDs. Those of a resumed journal are
    read again from the first image of each study that is still there and as it was.
    """

    def __init__(self, journal: Journal) -> None:
        self._numbers: dict[str, int] = {}
        known: set[int] = set()
        self._next = 1
        for row in journal.rows():
            number = row.get("study", 0)
            self._next = max(self._next, number + 1)
            if number and number not in known and state_of(row["place"]) == (row["size"], row["time"]):
                known.add(number)
                uid = read_identity(row["place"]).study_uid
                if uid:
                    self._numbers[uid] = number

    def number(self, uid: str) -> int:
        """Return the number of a study; 0 without its UID."""
        if not uid:
            return 0
        if uid not in self._numbers:
            self._numbers[uid] = self._next
            self._next += 1
        return self._numbers[uid]


def state_of(path: str) -> State:
    """Return size and modification time of a file; zeros if it is gone, which is then a failure."""
    if is_remote(path):
        from thorax.objects.client import described

        found = described(place_of(path))
        return (found.size, found.mtime_ns) if found else (0, 0)
    try:
        status = os.stat(path)  # noqa: PTH116  (a path that is too long)
    except (OSError, ValueError):
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _chunks(items: Iterator[_Item], size: int) -> Iterator[list[_Item]]:
    while chunk := list(islice(items, size)):
        yield chunk
