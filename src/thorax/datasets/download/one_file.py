"""One file of a data set, from its address to its place: downloaded, checked, unpacked, or found complete."""

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Literal

from thorax.atomic_io import sha256_of_file, write_text
from thorax.datasets.download.addresses import DataSource, RemoteFile
from thorax.datasets.download.archive import DamagedArchive, Unpacked, unpack
from thorax.datasets.download.tally import Tally
from thorax.datasets.download.transfer import Stopped, Transfer, discard, transfer
from thorax.errors import DataError

__all__ = ["FOLDER", "Delivered", "Delivery", "deliver", "is_delivered", "present_bytes"]

FOLDER = "downloaded"
"""Folder within the data set's folder for partial files, checksums, terms and kept archives."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """Where the files of a data set go.

    Attributes:
        source: The data set.
        dest: Its folder.
        keep_archives: Whether archives are kept after unpacking.
        transfer: How its files are downloaded.
        tally: Receives the progress.
    """

    source: DataSource
    dest: Path
    keep_archives: bool
    transfer: Transfer
    tally: Tally


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of one file.

    Attributes:
        kind: "new" if this call brought it, "unchanged" if it was complete, "by hand" without an address.
        num_images: Images that it contains.
        passed_over: Files of an archive that are neither images nor label files.
    """

    kind: Literal["new", "unchanged", "by hand"]
    num_images: int = 0
    passed_over: int = 0


def deliver(file: RemoteFile, to: Delivery) -> Delivered:
    """Bring one file to its place, or check the one in its place.

    Args:
        file: The file.
        to: Where it goes.

    Raises:
        DataError: It cannot be downloaded, is another file than expected, has changed, or is hostile.
        Stopped: The download was asked to stop.
        OSError: It cannot be written.
    """
    return _deliver_label(file, to) if file.unpack_into is None else _deliver_archive(file, to)


def is_delivered(file: RemoteFile, dest: Path) -> bool:
    """Return whether a file is in its place, without checking its bytes."""
    if file.unpack_into is None:
        return (dest / file.name).is_file()
    return _listing(file, dest).is_file() and (dest / file.unpack_into).is_dir()


def present_bytes(file: RemoteFile, dest: Path) -> int:
    """Return how many bytes of a file that is not in its place are here already."""
    paths = (dest / FOLDER / file.name, _partial(file, dest))
    return max((path.stat().st_size for path in paths if path.is_file()), default=0)


def _listing(file: RemoteFile, dest: Path) -> Path:
    return dest / FOLDER / f"{file.stem}.files.sha256"


def _noted_path(file: RemoteFile, dest: Path) -> Path:
    return dest / FOLDER / f"{file.name}.sha256"


def _partial(file: RemoteFile, dest: Path) -> Path:
    return dest / FOLDER / f"{file.name}.partial"


# ---- label files ------------------------------------------------------------------------------------


def _deliver_label(file: RemoteFile, to: Delivery) -> Delivered:
    target, partial = to.dest / file.name, _partial(file, to.dest)
    if target.is_file():
        known = _noted_path(file, to.dest).is_file()
        digest = _checked_digest(file, target, to)
        to.tally.at("checking", file.name, 1, 1, unit="files")
        if not known:
            _write_checksums(_noted_path(file, to.dest), {file.name: digest})
        return Delivered("unchanged" if known else "new")
    if not file.address:
        return Delivered("by hand")
    digest = _download(file, partial, to)
    _write_checksums(_noted_path(file, to.dest), {file.name: digest})
    partial.replace(target)
    discard(partial)
    return Delivered("new")


def _checked_digest(file: RemoteFile, path: Path, to: Delivery) -> str:
    """Return the SHA-256 of an existing file, after comparing it with all that is known of it."""
    digest, reason = _compare(file, path, to)
    if reason:
        raise DataError(
            f"{path} is not the file that was expected: {reason}; move it away to download it, or pass "
            "`addresses` that describe it"
        )
    return digest


