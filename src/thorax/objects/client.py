"""Reading, listing and writing objects by `pyarrow.fs`, with retries, and errors that say what to do.

Objects are read in the threads of the caller, and never through a file of Python's, which a thread of Arrow
may let go of after the interpreter's end (apache/arrow issue 45017). pyarrow itself ends its S3 at exit.
"""

import hashlib
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from thorax.errors import DataError
from thorax.objects.place import Place
from thorax.packages import missing_extras_named

__all__ = [
    "RANGE",
    "Listed",
    "NoSuchObject",
    "content_of",
    "delete",
    "described",
    "list_below",
    "open_range_reader",
    "put",
    "retried",
]

RANGE: Final = 8 << 20
"""Bytes that one request reads of a large object."""

_ATTEMPTS: Final = 6
_FIRST_WAIT: Final = 0.1
"""Seconds before the second attempt; each further one waits twice as long."""

_LARGEST_COPY: Final = 5 * 10**9
"""Bytes of the largest object that S3 copies at once."""

_MD5: Final = re.compile(r'"?([0-9a-f]{32})"?')
_Result = TypeVar("_Result")


class NoSuchObject(DataError):  # noqa: N818  (as S3 says it)
    """There is no such object or bucket."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An object of a listing.

    Attributes:
        place: Where it is.
        name: Its name below the place that was listed.
        size: Its bytes.
        mtime_ns: When it was written, in nanoseconds since 1970.
    """

    place: Place
    name: str
    size: int
    mtime_ns: int


@cache
def _storage() -> Any:
    """Return pyarrow's file system, with the settings of the environment.

    Raises:
        MissingExtra: pyarrow is not installed.
    """
    # Asking the machine that a virtual machine runs on for credentials takes seconds everywhere else.
    os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
    with missing_extras_named("an address s3://"):
        from pyarrow.fs import AwsDefaultS3RetryStrategy, S3FileSystem  # noqa: PLC0415  (only where it is used)

    settings: dict[str, str] = {}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        parts = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
        settings |= {"endpoint_override": parts.netloc, "scheme": parts.scheme}
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region:
        settings["region"] = region
    elif endpoint:
        settings["region"] = "us-east-1"  # as servers other than Amazon's take it
    return S3FileSystem(
        **settings,
        background_writes=False,
        connect_timeout=5,
        request_timeout=30,
        retry_strategy=AwsDefaultS3RetryStrategy(max_attempts=3),
    )


def retried(place: Place, what: str, work: Callable[[], _Result]) -> _Result:
    """Return what some work on an object returns, trying again where trying again may help.

    Args:
        place: The object.
        what: What is done, such as "read".
        work: The work; it raises `OSError`.

    Raises:
        NoSuchObject: There is no such object or bucket.
        DataError: Access is denied, or the last attempt failed as well.
    """
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_FIRST_WAIT * 2 ** (attempt - 1))
        try:
            return work()
        except OSError as error:
            failure = _failure(place, what, error)
            if failure is not None:
                raise failure from error
            last = error
    raise DataError(
        f"{place} cannot be {what} after {_ATTEMPTS} attempts ({_short(last)}); check the network and the "
        "address of the storage (AWS_ENDPOINT_URL), then run the same command again"
    ) from last


def _failure(place: Place, what: str, error: OSError) -> DataError | None:
    """Return the error that says what is wrong; None where another attempt may succeed."""
    text = str(error)
    if "NO_SUCH_BUCKET" in text:
        return NoSuchObject(f"{place} cannot be {what}: there is no bucket {place.bucket}; correct its name")
    if isinstance(error, FileNotFoundError) or "NO_SUCH_KEY" in text:
        return NoSuchObject(f"{place} does not exist; correct the address")
    if any(code in text for code in _DENIED):
        return DataError(
            f"{place} cannot be {what}: access is denied ({_short(error)}); give credentials that may, in "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or as a profile in AWS_PROFILE"
        )
    if "301" in text and "HTTP status 301" in text:
        return DataError(
            f"{place} cannot be {what}: the bucket is in another region; set AWS_REGION to its own"
        )
    return None


_DENIED: Final = (
    "ACCESS_DENIED",
    "INVALID_ACCESS_KEY_ID",
    "SIGNATURE_DOES_NOT_MATCH",
    "INVALID_CLIENT_TOKEN_ID",
    "UNRECOGNIZED_CLIENT",
    "HTTP status 401",
    "HTTP status 403",
)


