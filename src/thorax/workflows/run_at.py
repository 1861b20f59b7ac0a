"""Training runs at s3://: trained in a folder of this disk, and copied there while they go on."""

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from thorax.atomic_io import StrPath, is_remote
from thorax.bundle.files import MANIFEST
from thorax.errors import DataError
from thorax.objects.cache import work_folder
from thorax.objects.client import list_below, put
from thorax.objects.files import fetch_folder
from thorax.objects.mirror import named_as
from thorax.objects.place import Place, place_of
from thorax.run_files import LOG
from thorax.training.launched import launched

__all__ = ["run_at"]

_EVERY: Final = 10.0
"""Seconds between two looks at what is new."""

_COPIED: Final = 1 << 24
"""Bytes up to which a file is copied before it is sent, since it may grow, as a log does."""


@contextmanager
def run_at(out: StrPath, *, resume: bool) -> Iterator[Path]:
    """Yield the folder in which a run is trained; for a folder of this disk, that one.

    What is new is copied there every ten seconds and at the end: checkpoints before the
    log and the manifest of the bundle last; so the run can be resumed on any machine. After a run that has
    finished, the folder of this disk is removed.

    Args:
        out: Where the run is to be: a folder, or an address.
        resume: Whether the run may be there already.

    Raises:
        DataError: Something is at the address, and `resume` is not set; or it cannot be read or written.
    """
    started = launched()
    if started is not None and started.place:  # its launcher does what follows
        with named_as(place_of(started.place), Path(out)):
            yield Path(out)
        return
    if not is_remote(out) or (started is not None and not started.is_first):
        yield Path(out)
        return
    place = place_of(out)
    there = {listed.name: listed for listed in list_below(place)}
    if there and not resume and not (started and started.restarts):
        raise DataError(
            f"{place} is not empty (it has {min(there)}); set `resume` to continue a run there, or give "
            "another address"
        )
    with work_folder(place, doing="training for") as folder:
        logs = [name for name in there if name.rpartition("/")[2] == LOG]
        if any(there[name].size > _bytes(folder / name) for name in logs):  # it went on elsewhere
            shutil.rmtree(folder)
            folder.mkdir()
            fetch_folder(place, folder, wanted=lambda listed: not listed.name.endswith(".partial"))
        copier = _Copier(folder, place)
        try:
            with named_as(place, folder):
                yield folder
        finally:
            copier.close()
        shutil.rmtree(folder)
        folder.mkdir()


def _bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


class _Copier:
    """A thread that copies what is new in a folder to a place.

    Args:
        folder: The folder.
        place: The place.
    """

    def __init__(self, folder: Path, place: Place) -> None:
        self._folder, self._place = folder, place
        self._sent: dict[str, tuple[int, int]] = {}
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._work, name="s3-run")
        self._thread.start()

    def close(self) -> None:
        """Copy the rest.

        Raises:
            DataError: It cannot be written; it stays in the folder.
        """
        self._ends.set()
        self._thread.join()
        try:
            self._copy_new()
        except DataError as error:
            raise DataError(f"{error}; until then the run is in {self._folder}") from error

    def _work(self) -> None:
        while not self._ends.wait(_EVERY) and threading.main_thread().is_alive():
            try:
                self._copy_new()
            except DataError:  # it is tried again, and said at the end
                continue

    def _copy_new(self) -> None:
        for path in sorted(self._files(), key=_turn):
            name = str(path.relative_to(self._folder))
            try:
                status = path.stat()
                state = status.st_size, status.st_mtime_ns
                if self._sent.get(name) == state:
                    continue
                with tempfile.TemporaryDirectory(dir=self._folder.parent) as beside:
                    snapshot = Path(beside) / path.name
                    if status.st_size <= _COPIED:
                        shutil.copyfile(path, snapshot)
                    else:
                        os.link(path, snapshot)
                    put(snapshot, self._place / name)
            except FileNotFoundError:  # replaced or removed meanwhile
                continue
            self._sent[name] = state

    def _files(self) -> Iterator[Path]:
        return (file for file in self._folder.rglob("*") if file.is_file() and file.suffix != ".partial")


def _turn(path: Path) -> tuple[bool, bool, str]:
    """Return when a file is sent: logs after checkpoints, of which the best comes first; manifests last."""
    return path.name == MANIFEST, path.name == LOG, str(path)
