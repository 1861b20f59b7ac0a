"""Letters in pictures: which font has them, how wide they are, and lines that fit.

Pillow's own font has the letters of ASCII. Others, as in names of files, come from the first font of the
machine that has them all; if there is none, accents are left out, and what remains becomes escapes.
"""

import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final, SupportsFloat

from PIL import ImageFont

from thorax.quoting import visible

__all__ = ["elided", "font_of", "text_width", "wrapped"]

_OWN: Final = ""
"""Stands for Pillow's own font."""

_OTHERS: Final = (
    "DejaVuSans.ttf", "NotoSans-Regular.ttf", "arial.ttf", "Arial.ttf", "Arial Unicode.ttf",
    "NotoSansCJK-Regular.ttc", "wqy-zenhei.ttc", "wqy-microhei.ttc", "DroidSansFallbackFull.ttf",
    "msyh.ttc", "PingFang.ttc", "Hiragino Sans GB.ttc", "YuGothR.ttc", "malgun.ttf", "AppleSDGothicNeo.ttc",
)  # fmt: skip
"""Fonts that systems have, looked for where the system keeps its fonts."""

_ELLIPSIS: Final = "\N{HORIZONTAL ELLIPSIS}"
_MISSING: Final = "\uffff"
"""No character: every font draws the same sign for it as for letters that it lacks."""

_IN_OWN: Final = frozenset({_ELLIPSIS, "\N{MIDDLE DOT}", *map(chr, range(32, 127))})


def font_of(text: str, size: SupportsFloat) -> tuple[ImageFont.FreeTypeFont, str]:
    """Return a font that has a text's letters, and the text in letters that it has.

    Args:
        text: One line.
        size: Size in pixels.
    """
    name, drawable = _lettering(text)
    return _font(name, float(size)), drawable


def text_width(text: str, size: SupportsFloat) -> float:
    """Return the width of a line of text in pixels."""
    return _width(text, float(size))


@lru_cache(maxsize=4096)
def _width(text: str, size: float) -> float:
    """Return a width; most texts are in one picture after the other."""
    font, drawable = font_of(text, size)
    return font.getlength(drawable)


def elided(text: str, size: SupportsFloat, room: SupportsFloat) -> str:
    """Return a text that fits into a width, with its middle replaced by an ellipsis if it is too long.

    The end keeps a third of the letters, and so the ending of a file's name.

    Args:
        text: One line.
        size: Size in pixels.
        room: The width in pixels.
    """
    width = float(room)
    if text_width(text, size) <= width:
        return text
    kept, too_many = 0, len(text)
    while too_many - kept > 1:
        middle = (kept + too_many) // 2
        kept, too_many = (
            (middle, too_many) if text_width(_shortened(text, middle), size) <= width else (kept, middle)
        )
    return _shortened(text, kept)


def wrapped(text: str, size: SupportsFloat, room: SupportsFloat) -> Sequence[str]:
    """Break a text between words into lines that fit into a width; a word that is too long is elided.

    Args:
        text: One line.
        size: Size in pixels.
        room: The width in pixels.
    """
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size) <= float(room):
            lines[-1] = longer
        else:
            lines.append(elided(word, size, room))
    return lines


def _shortened(text: str, kept: int) -> str:
    end = kept // 3
    return text[: kept - end] + _ELLIPSIS + (text[-end:] if end else "")


@lru_cache(maxsize=1024)
def _lettering(text: str) -> tuple[str, str]:
    """Return the name of a font and the text in its letters."""
    whole = visible(unicodedata.normalize("NFC", text))
    if _IN_OWN.issuperset(whole):
        return _OWN, whole
    for name in _others():
        if all(_has(name, letter) for letter in whole):
            return name, whole
    plain = "".join(
        letter for letter in unicodedata.normalize("NFKD", whole) if not unicodedata.combining(letter)
    )
    escaped = "".join(
        letter if letter in _IN_OWN else letter.encode("ascii", "backslashreplace").decode()
        for letter in plain
    )
    return _OWN, escaped


@cache
def _others() -> Sequence[str]:
    """Return the fonts of `_OTHERS` that are on this machine, and matplotlib's, which has more letters."""
    names = [name for name in _OTHERS if _exists(name)]
    matplotlib = find_spec("matplotlib")
    if matplotlib is not None and matplotlib.origin is not None:
        own = Path(matplotlib.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        names.append(str(own))
    return [name for name in names if _exists(name)]


@cache
def _exists(name: str) -> bool:
    try:
        _font(name, 16.0)
    except OSError:
        return False
    return True


@cache
def _has(name: str, letter: str) -> bool:
    font = _font(name, 24.0)
    return letter.isspace() or bytes(font.getmask(letter)) != bytes(font.getmask(_MISSING))


@cache
def _font(name: str, size: float) -> ImageFont.FreeTypeFont:
    font = ImageFont.truetype(name, size) if name else ImageFont.load_default(size=size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # what Pillow's wheels always have
    return font
