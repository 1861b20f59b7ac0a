"""Puts a received object into the queue: its file is flushed to disk and named before its sender hears so."""

import errno
import hashlib
import os
import re
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom.dataset import FileDataset

from thorax.atomic_io import sync_folder
from thorax.errors import ImageError
from thorax.imaging.dicom.header import texts_of
from thorax.imaging.dicom.parsing import parse_header
from thorax.imaging.quiet import libraries_silenced
from thorax.pacs.node.queue import Queue
from thorax.pacs.node.records import Received
from thorax.pacs.node.settings import NodeSettings

__all__ = ["BUSY", "FAILED", "STORED", "TOO_LARGE", "Answer", "Arrival", "store"]

_UID: Final = re.compile(r"[0-9.]{1,64}")
_FULL: Final = {errno.ENOSPC, errno.EDQUOT}

_OUT_OF_RESOURCES: Final = 0xA700
_UNLIKE_ITS_CLASS: Final = 0xA900
_NOT_UNDERSTOOD: Final = 0xC000
_FAILED: Final = 0x0110


@dataclass(frozen=True, slots=True)
class Answer:
    """What a sender hears.

    Attributes:
        status: The status of C-STORE (PS3.4 B.2.3).
        comment: Why, for Error Comment; "" for success.
        event: What the log calls it.
    """

    status: int
    comment: str
    event: str


STORED: Final = Answer(0x0000, "", "received")
KNOWN: Final = Answer(0x0000, "", "received again")
FULL: Final = Answer(_OUT_OF_RESOURCES, "the disk is full", "disk full")
BUSY: Final = Answer(_OUT_OF_RESOURCES, "too many bytes at once", "busy")
TOO_LARGE: Final = Answer(0xC010, "the object is too large", "too large")
FAILED: Final = Answer(_FAILED, "the object cannot be stored", "not stored")


@dataclass(frozen=True, slots=True)
class Arrival:
    """An object as it came over the network.

    Attributes:
        head: Preamble, prefix and meta information of its file.
        content: The encoded data set.
        sop_class: The SOP class that the sender's request names.
        sop_uid: The SOP Instance UID that it names.
        calling: AE title of the sender.
    """

    head: bytes
    content: memoryview
    sop_class: str
    sop_uid: str
    calling: str


def store(queue: Queue, settings: NodeSettings, arrival: Arrival) -> Answer:
    """Store an object and add it to the queue, unless it is known; return what its sender hears.

    Success means that file and row are flushed to disk. The file is written under a temporary name first, so
    that a process that ends at any moment leaves either an object or nothing: its sender was not answered,
    and sends it again.
    """
    size = len(arrival.head) + len(arrival.content)
    if size > settings.max_bytes:
        return TOO_LARGE
    refusal, study_uid = _checked(arrival)
    if refusal:
        return refusal
    sha256 = hashlib.sha256(arrival.content).hexdigest()
    if queue.knows(arrival.sop_uid, sha256):
        return KNOWN
    if not settings.has_space(size):
        return FULL
    received = Received(
        sop_uid=arrival.sop_uid, sha256=sha256, study_uid=study_uid, calling=arrival.calling, size=size
    )
    return _added(queue, received, arrival)


def _added(queue: Queue, received: Received, arrival: Arrival) -> Answer:
    try:
        _write(queue.file_of(received.sha256), arrival)
        return STORED if queue.add(received) else KNOWN
    except OSError as error:
        return FULL if error.errno in _FULL else FAILED
    except sqlite3.OperationalError as error:
        return FULL if error.sqlite_errorcode == sqlite3.SQLITE_FULL else FAILED


def _checked(arrival: Arrival) -> tuple[Answer | None, str]:
    """Return why an object is refused, or None and its Study Instance UID."""
    try:
        with libraries_silenced():
            dataset = parse_header(arrival.head + bytes(arrival.content[:_HEADER]))
            sop_class, sop_uid, study_uid = (
                _uid(dataset, keyword) for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID")
            )
    except ImageError:
        return Answer(_NOT_UNDERSTOOD, "the header has too many elements", "not understood"), ""
    except Exception:  # noqa: BLE001  (its text may quote the object)
        return Answer(_NOT_UNDERSTOOD, "the data set cannot be read", "not understood"), ""
    if not sop_uid or not study_uid:
        missing = "SOP" if study_uid else "Study"
        return Answer(_NOT_UNDERSTOOD, f"{missing} Instance UID is missing", "not understood"), ""
    if (sop_class, sop_uid) != (arrival.sop_class, arrival.sop_uid):
        return Answer(_UNLIKE_ITS_CLASS, "its UIDs are not those of the request", "unlike its class"), ""
    return None, study_uid


_HEADER: Final = 1 << 25
"""Bytes of an object that are looked at; headers are shorter, however long private elements are."""


def _uid(dataset: FileDataset, keyword: str) -> str:
    value = (texts_of(dataset, keyword) or [""])[0]
    return value if _UID.fullmatch(value) else ""


def _write(path: Path, arrival: Arrival) -> None:
    """Write the file of an object, flush it to disk, and give it its name."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    # The same object may arrive twice at once.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.{threading.get_ident()}.partial")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            for part in (memoryview(arrival.head), arrival.content):
                rest = part
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.rename(path)
        for folder in (path.parent, path.parent.parent):
            sync_folder(folder)
    finally:
        temporary.unlink(missing_ok=True)
