"""The audit log: one line for each image, which names it by its hash alone."""

import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from thorax.errors import ServiceError
from thorax.service.refusals import Refused

__all__ = ["AuditLog"]

_MODE: Final = 0o600


class AuditLog:
    """A file to which lines of JSON are added; it is never shortened.

    The hash is that of the uploaded bytes: whoever has the file finds its line, and the line says nothing of
    a patient.

    Args:
        path: The file; it is created for this user alone if there is none. None: nothing is written.

    Raises:
        ServiceError: It cannot be written.
    """

    def __init__(self, path: Path | None) -> None:
        self._descriptor = None if path is None else _opened(path)

    def add(self, *, client: str, call: str, model: str, bundle: str, content: bytes, outcome: str) -> None:
        """Add a line for an image.

        Raises:
            Refused: It cannot be written, so the image is not answered.
        """
        if self._descriptor is None:
            return
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "client": client,
            "call": call,
            "model": model,
            "bundle_sha256": bundle,
            "image_sha256": hashlib.sha256(content).hexdigest(),
            "outcome": outcome,
        }
        written = json.dumps(line, ensure_ascii=True).encode() + b"\n"
        try:
            complete = os.write(self._descriptor, written) == len(written)
        except OSError:
            complete = False
        if not complete:
            raise Refused(500, "AuditFailed", "the audit log cannot be written, so nothing is answered")


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
    except OSError as error:
        raise ServiceError(
            f"the audit log {path} cannot be written ({error.strerror}); set `audit_log` to a file "
            "in a folder of this user"
        ) from error
