"""Reading archives that may be hostile, and unpacking them: only plain files, in bounded number and size."""

import errno
import gzip
import hashlib
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from threading import Event
from typing import IO, Final

from thorax.datasets.download.transfer import Stopped
from thorax.errors import DataError

__all__ = ["ArchiveMember", "DamagedArchive", "Unpacked", "members", "unpack"]

_MOST_MEMBERS: Final = 250_000
"""More than twice the images of NIH ChestX-ray14."""

_LARGEST_MEMBER: Final = 64 << 20
"""Bytes of one file. NIH's images have at most 4 MiB of pixels, and its label file has 9 MB."""

_LARGEST_HEADER: Final = 4 << 10
"""Bytes of one of tar's headers for long names, which are read into memory."""

_LONGEST_NAME: Final = 1000

_LARGEST_READ: Final = 24 << 20
"""Bytes of the directory of a zip, which is read into memory: it takes about 100 bytes per file."""

_GROWTH: Final = 4
_ALLOWANCE: Final = 64 << 20
"""How far an archive may grow: 4 times its size and 64 MiB. Images in PNG hardly grow."""


class DamagedArchive(DataError):  # noqa: N818  (reads as the sentence it stands for)
    """An archive is incomplete, or its bytes have changed."""


@dataclass(frozen=True, slots=True)
class ArchiveMember:
    """One plain file of an archive.

    Attributes:
        name: Its name in the archive, with slashes; checked, but not to be used as a path.
        size: Its bytes.
        crc: Its CRC-32 in a zip; None in a tar.
        open: Opens its content. A tar gives it only until the next member.
    """

    name: str
    size: int
    crc: int | None
    open: Callable[[], IO[bytes] | None]


def members(path: Path, at: Callable[[int], None]) -> Iterator[ArchiveMember]:
    """Yield the plain files of a .tar.gz or .zip, and check the archive to its end.

    Folders are passed over. Errors of the decoders become Thorax's own only within `_decoder_errors`, because
    the content of a member is read by the caller.

    Args:
        path: The archive, recognized by its first bytes.
        at: Receives the position in the archive.

    Raises:
        DamagedArchive: It is neither a .tar.gz nor a .zip.
        DataError: It has links, devices, names that lead elsewhere, or unusually many or large files.
    """
    with path.open("rb") as file:
        magic = file.read(4)
    if magic.startswith(b"\x1f\x8b"):
        yield from _tar_members(path, at)
    elif magic.startswith(b"PK"):
        yield from _zip_members(path, at)
    else:
        raise DamagedArchive(f"{_shown(path)} is neither a .tar.gz nor a .zip")