def _compare(file: RemoteFile, path: Path, to: Delivery) -> tuple[str, str]:
    """Return the SHA-256 of a file, and why it is not the expected one, or ""."""
    size = path.stat().st_size
    digest, md5 = _digest_of(
        path,
        lambda done: to.tally.at("verifying", file.name, done, size),
        to.transfer.stop,
        with_md5=file.md5 is not None,
    )
    noted = _noted_path(file, to.dest)
    before = next(iter(_read_checksums(noted).values()), digest) if noted.is_file() else digest
    reason = _wrong_checksum(file, path, digest, md5)
    if not reason and before != digest:
        reason = f"its SHA-256 is {digest[:12]}..., but {before[:12]}... was noted in {noted}"
    return digest, reason


def _download(file: RemoteFile, partial: Path, to: Delivery) -> str:
    """Download a file and return its SHA-256; if that is wrong, download it once more from the start."""
    reason = ""
    for _ in range(2):
        transfer(file, partial, to.transfer)
        with partial.open("rb") as content:
            os.fsync(content.fileno())
        digest, reason = _compare(file, partial, to)
        if not reason:
            return digest
        discard(partial)
    raise DataError(
        f"{file.name} was downloaded twice and is not the file that was expected: {reason}; get it from the "
        "source's page, or pass `addresses` that describe it"
    )


# ---- archives ---------------------------------------------------------------------------------------


def _deliver_archive(file: RemoteFile, to: Delivery) -> Delivered:
    assert file.unpack_into is not None  # an archive
    into, archive = to.dest / file.unpack_into, to.dest / FOLDER / file.name
    unpacking = to.dest / FOLDER / f"{file.stem}.unpacking"
    partial = _partial(file, to.dest)
    if is_delivered(file, to.dest):
        digests = _refuse_changed(file, into, to)
        shutil.rmtree(unpacking, ignore_errors=True)
        discard(partial)
        return Delivered("unchanged", num_images=len(digests))
    if into.is_dir() and any(into.iterdir()):
        raise DataError(
            f"{into} exists, but was not unpacked from {file.name} by Thorax; move it away, or leave "
            f"{file.stem} out"
        )
    if not archive.is_file() and not file.address:
        return Delivered("by hand")
    packed = archive if archive.is_file() else _obtain(file, archive, partial, to)
    if packed == archive:
        _checked_digest(file, archive, to)
    unpacked = _unpack(file, packed, unpacking, to)
    _install(file, unpacking, unpacked, to.dest)
    discard(partial)
    return Delivered("new", num_images=len(unpacked.images), passed_over=unpacked.passed_over)


def _refuse_changed(file: RemoteFile, into: Path, to: Delivery) -> dict[str, str]:
    digests = _read_checksums(_listing(file, to.dest))
    changed = _changed_files(
        to.dest,
        digests,
        lambda done: to.tally.at("checking", file.name, done, len(digests), unit="files"),
        to.transfer.stop,
    )
    if changed:
        raise DataError(
            f"{len(changed):,} of {len(digests):,} files of {file.name} are missing or have changed (first: "
            f"{changed[0]}); move {into} away to download them again"
        )
    return {name: digest for name, digest in digests.items() if "/" in name}


def _obtain(file: RemoteFile, archive: Path, partial: Path, to: Delivery) -> Path:
    """Download an archive; it gets its final name only if it is to be kept."""
    digest = _download(file, partial, to)
    _write_checksums(_noted_path(file, to.dest), {f"{FOLDER}/{file.name}": digest})
    if not to.keep_archives:
        return partial
    partial.replace(archive)
    discard(partial)
    return archive


