"""A node's log: lines of JSON that name an object by a salted hash, and never a patient."""

import hashlib
import hmac
import json
import os
import secrets
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TextIO

from thorax.errors import ServiceError

__all__ = ["NodeLog", "read_salt"]

_SALT_BYTES: Final = 32
_DIGITS: Final = 20


class NodeLog:
    """Writes events as lines of JSON.

    A UID leads to a patient in the archive of its site, so that logs, which travel, have its HMAC-SHA256 with
    the site's salt instead: whoever has salt and UID finds the lines of an object, and others do not.

    Args:
        salt: The site's salt.
        stream: Where the lines go; None: standard error.
    """

    def __init__(self, salt: bytes, stream: TextIO | None = None) -> None:
        self._salt = salt
        self._stream = stream
        self._lock = threading.Lock()

    def hashed(self, uid: str) -> str:
        """Return what stands for a UID in the log."""
        return hmac.new(self._salt, uid.encode(), hashlib.sha256).hexdigest()[:_DIGITS]

    def write(self, event: str, *, uid: str = "", study: str = "", **values: object) -> None:
        """Write a line.

        Args:
            event: What happened, such as "received".
            uid: SOP Instance UID of the object; it is hashed.
            study: Study Instance UID; it is hashed.
            values: What else is known, as JSON has it; none of it may say anything about a patient.
        """
        line: dict[str, object] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "event": event,
        }
        if uid:
            line["object"] = self.hashed(uid)
        if study:
            line["study"] = self.hashed(study)
        text = json.dumps(line | values, ensure_ascii=True)
        with self._lock:
            stream = self._stream or sys.stderr
            stream.write(f"{text}\n")
            stream.flush()


def read_salt(folder: Path) -> bytes:
    """Return the salt of a queue's folder, and make it the first time, readable by this user alone.

    Raises:
        ServiceError: The file is damaged.
    """
    path = folder / "salt"
    try:
        salt = path.read_bytes()
    except FileNotFoundError:
        salt = secrets.token_bytes(_SALT_BYTES)
        temporary = folder / f".salt.{os.getpid()}.partial"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, salt)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.rename(path)
    if len(salt) != _SALT_BYTES:
        raise ServiceError(
            f"{path} has {len(salt)} bytes instead of {_SALT_BYTES}; put the site's salt back, or remove the "
            "file: hashes in older logs then fit none of the new ones"
        )
    return salt
