"""Unpacking archives: images and label files are recognized by name, and written only where we decide."""

import hashlib
import os
import re
import shutil
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from threading import Event
from typing import Final

from thorax.datasets.download.archive import ArchiveMember, DamagedArchive, decoder_errors, members
from thorax.datasets.download.transfer import Stopped
from thorax.errors import DataError

__all__ = ["Unpacked", "unpack"]

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
    with decoder_errors(archive):
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
    content = member.open()
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
