"""How shares, counts and hints are worded, wherever they are shown."""

import difflib
from collections.abc import Iterable

__all__ = ["as_rate", "counted", "did_you_mean", "percent", "three_digits"]

_TEN = 10
"""Fewer in a second than this have a decimal."""


def percent(share: float, digits: int = 1) -> str:
    """Write a share in [0, 1] as a percentage, such as "53.1 %"."""
    return f"{100 * share:.{digits}f} %"


def as_rate(per_second: float) -> str:
    """Write how many are done in a second, such as "90/s" or "0.4/s"."""
    return f"{per_second:,.0f}/s" if round(per_second, 1) >= _TEN else f"{per_second:.1f}/s"


def three_digits(value: float) -> str:
    """Write a number with three significant digits, also if the last are zeros, as in "1.50"; 0 is "0"."""
    return f"{value:#.3g}".rstrip(".") if value else "0"


def counted(number: int, one: str, several: str = "") -> str:
    """Return a number with its noun: "1 image", "1,644 images"."""
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return " (did you mean WORD?)" with the known word that is most like this one; "" if none is."""
    folded = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(word.casefold(), folded, n=1)
    return f" (did you mean {folded[near[0]]}?)" if near else ""