def _unpack(file: RemoteFile, packed: Path, unpacking: Path, to: Delivery) -> Unpacked:
    size = packed.stat().st_size
    try:
        return unpack(
            packed,
            unpacking,
            labels=to.source.labels,
            at=lambda done: to.tally.at("unpacking", file.name, min(done, size), size),
            stop=to.transfer.stop,
        )
    except DataError as error:
        if packed.suffix == ".partial":  # or the same bytes would be unpacked again and again
            discard(packed)
            _noted_path(file, to.dest).unlink(missing_ok=True)
        if isinstance(error, DamagedArchive):
            remedy = "repeat the command to download it again" if packed.suffix == ".partial" else "remove it"
            raise DamagedArchive(f"{error}; {remedy}") from None
        raise


def _install(file: RemoteFile, unpacking: Path, unpacked: Unpacked, dest: Path) -> None:
    """Move unpacked files to their places; the list of checksums and the folder of images mark the end."""
    assert file.unpack_into is not None  # an archive
    for name, digest in unpacked.labels.items():
        target, label = dest / name, unpacking / "labels" / name
        if not target.exists():
            label.replace(target)
        elif sha256_of_file(target) != digest:
            raise DataError(f"{target} exists and differs from the one in {file.name}; move it away")
    images = {f"{file.unpack_into}/{name}": digest for name, digest in unpacked.images.items()}
    _write_checksums(_listing(file, dest), images | unpacked.labels)
    into = dest / file.unpack_into
    into.parent.mkdir(exist_ok=True)
    (unpacking / "images").replace(into)
    shutil.rmtree(unpacking)


_BLOCK = 1 << 22


def _digest_of(
    path: Path, at: Callable[[int], None], stop: Event, *, with_md5: bool = False
) -> tuple[str, str]:
    """Return the SHA-256 of a file, and its MD5 or "".

    Args:
        path: The file.
        at: Receives the bytes read.
        stop: Set to stop.
        with_md5: Whether to compute the MD5.

    Raises:
        Stopped: It was asked to stop.
    """
    sha256, md5, position = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            if stop.is_set():
                raise Stopped
            sha256.update(block)
            if with_md5:
                md5.update(block)
            position += len(block)
            at(position)
    return sha256.hexdigest(), md5.hexdigest() if with_md5 else ""


def _wrong_checksum(file: RemoteFile, path: Path, sha256: str, md5: str) -> str:
    """Return why a file is not the one that was expected, or "" if it is or nothing is known."""
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        return f"it has {size:,} bytes, expected {file.size:,}"
    if file.sha256 and sha256 != file.sha256:
        return f"its SHA-256 is {sha256[:12]}..., expected {file.sha256[:12]}..."
    if file.md5 and md5 and md5 != file.md5:
        return f"its MD5 is {md5}, expected {file.md5}"
    return ""


def _write_checksums(path: Path, digests: Mapping[str, str]) -> None:
    """Write lines that `sha256sum --check` reads, by names relative to the data set's folder."""
    write_text(path, "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items())))


def _read_checksums(path: Path) -> dict[str, str]:
    """Read what `_write_checksums` wrote.

    Raises:
        DataError: The file has something else.
    """
    digests = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        parts = re.fullmatch(r"([0-9a-f]{64})  ([A-Za-z0-9_./-]{1,200})", line)
        if parts is None or parts[2].startswith("/") or ".." in parts[2].split("/"):
            raise DataError(f"{path}, line {number} is not a checksum and a name; remove the file")
        digests[parts[2]] = parts[1]
    return digests


def _changed_files(
    root: Path, digests: Mapping[str, str], at: Callable[[int], None], stop: Event
) -> list[str]:
    """Return the names whose files are missing or have other bytes.

    Args:
        root: The data set's folder.
        digests: SHA-256 by name.
        at: Receives the number of files checked.
        stop: Set to stop.

    Raises:
        Stopped: It was asked to stop.
    """
    changed = []
    for count, (name, digest) in enumerate(digests.items(), start=1):
        path = root / name
        if not path.is_file() or _digest_of(path, lambda _: None, stop)[0] != digest:
            changed.append(name)
        at(count)
    return changed
