"""Atomic file writing, durable appending, locks, reading of regular files alone, JSON and SHA-256."""

import errno
import fcntl
import hashlib
import io
import json
import os
import re
import stat
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from thorax.errors import DataError
from thorax.quoting import json_visible

__all__ = [
    "StrPath",
    "append_line",
    "atomic_write",
    "canonical_json",
    "exclusive_lock",
    "is_locked",
    "is_remote",
    "open_regular",
    "parse_json",
    "parse_toml",
    "read_json",
    "read_regular",
    "read_toml_text",
    "refuse_existing",
    "refuse_remote",
    "sha256_of_file",
    "sha256_of_lines",
    "sync_folder",
    "temporary_name",
    "wait_until_free",
    "write_bytes",
    "write_json",
    "write_text",
]

StrPath = str | os.PathLike[str]
"""Path of a file or folder: a string or any path-like object."""

_S3: Final = re.compile(r"s3:/+(?=[^/])", re.IGNORECASE)


@contextmanager
def atomic_write(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success, fsync the file and rename it to `path`.

    On an error the temporary file is removed and `path` is unchanged.

    Args:
        path: The file.
        durable: Whether it must survive a power failure. Without, it may be damaged by one: for copies that
            are compared with a checksum before they are used, which are written at twice the rate.

    Raises:
        OSError: The file cannot be written, such as on a full disk; its `filename` is `path`.
    """
    temporary = path.with_name(temporary_name(path.name))
    try:
        yield temporary
        if durable:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
        if durable:
            sync_folder(path.parent)
    except OSError as error:
        # Of a full disk, the system says no more than that it is full.
        if error.filename is None or error.filename == str(temporary):
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def temporary_name(name: str) -> str:
    """Return the name under which this process, and no other on any machine, writes a file."""
    return f".{name}.{os.uname().nodename}.{os.getpid()}.partial"


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_line(path: Path, line: str) -> None:
    """Append a line to a file and flush it to disk; the file and its folder are created if missing.

    Several processes may append at the same time: each line stays whole. A line that a killed process left
    unfinished is ended first, so that it cannot damage the new one.

    Raises:
        OSError: The line cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        size = os.fstat(descriptor).st_size
        unfinished = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        content = ("\n" if unfinished else "").encode() + line.encode() + b"\n"
        if os.write(descriptor, content) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if is_new:
        sync_folder(path.parent)


def is_remote(path: object) -> bool:
    """Return whether a path is an address in object storage, s3://; as a path it has lost a slash."""
    return isinstance(path, str | os.PathLike) and _S3.match(str(os.fspath(path))) is not None


def refuse_remote(path: StrPath) -> None:
    """Refuse to write to an address in object storage, as if it were a folder here.

    Raises:
        DataError: It is one.
    """
    if is_remote(path):
        raise DataError(
            f"{path} is in object storage, where only stores and runs are written; name a path on this disk, "
            "and copy the result"
        )


def refuse_existing(path: Path, *, overwrite: bool, folder: bool = False) -> None:
    """Refuse to write a result over existing files, unless `overwrite` is set.

    Args:
        path: Where the result is to be written.
        overwrite: Whether an existing result may be replaced.
        folder: Whether the result is a folder; a folder that is empty or has only the remains of an
            interrupted write counts as free.

    Raises:
        DataError: The path exists and `overwrite` is false, or it is a file instead of a folder or a folder
            instead of a file, or it is an address in object storage.
    """
    refuse_remote(path)
    if path.is_dir() and not folder:
        raise DataError(f"{path} is a folder; name a file, such as {path / 'NAME'}")
    if folder and path.exists() and not path.is_dir():
        raise DataError(f"{path} is a file; give a folder")
    names = (entry.name for entry in path.iterdir()) if path.is_dir() else iter([path.name])
    occupied = path.exists() and any(not name.endswith(".partial") for name in names)
    if occupied and not overwrite:
        what = "is not empty" if folder else "already exists"
        raise DataError(f"{path} {what}; choose another path, or set `overwrite` to replace it")


@contextmanager
def exclusive_lock(folder: Path, *, doing: str) -> Iterator[None]:
    """Lock a folder while writing to it; the system releases the lock when the process ends, however it ends.

    Raises:
        DataError: Another process holds the lock; the message says what it is `doing`.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(
                f"another process is {doing} {folder}; wait until it ends, or give another folder"
            ) from error
        yield
    finally:
        os.close(descriptor)


def is_locked(folder: Path) -> bool:
    """Return whether a process holds the `exclusive_lock` of a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def wait_until_free(folder: Path, *, seconds: float) -> None:
    """Wait while a process holds the `exclusive_lock` of a folder, but not for ever.

    Args:
        folder: The folder; one that does not exist is free.
        seconds: The longest wait.
    """
    last = time.monotonic() + seconds
    while folder.exists() and is_locked(folder) and time.monotonic() < last:
        time.sleep(0.2)


def open_regular(path: Path) -> io.FileIO:
    """Open a file for reading, unbuffered, unless it is a pipe, a device or a folder.

    A pipe would be waited for without end, and a device may have no end or act when it is opened.

    Raises:
        OSError: There is no such file, it is not a regular one, or it cannot be opened.
    """
    try:
        _refuse_irregular(path.stat(), path)
        # The file may have been replaced since: a pipe is then opened without waiting, and refused below.
        file = io.FileIO(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except ValueError as error:  # a name with a null byte
        raise OSError(errno.EINVAL, str(error), os.fspath(path)) from error
    try:
        _refuse_irregular(os.fstat(file.fileno()), path)
    except OSError:
        file.close()
        raise
    return file


def _refuse_irregular(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, a device or a socket"
        raise OSError(errno.EINVAL, f"this is {kind}, not a file", os.fspath(path))


def read_regular(path: Path, *, at_most: int) -> bytes:
    """Return the content of a regular file of at most so many bytes.

    Raises:
        OSError: As `open_regular` says, or the file is larger.
    """
    with open_regular(path) as file:
        content = file.read(at_most + 1)
        while content and len(content) <= at_most and (more := file.read(at_most + 1 - len(content))):
            content += more
    if len(content) > at_most:
        raise OSError(errno.EFBIG, f"more than {at_most:,} bytes", os.fspath(path))
    return content


_LARGEST_TOML: Final = 2**20


def read_toml_text(path: Path) -> str:
    """Return the text of a TOML file of at most 1 MiB, which is more than any person writes.

    Raises:
        OSError: As `read_regular` says.
        UnicodeDecodeError: It is not UTF-8.
    """
    return read_regular(path, at_most=_LARGEST_TOML).decode("utf-8")


_LARGEST_JSON: Final = 64 * 2**20


def read_json(path: Path) -> Any:
    """Return the value of a JSON file of at most 64 MB that may be hostile.

    Raises:
        OSError: As `read_regular` says.
        ValueError: As `parse_json` says.
    """
    return parse_json(read_regular(path, at_most=_LARGEST_JSON))


def parse_json(content: bytes | str) -> Any:
    """Return the value of JSON that may be hostile.

    Raises:
        ValueError: It is not JSON, it is nested too deep, or a number has over 4,300 digits.
    """
    with _bounded():
        return json.loads(content)


def parse_toml(text: str) -> dict[str, Any]:
    """Return the tables of TOML that may be hostile.

    Raises:
        ValueError: It is not TOML, it is nested too deep, or a number has over 4,300 digits.
    """
    with _bounded():
        return tomllib.loads(text)


@contextmanager
def _bounded() -> Iterator[None]:
    """Say in words of ours where Python's own bounds end the reading of a text."""
    try:
        yield
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    except (json.JSONDecodeError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise
    except ValueError as error:  # of int(), see sys.get_int_max_str_digits
        raise ValueError("a number has too many digits") from error


_HASHED_TOGETHER: Final = 1 << 23
"""Bytes per block. hashlib re-acquires the GIL for every block, which takes up to 5 ms while another thread
imports: with 256 kB, a thread needed 250 ms for the 28 MB of a DenseNet-121. Larger blocks cost memory."""


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 `text` to `path`, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` as indented JSON with keys in the given order; NaN is refused."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    write_text(path, json_visible(text) + "\n")


def canonical_json(value: Any) -> bytes:
    """Return the canonical JSON of `value`, with sorted keys and without spaces, for hashing."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits.

    Raises:
        OSError: As `open_regular` says.
    """
    digest, block = hashlib.sha256(), memoryview(bytearray(_HASHED_TOGETHER))
    with open_regular(path) as file:
        while size := file.readinto(block):
            digest.update(block[:size])
    return digest.hexdigest()


def sha256_of_lines(lines: list[str]) -> str:
    """Return the SHA-256 of `lines`, each followed by a newline."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()
