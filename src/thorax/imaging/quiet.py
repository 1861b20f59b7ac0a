"""What the libraries that read files warn of and log, which may quote the file, is suppressed meanwhile."""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Final

__all__ = ["libraries_silenced"]

# In the form of `warnings.filterwarnings`: action, message, category, module and line.
_IGNORED: Final = ("ignore", None, Warning, re.compile(r"(pydicom|PIL)(\.|$)"), 0)

_LOGGERS: Final = (
    *("pydicom", "pydicom.pixels.decoders.base", "pydicom.pixels.utils", "pylibjpeg", "openjpeg"),
    *("PIL.Image", "PIL.JpegImagePlugin", "PIL.PngImagePlugin", "PIL.TiffImagePlugin"),
)

_reading: ContextVar[bool] = ContextVar("_reading", default=False)


def _is_of_others(_record: logging.LogRecord) -> bool:
    """Return whether a record of a library may pass, since Thorax is not reading a file in this thread."""
    return not _reading.get()


for _name in _LOGGERS:
    logging.getLogger(_name).addFilter(_is_of_others)


@contextmanager
def libraries_silenced() -> Iterator[None]:
    """Suppress warnings and log records of pydicom and Pillow; whatever matters is checked and raised.

    Python's list of warning filters belongs to the whole process. Each read inserts one filter and removes
    one, so that several threads can read at once; `warnings.catch_warnings` would restore the earlier list
    and drop the filters that other threads need or have set since.
    """
    token = _reading.set(True)
    entered: Any = warnings.filters
    entered.insert(0, _IGNORED)
    try:
        yield
    finally:
        _reading.reset(token)
        # If another thread has copied the list meanwhile, the copy has the filter too.
        current: Any = warnings.filters
        for filters in [entered] if current is entered else [entered, current]:
            with suppress(ValueError):
                filters.remove(_IGNORED)
