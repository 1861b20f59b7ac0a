"""matplotlib as the figures use it: one style, and the same bytes for the same figure."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from thorax.errors import DataError
from thorax.packages import missing_extras_named
from thorax.quoting import quoted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "COLORS",
    "DASHES",
    "FIGURE_KINDS",
    "GRID",
    "MUTED",
    "FigureKind",
    "figure_kinds",
    "plotting",
    "saved",
]

FigureKind = Literal["png", "svg", "pdf"]

FIGURE_KINDS: Final[tuple[FigureKind, ...]] = get_args(FigureKind)

COLORS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#404040")
"""Seven colors that color-blind readers can tell apart (after Okabe and Ito)."""

DASHES: Final = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)))
"""Each next group of seven curves has another kind of line."""

GRID: Final = "#dde2e7"
MUTED: Final = "#5a6672"

_SETTINGS: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",  # text remains text
    "pdf.fonttype": 42,  # and so it does in a PDF, with its font
    "svg.hashsalt": "thorax",
    "path.simplify": False,
    "font.family": "DejaVu Sans",
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
}

_NO_DATE: Final[dict[FigureKind, dict[str, None]]] = {
    "png": {"Software": None},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}
"""Without the date and the program's name the bytes depend on the numbers alone."""


def figure_kinds(names: str) -> tuple[FigureKind, ...]:
    """Return the kinds of files that a text such as "png,pdf" names, in the order of `FIGURE_KINDS`.

    Raises:
        DataError: There is no such kind.
    """
    wanted = [name.strip().lower().removeprefix(".") for name in names.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in FIGURE_KINDS]
    if unknown:
        raise DataError(
            f"figures are not written as {quoted(unknown[0])}; name one or several of "
            f"{', '.join(FIGURE_KINDS)}, with commas"
        )
    return tuple(kind for kind in FIGURE_KINDS if kind in wanted)


@contextmanager
def plotting(what: str) -> Iterator[type["Figure"]]:
    """Yield matplotlib's class of figures, with the style of this module while in the block.

    Args:
        what: What is drawn, for the message where matplotlib is missing.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    with missing_extras_named(what), _without_remarks():
        from warnings import catch_warnings, filterwarnings

        from matplotlib import rc_context
        from matplotlib.figure import Figure
    with rc_context(_SETTINGS), catch_warnings(), _without_remarks():
        # A name may have characters that the font lacks; they are drawn as boxes.
        filterwarnings("ignore", message="Glyph")
        yield Figure


def saved(figure: "Figure", kind: FigureKind) -> bytes:
    """Return a figure as a file, a PNG with 150 dots per inch; within `plotting`."""
    file = io.BytesIO()
    figure.savefig(file, format=kind, dpi=150, metadata=_NO_DATE[kind])
    return file.getvalue()


@contextmanager
def _without_remarks() -> Iterator[None]:
    """Keep matplotlib's remarks on folders that cannot be written off the standard error."""
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
