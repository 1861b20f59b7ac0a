"""Downloading a data set: several files at once, checked, unpacked, and resumed by the same call."""

import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Final

from thorax.atomic_io import StrPath, exclusive_lock, write_text
from thorax.datasets.download.addresses import DataSource, RemoteFile
from thorax.datasets.download.connection import Patience
from thorax.datasets.download.kaggle_key import KaggleKey, find_kaggle_key, missing_key
from thorax.datasets.download.one_file import (
    FOLDER,
    Delivered,
    Delivery,
    deliver,
    is_delivered,
    present_bytes,
)
from thorax.datasets.download.tally import DOWNLOADING, Tally
from thorax.datasets.download.transfer import Stopped, Transfer
from thorax.errors import DataError, ThoraxError
from thorax.progress import ProgressCallback

__all__ = ["DownloadSummary", "download_data_set", "terms_of"]

_JOIN: Final = 2.0
"""Seconds that an interrupted call waits for its threads. One that waits for a server writes nothing more."""


@dataclass(frozen=True, slots=True)
class DownloadSummary:
    """What a download did.

    Attributes:
        downloaded: Names of the files that were downloaded, unpacked or taken over by this call.
        unchanged: Names of the files that were complete already and have the same checksums as then.
        by_hand: Names of the files without a known address, which only the source's page has.
        failed: Why files could not be downloaded or are damaged, by name.
        num_images: Images of the chosen files that are in the data set's folder.
        notices: Further sentences for the user.
    """

    downloaded: tuple[str, ...]
    unchanged: tuple[str, ...]
    by_hand: tuple[str, ...]
    failed: Mapping[str, str]
    num_images: int
    notices: tuple[str, ...] = ()


def download_data_set(  # noqa: PLR0913  (all but two by keyword)
    source: DataSource,
    dest: StrPath,
    *,
    only: Sequence[str] = (),
    workers: int = 3,
    keep_archives: bool = False,
    patience: Patience | None = None,
    progress: ProgressCallback | None = None,
) -> DownloadSummary:
    """Download a data set into a folder that `thorax.prepare` reads. If interrupted, the same call resumes.

    Label files go to `dest`, images to folders in it. Partial files, checksums and the terms are in
    `dest`/downloaded. A file that is there already is checked against the checksum noted at first and left as
    it is; nothing is overwritten. One file that fails does not stop the others.

    Args:
        source: What to download, from `load_source`.
        dest: The data set's folder; created if it does not exist.
        only: Archives to download, such as "images_001"; all if empty. Label files always come along.
        workers: Files at once.
        keep_archives: Keep archives in `dest`/downloaded after unpacking them.
        patience: How long to wait for a server.
        progress: Receives the bytes downloaded and unpacked, and the files checked.

    Raises:
        DataError: A name in `only` does not exist, the files do not fit on the disk, a required key is
            missing, `dest` has another source, or another process is downloading into `dest`.
    """
    dest = Path(dest)
    files = _chosen(source, only)
    key = _key(source)
    if dest.exists() and not dest.is_dir():
        raise DataError(f"{dest} is a file; give a folder")
    _refuse_other_source(source, dest)
    _refuse_full_disk(dest, files, workers=workers, keep_archives=keep_archives)
    (dest / FOLDER).mkdir(parents=True, exist_ok=True)
    with exclusive_lock(dest / FOLDER, doing="downloading into"):
        for remains in (dest / FOLDER).glob(".*.partial"):  # of a killed process, which held the lock
            remains.unlink()
        write_text(dest / FOLDER / "source.txt", f"{source.name}\n")
        write_text(dest / FOLDER / "terms.txt", terms_of(source))
        missing = [file for file in files if not is_delivered(file, dest)]
        stop, tally = (
            Event(),
            Tally(progress, {file.name: file.size or 0 for file in missing if file.address}),
        )
        shared = _shared_transfer(source, dest, key, patience or Patience(), stop, tally)
        to = Delivery(source, dest, keep_archives, shared, tally)
        outcomes = _in_threads(files, lambda file: deliver(file, to), workers=workers, stop=stop)
    return _summary(files, outcomes, key)


def terms_of(source: DataSource) -> str:
    """Return what to show before a download: what it is, from where, and what its provider requests."""
    untried = (
        "\nWe have not tried the addresses. If one has moved, correct it in a file of your own and "
        "pass it as `addresses`.\n"
    )
    text = f"{source.title}\n{source.page}\n\n{source.terms}\n{source.citation}\n"
    return text if source.tried else text + untried


def _chosen(source: DataSource, only: Sequence[str]) -> tuple[RemoteFile, ...]:
    """Return the label files and the archives that are named; images_1 and images_001 are one name."""
    if not only:
        return source.files
    archives = {_plain(file.stem): file for file in source.files if file.unpack_into is not None}
    unknown = [name for name in only if _plain(name) not in archives]
    if unknown:
        raise DataError(
            f"{source.name} has no archive {unknown[0]!r}; `only` can name "
            f"{', '.join(file.stem for file in archives.values())}"
        )
    names = {_plain(name) for name in only}
    return tuple(file for file in source.files if file.unpack_into is None or _plain(file.stem) in names)


def _refuse_other_source(source: DataSource, dest: Path) -> None:
    """Refuse a second source in one folder: it would have every image twice."""
    noted = dest / FOLDER / "source.txt"
    name = (
        noted.read_text(encoding="utf-8", errors="replace").strip()[:80] if noted.is_file() else source.name
    )
    if name != source.name:
        raise DataError(f"{dest} has {name} already; choose another folder for {source.name}")


