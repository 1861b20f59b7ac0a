"""Predict what arrives in folders, each file once, until the caller stops."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from thorax.atomic_io import StrPath
from thorax.errors import DataError
from thorax.inference.predictor import Predictor
from thorax.prediction import Prediction
from thorax.workflows.image_list import ImageFile, list_files
from thorax.workflows.predict_folder import Folder, FolderPredictions
from thorax.workflows.predicting import Tally
from thorax.workflows.prediction_journal import Journal
from thorax.workflows.prediction_recorder import Recorder, State, state_of

__all__ = ["refuse_unwatchable", "stopped_by_signals", "watch_folder"]

_EVERY: Final = 1.0
"""Seconds between two looks at the folders; more if listing them takes longer than a tenth of that."""

_SETTLED: Final = 2.0
"""Seconds for which a file must not have changed: until then, it is still being written."""

_SETTLED_EMPTY: Final = 60.0
"""The same for an empty file, which often waits for its first bytes; it is reported as a failure then."""

_SHARE: Final = 20
"""The table and the page are written at most for one second of so many."""

_PAUSE: Final = 1.0
"""Seconds between two writes of the table and the page, at least."""

_UNFINISHED: Final = (".part", ".partial", ".tmp", ".temp", ".filepart", ".crdownload", ".download")
"""Endings that programs give to files while they write them, and that are renamed then."""


def watch_folder(
    predictor: Predictor,
    images: Sequence[StrPath],
    out: StrPath,
    *,
    stop: threading.Event,
    overwrite: bool = False,
    failed: Callable[[str, str], None] | None = None,
    predicted: Callable[[Prediction], None] | None = None,
    **settings: Any,
) -> FolderPredictions:
    """Predict the files in folders, and those that arrive, into a folder as `predict_folder` writes it.

    A file is predicted when it has not changed for two seconds, and again if it changes later. The journal
    knows what is done, so that nothing is predicted twice, also if the process was killed. The table and the
    page are written again as images arrive, and when the caller stops.

    Args:
        predictor: The model.
        images: Files and folders; at least one folder.
        out: See `predict_folder`.
        stop: Ends the call when it is set, after the files that are being computed.
        overwrite: See `predict_folder`.
        failed: Receives each file that could not be predicted, and the reason.
        predicted: Receives each prediction.
        settings: `findings`, `ids`, `overlays` and `device`; see `predict_folder`.

    Raises:
        DataError: See `predict_folder`; or none of the images is a folder.
    """
    paths = list(dict.fromkeys(Path(image) for image in images))
    if not any(path.is_dir() for path in paths):
        refuse_unwatchable(paths[-1])
    folder = Folder(predictor, Path(out), **settings)
    with folder.opened(overwrite=overwrite) as journal:
        recorder = Recorder(
            predictor, journal, folder.pictures(), out=folder.path, ids=folder.ids, failed=failed,
            predicted=None if predicted is None else lambda image: predicted(folder.shown(image.prediction)),
        )  # fmt: skip
        arrivals, pause = _Arrivals(paths, recorder, out=folder.path), 0.0
        results = _Results(folder, journal)
        while not stop.wait(max(_EVERY, pause)):
            began = time.monotonic()
            ready = arrivals.ready()
            pause = 10 * (time.monotonic() - began)
            for _ in recorder.predict(iter(ready)):
                results.are_due = True
                results.write_if_time()
                if stop.is_set():
                    break
            results.write_if_time()
        results.write()
        return FolderPredictions(folder.path, results.tally, 0, folder.without_maps)


def refuse_unwatchable(folder: Path) -> None:
    """Refuse what is not a folder, before any work.

    Raises:
        DataError: It is not a folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder, and only folders can be watched; make it first")


class _Results:
    """Writes the table and the page, not more often than is worth it.

    Attributes:
        tally: What they hold.
        are_due: Whether images were predicted since they were written.
    """

    def __init__(self, folder: Folder, journal: Journal) -> None:
        self._folder = folder
        self._journal = journal
        self._last = self._took = 0.0
        self.tally = Tally()
        self.are_due = True
        self.write()

    def write_if_time(self) -> None:
        """Write them if enough time has passed for what it takes."""
        if time.monotonic() - self._last >= max(_PAUSE, _SHARE * self._took):
            self.write()

    def write(self) -> None:
        """Write them if they are due."""
        if self.are_due:
            began = time.monotonic()
            self.tally, self.are_due = self._folder.write(self._journal), False
            self._last = time.monotonic()
            self._took = self._last - began


class _Arrivals:
    """Files that are new or have changed, and are whole as far as can be seen."""

    def __init__(self, paths: Sequence[Path], recorder: Recorder, *, out: Path) -> None:
        self._paths = paths
        self._recorder = recorder
        self._out = out
        self._since: dict[str, tuple[State, float]] = {}  # and since when it is like that
        self._tried: dict[str, State] = {}

    def ready(self) -> list[ImageFile]:
        """Return the files to predict now."""
        now, waiting, ready = time.monotonic(), self._since, []
        self._since = {}
        for file in list_files(self._paths, failed=lambda _place, _reason: None, without=self._out):
            state = state_of(file.path)
            if self._recorder.has(file, state) or self._tried.get(file.path) == state:
                continue
            earlier = waiting.get(file.path)
            since = earlier[1] if earlier is not None and earlier[0] == state else now
            self._since[file.path] = state, since
            settled = _SETTLED if state[0] else _SETTLED_EMPTY
            if not file.path.lower().endswith(_UNFINISHED) and now - since >= settled:
                del self._since[file.path]
                self._tried[file.path] = state
                self._recorder.expect(file, state)
                ready.append(file)
        return ready


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C and SIGTERM set; a second one of them ends the process at once."""
    stop = threading.Event()

    def ask(number: int, _frame: object) -> None:
        if stop.is_set():
            raise SystemExit(128 + number)
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