@contextmanager
def _decoder_errors(path: Path) -> Iterator[None]:
    """Raise DamagedArchive or DataError for whatever a decoder raises while it reads this archive."""
    try:
        yield
    except (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DamagedArchive(
            f"{_shown(path)} is damaged or incomplete ({error or type(error).__name__})"
        ) from None
    except (RecursionError, NotImplementedError, UnicodeError, ValueError, OverflowError) as error:
        raise _refused(path, f"something that no data set needs ({type(error).__name__})") from None


def _shown(path: Path) -> str:
    return path.name.removesuffix(".partial")


def _refused(path: Path, reason: str) -> DataError:
    return DataError(
        f"{_shown(path)} contains {reason}; nothing of it was used. Get the archive from the source's page"
    )


class _Bounds:
    """Counts what comes out of one archive, and refuses too much."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._left = _GROWTH * path.stat().st_size + _ALLOWANCE
        self._members = 0

    def add_bytes(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise _refused(self._path, f"more than {_GROWTH} times its own size")

    def add_member(self, name: str, size: int) -> None:
        self._members += 1
        if self._members > _MOST_MEMBERS:
            raise _refused(self._path, f"more than {_MOST_MEMBERS:,} files")
        if not 0 <= size <= _LARGEST_MEMBER:
            raise _refused(self._path, f"a file of {size:,} bytes, {name[:80]!r}")
        if not _is_harmless(name):
            raise _refused(self._path, f"a name that leads out of its folder, {name[:80]!r}")


def _is_harmless(name: str) -> bool:
    parts = name.removesuffix("/").split("/")
    return (
        0 < len(name) <= _LONGEST_NAME
        and name.isprintable()
        and not re.search(r"[\\:]", name)
        and all(part not in {"", ".."} for part in parts)
    )


# ---- tar.gz ----------------------------------------------------------------------------------------


class _BoundedStream:
    """The decompressed bytes of a .tar.gz, counted."""

    def __init__(
        self, content: gzip.GzipFile, raw: IO[bytes], bounds: _Bounds, at: Callable[[int], None]
    ) -> None:
        self._content, self._raw, self._bounds, self._at = content, raw, bounds, at

    def read(self, size: int = -1, /) -> bytes:
        block = self._content.read(min(size, 1 << 20) if size >= 0 else 1 << 20)
        self._bounds.add_bytes(len(block))
        self._at(self._raw.tell())
        return block


class _PlainHeader(tarfile.TarInfo):
    """A header of a plain file, a folder or a long name; all others are refused before they are followed."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_PlainHeader":
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if not buf or buf.count(0) == len(buf):  # the end of the archive
                raise
            raise tarfile.ReadError(str(error)) from None  # which tarfile would take for the end
        names = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME)
        if header.type in names and 0 <= header.size <= _LARGEST_HEADER:
            return header
        if header.type in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE, tarfile.DIRTYPE):
            return header
        raise _UnusualHeaderError(header.type)


class _UnusualHeaderError(Exception):
    """A header that is refused."""


def _tar_members(path: Path, at: Callable[[int], None]) -> Iterator[ArchiveMember]:
    bounds = _Bounds(path)
    with path.open("rb") as raw, gzip.GzipFile(fileobj=raw) as content:
        stream = _BoundedStream(content, raw, bounds, at)
        try:
            with tarfile.open(fileobj=stream, mode="r|", tarinfo=_PlainHeader) as tar:  # type: ignore[call-overload]
                while (header := tar.next()) is not None:
                    bounds.add_member(header.name, header.size)
                    if header.isreg() and not header.issparse():
                        yield ArchiveMember(header.name, header.size, None, partial(tar.extractfile, header))
                    elif not header.isdir():
                        raise _refused(path, f"something other than a plain file, {header.name[:80]!r}")
                    tar.members = []  # or it keeps every header in memory
        except _UnusualHeaderError as unusual:
            kind = {
                "1": "a hard link",
                "2": "a symbolic link",
                "3": "a device",
                "4": "a device",
                "6": "a pipe",
            }
            code = unusual.args[0].decode("latin-1")
            raise _refused(path, kind.get(code, f"a header of the kind {code!r}")) from None
        while stream.read(1 << 20):  # to the checksum at the end
            pass


# ---- zip -------------------------------------------------------------------------------------------


class _BoundedFile:
    """A file that is never read into memory in large pieces, because a zip says how long its directory is."""

    def __init__(self, raw: IO[bytes], path: Path) -> None:
        self._raw, self._path = raw, path
        self.seek, self.tell, self.seekable = raw.seek, raw.tell, raw.seekable

    def read(self, size: int = -1, /) -> bytes:
        if size > _LARGEST_READ:
            raise _refused(self._path, "a directory of unusual size")
        return self._raw.read(size if size >= 0 else _LARGEST_READ)


def _zip_members(path: Path, at: Callable[[int], None]) -> Iterator[ArchiveMember]:
    bounds = _Bounds(path)
    with path.open("rb") as raw, zipfile.ZipFile(_BoundedFile(raw, path)) as archive:
        for entry in archive.infolist():
            bounds.add_member(entry.filename, entry.file_size)
            bounds.add_bytes(entry.file_size)
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if entry.flag_bits & 0x1:
                raise _refused(path, f"an encrypted file, {entry.filename[:80]!r}")
            if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
                raise _refused(path, f"something other than a plain file, {entry.filename[:80]!r}")
            if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
                raise _refused(path, f"an unusual compression, of {entry.filename[:80]!r}")
        for entry in archive.infolist():
            if not entry.is_dir():
                yield ArchiveMember(entry.filename, entry.file_size, entry.CRC, partial(archive.open, entry))
            at(entry.header_offset + entry.compress_size)


