"""Reads uploaded files into memory, never onto a disk, and no further than their largest size."""

import asyncio
from contextlib import suppress
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request
from starlette.types import Receive

from thorax.service.refusals import Refused
from thorax.service.settings import ServiceSettings

__all__ = ["discard_upload", "read_uploads"]

_ENVELOPE: Final = 10_000
"""Bytes that multipart/form-data may add around a file."""

_SECONDS: Final = 60.0
_DISCARDING: Final = 5.0


async def read_uploads(
    request: Request, settings: ServiceSettings, *, seconds: float = _SECONDS
) -> list[bytes]:
    """Return the files of a request: its body, or the files of multipart/form-data in their order.

    Args:
        request: The request; the names that it gives the files are not kept.
        settings: The largest file, which is also the most that the files of one request may have together,
            and how many there may be. A larger one is refused by its stated length before any of it is read,
            and without a stated length as soon as more has arrived.
        seconds: Longest time that the files may take to arrive.

    Raises:
        Refused: The files are larger or more, did not arrive in time, or there is none.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind == b"multipart/form-data":
        reader: _Form | _Body = _Form(options.get(b"boundary", b""), settings)
        limit = settings.max_bytes + _ENVELOPE * settings.max_files
    else:
        reader, limit = _Body(), settings.max_bytes
    too_large = Refused(
        413,
        "TooLarge",
        f"the upload is larger than the {settings.max_bytes // 1_000_000} MB that this service takes; run "
        "Thorax on your own machine for larger ones",
    )
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > limit:
        raise too_large
    size = 0
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise too_large
                reader.add(chunk)
    except TimeoutError:
        raise Refused(
            408, "SlowUpload", f"the file did not arrive within {seconds:.0f} seconds; try again"
        ) from None
    files = reader.files()
    if sum(map(len, files)) > settings.max_bytes:
        raise too_large
    return files


async def discard_upload(receive: Receive, *, max_bytes: int, seconds: float = _DISCARDING) -> None:
    """Take what a refused request still sends, and forget it.

    A client that is sending would otherwise find its connection closed, and not read why. It is given up
    after some seconds, or when it has sent more than any request may.
    """
    rest = max_bytes
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while rest >= 0:
                message = await receive()
                rest -= len(message.get("body", b""))
                if not message.get("more_body"):
                    return


class _Body:
    """A body that is the file."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    def add(self, chunk: bytes) -> None:
        self._chunks.append(chunk)

    def files(self) -> list[bytes]:
        return [b"".join(self._chunks)]


class _Form:
    """A form, whose files are collected in memory; its other fields are ignored."""

    def __init__(self, boundary: bytes, settings: ServiceSettings) -> None:
        self._most = settings.max_files
        self._files: list[bytearray] = []
        self._whole = False
        self._in_file = False
        self._name, self._value = bytearray(), bytearray()
        self._parser = MultipartParser(
            boundary or b"-",
            {
                "on_part_begin": self._begin_part,
                "on_header_field": self._add_to_name,
                "on_header_value": self._add_to_value,
                "on_header_end": self._end_header,
                "on_part_data": self._add_data,
                "on_end": self._end,
            },
        )

    def add(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise _damaged() from None

    def files(self) -> list[bytes]:
        if not self._whole:
            raise _damaged()
        if not self._files:
            raise Refused(400, "BadForm", "the form has no file; send at least one")
        return [bytes(file) for file in self._files]

    def _begin_part(self) -> None:
        self._in_file = False

    def _add_to_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _add_to_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._name.lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._value))
            if b"filename" in options:
                if len(self._files) == self._most:
                    raise Refused(
                        400,
                        "TooManyFiles",
                        f"the form has more files than one request may have ({self._most}); send the others "
                        "in further requests",
                    )
                self._in_file = True
                self._files.append(bytearray())
        self._name, self._value = bytearray(), bytearray()

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._files[-1] += data[start:end]

    def _end(self) -> None:
        self._whole = True


def _damaged() -> Refused:
    return Refused(400, "BadForm", "the form is damaged; send the file alone as the body of the request")
