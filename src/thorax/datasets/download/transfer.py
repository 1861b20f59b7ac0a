"""One file over HTTP into a partial file: resumed by byte range, retried, and never longer than announced."""

import email.utils
import re
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from threading import Event
from typing import Any, Final

from thorax.atomic_io import parse_json, write_json
from thorax.datasets.download.addresses import RemoteFile
from thorax.datasets.download.connection import ConnectionBroken, Patience, connect, shown
from thorax.datasets.download.kaggle_key import KaggleKey
from thorax.errors import DataError

__all__ = ["Stopped", "Transfer", "discard", "transfer"]

_BLOCK: Final = 1 << 18
_STEP: Final = 1 << 16
"""Bytes that an attempt must bring to count as progress: one byte at a time would never end."""

_FIRST_ATTEMPTS: Final = 3
"""Attempts as long as no server has answered: without a network, more of them would only take time."""

_TRANSIENT: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


class Stopped(Exception):  # noqa: N818  (reads as the sentence it stands for)
    """The download was asked to stop; what arrived is kept."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """What the files of one download have in common.

    Attributes:
        key: Kaggle's key, or None if there is none.
        patience: How long to wait for a server.
        stop: The download stops once this is set.
        answered: Is set once a server has answered.
        at: Called with a file's name, the number of bytes that have arrived, and its size.
        note: Called with a file's name and what the file waits for, "" once it continues.
        refuse_full_disk: Called with a file, the number of bytes still to come and its size; raises if they
            do not fit on the disk.
        no_access: What the user can do if a server refuses access.
    """

    key: KaggleKey | None
    patience: Patience
    stop: Event
    answered: Event
    at: Callable[[str, int, int], None]
    note: Callable[[str, str], None]
    refuse_full_disk: Callable[[RemoteFile, int, int], None]
    no_access: str


def transfer(file: RemoteFile, partial: Path, shared: Transfer) -> None:
    """Download a file to `partial`, continuing what has arrived already.

    The bytes are those of one version of the file: if it changes in between, it is downloaded from its start.
    They are not checked here.

    Args:
        file: The file.
        partial: Where its bytes go; what is known of them is written to `partial` with ".json" appended.
        shared: What all files of the download share.

    Raises:
        DataError: The server does not serve this file, or not in its stated length, or cannot be reached.
        Stopped: The download was asked to stop.
        OSError: The bytes cannot be written.
    """
    failures, furthest = 0, _size(partial)
    while True:
        try:
            _attempt(file, partial, shared)
        except ConnectionBroken as error:
            reached = _size(partial)
            failures = 1 if reached >= furthest + _STEP else failures + 1
            furthest = max(furthest, reached)
            if failures >= (shared.patience.attempts if shared.answered.is_set() else _FIRST_ATTEMPTS):
                raise DataError(
                    f"{shown(file.address)} could not be downloaded ({error}; {failures} attempts in a row "
                    "brought nothing); repeat the command later: it continues from there"
                ) from None
            _wait(file.name, str(error), max(error.wait, _backoff(failures, shared.patience)), shared)
        else:
            return


def _backoff(failures: int, patience: Patience) -> float:
    return patience.first_wait * 2.0 ** (failures - 1)


def _wait(name: str, reason: str, seconds: float, shared: Transfer) -> None:
    seconds = min(seconds, shared.patience.longest_wait)
    shared.note(name, f"{name}: {reason}; next attempt in {seconds:.0f} s")
    if shared.stop.wait(seconds):
        raise Stopped
    shared.note(name, "")


@dataclass(frozen=True, slots=True)
class _State:
    """What is known of a partial file: where it comes from, and which version it is."""

    address: str
    total: int
    validator: str


def _attempt(file: RemoteFile, partial: Path, shared: Transfer) -> None:
    state = _read_state(partial, file)
    offset = _size(partial) if state else 0
    if state and offset == state.total:
        shared.at(file.name, offset, offset)
        return
    ranges = {}
    if state and offset:
        ranges = {"Range": f"bytes={offset}-", "If-Range": state.validator}
        ranges = {name: value for name, value in ranges.items() if value}
    connection = connect(file.address, ranges, key=shared.key, timeout=shared.patience.timeout)
    shared.answered.set()
    with closing(connection.response) as response:
        _refuse_status(response.status, response.headers, file, partial, no_access=shared.no_access)
        _refuse_other_content(response.headers, file)
        if response.status == HTTPStatus.PARTIAL_CONTENT:
            total = _continued(response.headers, state, offset, partial)
        else:  # the whole file: it is new, it has changed, or the server does not know ranges
            offset, total = 0, _length(response.headers, file)
        if file.size is not None and total != file.size:
            raise DataError(
                f"{shown(file.address)} has {total:,} bytes, but {file.name} should have {file.size:,}: it "
                "is another file; pass corrected `addresses`, or get it from the source's page"
            )
        if offset == 0:
            discard(partial)
        shared.refuse_full_disk(file, total - offset, total)
        if offset == 0:
            partial.touch()
            _write_state(partial, _State(file.address, total, _validator(response.headers)))
        _copy(response, file.name, partial, offset, total, shared)


def _copy(response: Any, name: str, partial: Path, offset: int, total: int, shared: Transfer) -> None:
    """Append the body to `partial`; stop at `total` bytes, whatever the server sends."""
    position = offset
    with partial.open("r+b") as out:
        out.seek(offset)
        out.truncate()
        shared.at(name, position, total)
        while position < total:
            try:
                block = response.read1(min(_BLOCK, total - position))
            except (OSError, HTTPException) as error:
                raise ConnectionBroken(f"{error or type(error).__name__}") from None
            if not block:
                raise ConnectionBroken(f"the connection ended after {position:,} of {total:,} bytes")
            if shared.stop.is_set():
                raise Stopped
            out.write(block)
            position += len(block)
            shared.at(name, position, total)


def _refuse_status(status: int, headers: Message, file: RemoteFile, partial: Path, *, no_access: str) -> None:
    if status in {200, 206}:
        return
    where = f"{shown(file.address)} answered {status}"
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # the partial file does not fit: begin again
        discard(partial)
        raise ConnectionBroken(f"{where} (the file has changed)")
    if status in _TRANSIENT:
        raise ConnectionBroken(where, _retry_after(headers))
    if status in {401, 403}:
        raise DataError(f"{where}; {no_access}")
    raise DataError(f"{where}; get the file from the source's page, or pass corrected `addresses`")


def _refuse_other_content(headers: Message, file: RemoteFile) -> None:
    coding = headers.get("Content-Encoding", "identity").strip().lower()
    # Some servers call a .gz that they send as it is "encoded"; its checksum tells.
    allowed = {"", "identity", "gzip", "x-gzip"} if file.name.endswith(".gz") else {"", "identity"}
    if coding not in allowed:
        raise DataError(
            f"{shown(file.address)} sends {file.name} with the encoding {coding[:20]!r}, which was not "
            "requested; get the file from the source's page"
        )
    if headers.get_content_type() == "text/html":
        raise DataError(
            f"{shown(file.address)} sends a web page instead of {file.name}; get the file from the source's "
            "page, or pass corrected `addresses`"
        )


def _continued(headers: Message, state: _State | None, offset: int, partial: Path) -> int:
    """Return the length of the whole file from a partial response, or begin again if it does not fit."""
    numbers = re.fullmatch(
        r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", headers.get("Content-Range", "").strip()
    )
    first, total = (int(numbers[1]), int(numbers[3])) if numbers else (-1, -1)
    tag = headers.get("ETag", "")
    changed = state is not None and state.validator.startswith('"') and tag not in {"", state.validator}
    if state is None or first != offset or total != state.total or changed:
        discard(partial)
        raise ConnectionBroken("the server continued another file or at another byte")
    return total


def _length(headers: Message, file: RemoteFile) -> int:
    text = headers.get("Content-Length", "").strip()
    if re.fullmatch(r"\d{1,18}", text) and "Transfer-Encoding" not in headers:
        if int(text) == 0:
            raise DataError(f"{shown(file.address)} is empty; get {file.name} from the source's page")
        return int(text)
    if file.size is None:
        raise DataError(
            f"{shown(file.address)} does not say how long {file.name} is; add its `size` to a file of your "
            "own and pass it as `addresses`"
        )
    return file.size


def _validator(headers: Message) -> str:
    """Return a strong ETag, or else the date, with which a later request can ask for the same version."""
    tag = headers.get("ETag", "").strip()
    if re.fullmatch(r'"[!#-~]{0,200}"', tag):
        return tag
    date = headers.get("Last-Modified", "").strip()
    return date if re.fullmatch(r"[A-Za-z0-9 ,:]{10,40}", date) else ""


def _retry_after(headers: Message) -> float:
    text = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}", text):
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


def discard(partial: Path) -> None:
    """Remove a partial file and what is known of it."""
    partial.unlink(missing_ok=True)
    _state_path(partial).unlink(missing_ok=True)


def _size(partial: Path) -> int:
    return partial.stat().st_size if partial.is_file() else 0


def _state_path(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


def _write_state(partial: Path, state: _State) -> None:
    write_json(
        _state_path(partial),
        {"address": state.address, "total": state.total, "validator": state.validator},
    )


def _read_state(partial: Path, file: RemoteFile) -> _State | None:
    """Return what is known of a partial file, or None if it cannot be continued.

    Without a validator, only a checksum can tell whether the parts belong together.
    """
    try:
        content = parse_json(_state_path(partial).read_bytes())
        state = _State(str(content["address"]), int(content["total"]), str(content["validator"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    fits = state.address == file.address and 0 <= _size(partial) <= state.total
    return state if fits and (state.validator or file.sha256 or _size(partial) == state.total) else None
