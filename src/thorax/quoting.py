r"""Text from files and names, made safe to show: escapes for control characters, and a bounded length.

A name or value that a stranger wrote may hold terminal escapes, line breaks, marks that reverse the direction
of writing, or bytes that are not text. Wherever it is shown, these appear as escapes such as \x1b.
"""

import os
import re
import shlex
from os import PathLike
from typing import Final

__all__ = [
    "MAX_MESSAGE",
    "cut",
    "is_formula",
    "json_visible",
    "path_cell",
    "quoted",
    "shell_word",
    "visible",
    "visible_lines",
    "with_addresses",
]

MAX_MESSAGE: Final = 2000
"""Characters of the message of an error; of a longer one, the middle is left out."""

MAX_VALUE: Final = 60
"""Characters of a value in a message."""

# Control characters; line separators; marks, overrides and isolates of the direction of writing; the space of
# no width; surrogates, which represent the bytes of file names that are not UTF-8.
_HIDDEN: Final = (
    "\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
)
_ANY: Final = re.compile(f"[{_HIDDEN}]")
_WITHIN_LINES: Final = re.compile(rf"(?![\n\t])[{_HIDDEN}]")
_ADDRESS: Final = re.compile(r"\bs3:/(?=[^/])")
_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_FORMULA: Final = ("=", "@", "\t", "\r")
_ACTS: Final = frozenset("(|!")
_BYTE: Final = 0x100


def visible(text: str) -> str:
    r"""Return text in one line, with escapes for all that a terminal or browser would act on.

    Escape becomes \x1b, a line break \n, the mark from right to left \u200f. Other text is unchanged, also
    by a second call.
    """
    return _ANY.sub(_escape, text)


def visible_lines(text: str) -> str:
    """Return text like `visible`, but keep line breaks and tabs."""
    return _WITHIN_LINES.sub(_escape, text)


def with_addresses(text: str) -> str:
    """Return text in which addresses in object storage have both slashes: as a path they lose one."""
    return _ADDRESS.sub("s3://", text) if "s3:/" in text else text


def json_visible(text: str) -> str:
    """Return JSON text with JSON's own escapes for the same characters: it means the same, and is UTF-8."""
    return _WITHIN_LINES.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def is_formula(text: str) -> bool:
    """Return whether a spreadsheet would run a cell of this text: a call, or a command of another program.

    A number with a sign, or an id such as -5 or +A1, is not one: nothing happens to it.
    """
    return text.startswith(_FORMULA) or (text.startswith(("+", "-")) and not _ACTS.isdisjoint(text))


def path_cell(path: str) -> str:
    """Return a path as a table has it: it opens the same file, and no spreadsheet takes it for a formula."""
    return f"./{visible(path)}" if path.startswith((*_FORMULA, "+", "-")) else visible(path)


def cut(text: str, limit: int) -> str:
    """Return text of at most `limit` characters: of a longer one, its beginning and its end."""
    if len(text) <= limit:
        return text
    kept = limit - len(" ... ")
    return f"{text[: kept - kept // 3]} ... {text[len(text) - kept // 3 :]}"


def quoted(value: object) -> str:
    """Return a value in quotation marks, visible, and cut to 60 characters."""
    text = str(value)
    shown = visible(text[: MAX_VALUE + 1])
    if len(shown) > MAX_VALUE:
        shown = f"{shown[: MAX_VALUE - 3]}..."
    return f'"{shown}"' if "'" in shown else f"'{shown}'"


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return _SHORT.get(match[0]) or (f"\\x{code:02x}" if code < _BYTE else f"\\u{code:04x}")


def shell_word(path: str | PathLike[str]) -> str:
    """Return a path as it is typed in a shell: quoted if it has spaces or signs that a shell would read."""
    return shlex.quote(with_addresses(os.fspath(path)))
