"""Reads one uploaded file into memory, never onto a disk, and no further than its largest size."""

import asyncio
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from thorax.service.refusals import Refused

__all__ = ["read_upload"]

_ENVELOPE: Final = 10_000
"""Bytes that multipart/form-data may add around a file."""


async def read_upload(request: Request, *, max_bytes: int, seconds: float = 60.0) -> bytes:
    """Return the bytes of the one file in a request: its body, or the only file of multipart/form-data.

    Args:
        request: The request; a name that it gives the file is not kept.
        max_bytes: The largest file. A larger one is refused by its stated length before any of it is read,
            and without a stated length as soon as more has arrived.
        seconds: Longest time that the file may take to arrive.

    Raises:
        Refused: The file is larger, did not arrive in time, or the form does not hold one file.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    is_form = kind == b"multipart/form-data"
    too_large = Refused(
        413,
        "TooLarge",
        f"the file is larger than the {max_bytes // 1_000_000} MB that this service takes; run Thorax on "
        "your own machine for larger ones",
    )
    limit = max_bytes + _ENVELOPE * is_form
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > limit:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise too_large
    except TimeoutError:
        raise Refused(
            408, "SlowUpload", f"the file did not arrive within {seconds:.0f} seconds; try again"
        ) from None
    content = _only_file(bytes(body), options.get(b"boundary", b"")) if is_form else bytes(body)
    if len(content) > max_bytes:
        raise too_large
    return content


def _only_file(body: bytes, boundary: bytes) -> bytes:
    """Return the content of the only file in a form; its other fields are ignored."""
    reader = _FormReader()
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": reader.begin_part,
                "on_header_field": reader.add_to_name,
                "on_header_value": reader.add_to_value,
                "on_header_end": reader.end_header,
                "on_part_data": reader.add_data,
                "on_end": reader.end,
            },
        )
        parser.write(body)
    except FormParserError:
        reader.whole = False
    if not (boundary and reader.whole):
        raise Refused(400, "BadForm", "the form is damaged; send the file alone as the body of the request")
    if len(reader.files) != 1:
        raise Refused(
            400, "BadForm", f"the form has {len(reader.files)} files; send one file in each request"
        )
    return bytes(reader.files[0])


class _FormReader:
    """Collects the files of a form in memory; a parser calls it with pieces of headers and contents."""

    def __init__(self) -> None:
        self.files: list[bytearray] = []
        self.whole = False
        self._in_file = False
        self._name, self._value = bytearray(), bytearray()

    def begin_part(self) -> None:
        self._in_file = False

    def add_to_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def add_to_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def end_header(self) -> None:
        if self._name.lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._value))
            if b"filename" in options:
                self._in_file = True
                self.files.append(bytearray())
        self._name, self._value = bytearray(), bytearray()

    def add_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self.files[-1] += data[start:end]

    def end(self) -> None:
        self.whole = True
