"""How shares and hints are worded, wherever they are shown."""

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean", "percent"]


def percent(share: float, digits: int = 1) -> str:
    """Write a share in [0, 1] as a percentage, such as "53.1 %"."""
    return f"{100 * share:.{digits}f} %"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return " (did you mean WORD?)" with the known word that is most like this one; "" if none is."""
    folded = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(word.casefold(), folded, n=1)
    return f" (did you mean {folded[near[0]]}?)" if near else ""