_IMAGE: Final = re.compile(r"\d{8}_\d{3}\.png")
"""Name of an image of NIH ChestX-ray14: patient and follow-up."""

_BLOCK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What came out of an archive.

    Attributes:
        images: SHA-256 of each image by name, all in one folder.
        labels: SHA-256 of each label file by name.
        passed_over: How many files are neither.
    """

    images: dict[str, str]
    labels: dict[str, str]
    passed_over: int


def unpack(
    archive: Path,
    folder: Path,
    *,
    labels: Collection[str],
    at: Callable[[int], None],
    stop: Event,
) -> Unpacked:
    """Write the images of an archive to `folder`/images and its label files to `folder`/labels.

    Where an image is in the archive does not matter, only its name does. What an interrupted call left in
    `folder` is used where the archive has a checksum for it, and replaced otherwise.

    Args:
        archive: A .tar.gz or .zip, which may be hostile.
        folder: A folder of ours, created if it does not exist.
        labels: Names of the label files.
        at: Receives the position in the archive.
        stop: Set to stop.

    Raises:
        DamagedArchive: The archive is incomplete or its checksum is wrong.
        DataError: It contains something that no data set needs, two images of one name, or no image.
        Stopped: Unpacking was asked to stop.
        OSError: The files cannot be written.
    """
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    images: dict[str, str] = {}
    found_labels: dict[str, str] = {}
    passed_over = 0
    with _decoder_errors(archive):
        for member in members(archive, at):
            if stop.is_set():
                raise Stopped
            name = PurePosixPath(member.name).name
            digests = images if _IMAGE.fullmatch(name) else found_labels if name in labels else None
            if digests is None:
                passed_over += 1
                continue
            target = folder / ("images" if digests is images else "labels") / name
            digest = _digest_if_same(target, member) or _write(member, target)
            if digests.setdefault(name, digest) != digest:
                raise DataError(
                    f"{archive.name} has two different files {name}; nothing of it was used. Get the archive "
                    "from the source's page"
                )
    if not images:
        raise DataError(f"{archive.name} contains no image such as 00000001_000.png; nothing of it was used")
    _remove_others(folder / "images", images)
    _remove_others(folder / "labels", found_labels)
    os.sync()  # once for all files, before the archive may be deleted
    return Unpacked(images, found_labels, passed_over)


def _write(member: ArchiveMember, target: Path) -> str:
    digest, size = hashlib.sha256(), 0
    try:
        content = member.open()
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise DamagedArchive(
            f"{member.name[:80]!r} is said to begin where the archive has no place"
        ) from error
    assert content is not None  # a plain file
    with content, target.open("wb") as out:
        while block := content.read(_BLOCK):
            size += len(block)
            if size > member.size:
                break
            digest.update(block)
            out.write(block)
    if size != member.size:
        raise DamagedArchive(f"{member.name[:80]!r} does not have its stated length of {member.size:,} bytes")
    return digest.hexdigest()


def _digest_if_same(target: Path, member: ArchiveMember) -> str | None:
    """Return the SHA-256 of a file that is there already, if it is this member of a zip."""
    if member.crc is None or not target.is_file() or target.stat().st_size != member.size:
        return None
    content = target.read_bytes()
    return hashlib.sha256(content).hexdigest() if zlib.crc32(content) == member.crc else None


def _remove_others(folder: Path, names: Collection[str]) -> None:
    """Remove what an earlier version of the archive left."""
    for entry in list(os.scandir(folder)):
        if entry.name not in names:
            shutil.rmtree(entry) if entry.is_dir(follow_symlinks=False) else Path(entry).unlink()