def _short(error: OSError) -> str:
    """Return the reason in what pyarrow says, which begins with the object's name."""
    found = re.search(r"AWS Error (.*)", str(error), re.DOTALL)
    return " ".join((found[1] if found else str(error)).split())[:200]


def list_below(place: Place) -> list[Listed]:
    """Return the objects below a place, sorted by name.

    Raises:
        NoSuchObject: There is no such bucket.
        DataError: It cannot be listed.
    """
    storage = _storage()
    from pyarrow.fs import FileSelector, FileType  # noqa: PLC0415  (as above)

    selector = FileSelector(place.path, recursive=True, allow_not_found=bool(place.key))
    found = retried(place, "listed", lambda: storage.get_file_info(selector))
    if not found and place.key:  # nor is there an error where the bucket is missing
        bucket = retried(place, "listed", lambda: storage.get_file_info(place.bucket))
        if bucket.type == FileType.NotFound:
            raise NoSuchObject(
                f"{place} cannot be listed: there is no bucket {place.bucket}; correct its name"
            )
    start = len(place.path) + 1
    return sorted(
        (
            Listed(
                replace(place, key=info.path.partition("/")[2]), info.path[start:], info.size, info.mtime_ns
            )
            for info in found
            if info.type == FileType.File
        ),
        key=lambda listed: listed.name,
    )


def described(place: Place) -> Listed | None:
    """Return what is known of an object; None if there is none.

    Raises:
        DataError: It cannot be known.
    """
    storage = _storage()
    info = retried(place, "read", lambda: storage.get_file_info(place.path))
    return Listed(place, place.name, info.size, info.mtime_ns) if info.is_file else None


def open_range_reader(place: Place) -> Callable[[int, int], bytes]:
    """Return a function that reads bytes of an object, from an offset on; any thread may call it.

    It raises `OSError` where fewer bytes arrive.
    """
    file = retried(place, "read", lambda: _storage().open_input_file(place.path))

    def read(offset: int, length: int) -> bytes:
        content: bytes = file.read_at(length, offset)
        if len(content) != length:
            raise OSError(f"{len(content):,} of {length:,} bytes arrived")
        return content

    return read


def content_of(place: Place, *, at_most: int) -> bytes:
    """Return the bytes of an object, checked against the MD5 that S3 has of it.

    An object that was encrypted or uploaded in parts has another sum; it is taken where two reads agree.

    Raises:
        NoSuchObject: There is no such object.
        DataError: It cannot be read, or is larger.
    """
    storage = _storage()
    previous = ""

    def read() -> bytes:
        nonlocal previous
        file = storage.open_input_file(place.path)
        size = file.size()
        if size > at_most:
            raise DataError(
                f"{place} has {size:,} bytes, and at most {at_most:,} are read; correct the address"
            )
        content: bytes = file.read_at(size, 0) if size else b""
        if len(content) != size:
            raise OSError(f"{len(content):,} of {size:,} bytes arrived")
        told = _MD5.fullmatch((file.metadata() or {}).get("ETag", b"").decode("ascii", "replace"))
        actual = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if told and told[1] not in {actual, ""} and actual != previous:
            previous = actual
            raise OSError("its bytes do not have their checksum")
        return content

    return retried(place, "read", read)


def put(path: Path, place: Place) -> None:
    """Write a file as an object, which is there whole or not at all.

    pyarrow finishes an upload also where an error or Ctrl-C stopped it, and so leaves an object that is cut
    short. It is therefore written under another name, its length is compared, and the storage itself copies
    it.

    Raises:
        DataError: It cannot be written, or is too large.
    """
    size = path.stat().st_size
    if size > _LARGEST_COPY:
        raise DataError(f"{path} has {size:,} bytes, and an object takes at most {_LARGEST_COPY:,}")
    storage = _storage()
    temporary = place.parent / f".{place.name}.{os.getpid()}.partial"
    from pyarrow import memory_map, py_buffer  # noqa: PLC0415  (as above)

    def write() -> None:
        content = memory_map(os.fspath(path)).read_buffer() if size else py_buffer(b"")
        with storage.open_output_stream(temporary.path) as stream:
            stream.write(content)
        if storage.get_file_info(temporary.path).size != size:
            raise OSError("the upload was cut short")
        storage.copy_file(temporary.path, place.path)

    try:
        retried(place, "written", write)
    finally:
        delete(temporary)


def delete(place: Place) -> None:
    """Remove an object, if it exists."""
    storage = _storage()
    try:
        storage.delete_file(place.path)
    except OSError:  # it is not there, or the storage is gone, which the caller has noticed
        return
