"""The standard streams: usable whatever state the program receives them in, and named in errors."""

import io
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["flush_output", "open_streams", "output_has_every_character"]

_NAMES: Final = ("standard input", "standard output", "standard error")


class _Output(io.FileIO):
    """A standard stream whose errors name it."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._descriptor = descriptor

    def write(self, content: "Buffer", /) -> int:
        try:
            return super().write(content)
        except OSError as error:
            error.filename = _NAMES[self._descriptor]
            raise


class _Messages(_Output):
    """Standard error: a message that cannot be written stops no command and changes no exit code."""

    def write(self, content: "Buffer", /) -> int:
        try:
            return super().write(content)
        except OSError:
            return memoryview(content).nbytes


def open_streams() -> bool:
    """Make the three standard streams usable, and return whether standard output was open.

    A closed stream becomes the null device: otherwise the next file to be opened would get its number, and
    everything that a native library prints. Characters that the stream's encoding lacks, such as those of a
    file name that is not UTF-8, are written as escapes.
    """
    was_open = sys.stdout is not None
    for descriptor in range(len(_NAMES)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), encoding="utf-8")
    sys.stdout = _text(_Output(1), sys.stdout)
    sys.stderr = _text(_Messages(2), sys.stderr)
    return was_open


def _text(raw: io.FileIO, former: TextIO | None) -> io.TextIOWrapper:
    """Return a text stream that behaves like the former one, except for its errors."""
    if not isinstance(former, io.TextIOWrapper):
        return io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8", errors="backslashreplace")
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=former.encoding,
        errors="backslashreplace",
        newline="\n",
        line_buffering=former.line_buffering,
        write_through=former.write_through,
    )


def flush_output() -> OSError | None:
    """Write what standard output still holds; return the error if it cannot be written.

    The rest is then dropped, so that Python does not try again at its end.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        with suppress(OSError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.close(null)
        return error
    return None


def output_has_every_character() -> bool:
    """Return whether standard output is encoded as Unicode."""
    return "utf" in (getattr(sys.stdout, "encoding", None) or "utf-8").lower()
