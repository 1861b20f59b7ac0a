"""Checksums of what was downloaded, noted at first and checked after, in the format of `sha256sum`."""

import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event

from thorax.atomic_io import write_text
from thorax.datasets.download.addresses import RemoteFile
from thorax.datasets.download.transfer import Stopped
from thorax.errors import DataError

__all__ = ["changed_files", "digest_of", "read_checksums", "write_checksums", "wrong_checksum"]

_BLOCK = 1 << 22


def digest_of(
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


def wrong_checksum(file: RemoteFile, path: Path, sha256: str, md5: str) -> str:
    """Return why a file is not the one that was expected, or "" if it is or nothing is known."""
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        return f"it has {size:,} bytes, expected {file.size:,}"
    if file.sha256 and sha256 != file.sha256:
        return f"its SHA-256 is {sha256[:12]}..., expected {file.sha256[:12]}..."
    if file.md5 and md5 and md5 != file.md5:
        return f"its MD5 is {md5}, expected {file.md5}"
    return ""


def write_checksums(path: Path, digests: Mapping[str, str]) -> None:
    """Write lines that `sha256sum --check` reads, by names relative to the data set's folder."""
    write_text(path, "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items())))


def read_checksums(path: Path) -> dict[str, str]:
    """Read what `write_checksums` wrote.

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


def changed_files(
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
        if not path.is_file() or digest_of(path, lambda _: None, stop)[0] != digest:
            changed.append(name)
        at(count)
    return changed