def _plain(name: str) -> str:
    return re.sub(r"_0*(?=\d)", "_", name)


def _key(source: DataSource) -> KaggleKey | None:
    if source.key == "none":
        return None
    key = find_kaggle_key(os.environ, Path.cwd())
    if key is None and source.key == "required":
        raise DataError(missing_key(os.environ, Path.cwd()))
    return key


def _refuse_full_disk(dest: Path, files: Sequence[RemoteFile], *, workers: int, keep_archives: bool) -> None:
    """Refuse a download whose known sizes do not fit, before its first byte.

    PNG hardly compresses, so that unpacked images take as much as their archive. Archives that are not kept
    are on the disk only while they are worked on.
    """
    missing = [file for file in files if not is_delivered(file, dest)]
    archives = sorted((file.size or 0 for file in missing if file.unpack_into is not None), reverse=True)
    packed = sum(archives if keep_archives else archives[:workers])
    labels = sum(file.size or 0 for file in missing if file.unpack_into is None)
    needed = labels + packed + sum(archives) - sum(present_bytes(file, dest) for file in missing)
    free = _free_bytes(dest)
    if needed > free:
        raise DataError(
            f"the download needs about {needed / 1e9:,.1f} GB with its unpacked images, but the disk of "
            f"{dest} has {free / 1e9:,.1f} GB free; free some, choose another folder, or name fewer archives "
            "as `only`"
        )


def _free_bytes(path: Path) -> int:
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(existing).free


def _shared_transfer(
    source: DataSource, dest: Path, key: KaggleKey | None, patience: Patience, stop: Event, tally: Tally
) -> Transfer:
    def refuse_full_disk(file: RemoteFile, to_come: int, total: int) -> None:
        needed, free = to_come + (total if file.unpack_into is not None else 0), _free_bytes(dest)
        if needed > free:
            raise DataError(
                f"{file.name} needs {needed / 1e9:,.2f} GB with what it contains, but the disk of {dest} has "
                f"{free / 1e9:,.2f} GB free; free some, then repeat the command"
            )

    if key is not None:
        no_access = (
            f"the key from {key.place} was not accepted; get a new one at https://www.kaggle.com/settings, "
            f"or open {source.page} once while logged in"
        )
    elif source.key == "optional":
        no_access = missing_key(os.environ, Path.cwd())
    else:
        no_access = f"get the file from {source.page}"
    return Transfer(
        key=key,
        patience=patience,
        stop=stop,
        answered=Event(),
        at=lambda name, done, total: tally.at(DOWNLOADING, name, done, total),
        note=lambda name, text: tally.note(name, key.hidden_in(text) if key else text),
        refuse_full_disk=refuse_full_disk,
        no_access=no_access,
    )


def _in_threads(
    files: Sequence[RemoteFile], work: Callable[[RemoteFile], Delivered], *, workers: int, stop: Event
) -> dict[str, Delivered | str]:
    """Return the outcome of each file, or why it failed.

    The threads are daemons: an interrupted program does not wait for servers that do not answer.
    """
    waiting: SimpleQueue[RemoteFile] = SimpleQueue()
    for file in files:
        waiting.put(file)
    outcomes: dict[str, Delivered | str] = {}
    errors: list[BaseException] = []

    def run() -> None:
        try:
            while not stop.is_set():
                file = waiting.get_nowait()
                outcomes[file.name] = _outcome(file, work)
        except (Empty, Stopped):
            return
        except BaseException as error:  # noqa: BLE001  (raised again in the caller's thread)
            errors.append(error)
            stop.set()

    threads = [Thread(target=run, daemon=True) for _ in range(min(workers, len(files)))]
    for thread in threads:
        thread.start()
    _join(threads, stop)
    if errors:
        raise errors[0]
    return outcomes


def _outcome(file: RemoteFile, work: Callable[[RemoteFile], Delivered]) -> Delivered | str:
    try:
        return work(file)
    except ThoraxError as error:
        return str(error)
    except OSError as error:  # such as a full disk
        return f"{error.filename or file.name}: {error.strerror or error}; what arrived is kept"


def _join(threads: Sequence[Thread], stop: Event) -> None:
    try:
        for thread in threads:
            while thread.is_alive():
                thread.join(0.1)
    except BaseException:  # such as Ctrl-C
        stop.set()
        for thread in threads:
            thread.join(_JOIN)
        raise


def _summary(
    files: Sequence[RemoteFile], outcomes: Mapping[str, Delivered | str], key: KaggleKey | None
) -> DownloadSummary:
    done = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, Delivered)}
    names = [file.name for file in files if file.name in done]
    passed_over = sum(outcome.passed_over for outcome in done.values())
    failed = {file.name: str(outcomes[file.name]) for file in files if file.name not in done}
    if key:
        failed = {name: key.hidden_in(reason) for name, reason in failed.items()}
    notices = [key.warning] if key and key.warning else []
    if passed_over:
        notices.append(
            f"{passed_over:,} files of the archives are neither images nor labels and were left out"
        )
    return DownloadSummary(
        downloaded=tuple(name for name in names if done[name].kind == "new"),
        unchanged=tuple(name for name in names if done[name].kind == "unchanged"),
        by_hand=tuple(name for name in names if done[name].kind == "by hand"),
        failed=failed,
        num_images=sum(outcome.num_images for outcome in done.values()),
        notices=tuple(notices),
    )
