"""The option `--require-signature` of every command that opens a bundle."""

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Final

import typer

__all__ = ["OPENING", "with_signatures"]

OPENING: Final = frozenset(
    {
        "audit", "calibrate", "card", "compare", "ensemble", "evaluate", "explain", "export", "gate",
        "info", "localize", "monitor", "predict", "robustness", "serve", "site", "train",
    }
)  # fmt: skip
"""The commands that open bundles of others; `train` opens the one that `model.weights` may name."""

_NAME: Final = "require_signature"
_OPTION: Final = Annotated[
    Path | None, typer.Option(metavar="KEY", help="Open no bundle that is not signed with this public key.")
]


def with_signatures(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with the option: any bundle that it opens, also one of several, must be signed."""

    @wraps(command)
    def requiring(**settings: Any) -> None:
        key = settings.pop(_NAME)
        if key is None:
            command(**settings)
            return
        from thorax.bundle.signature import signatures_required

        with signatures_required(key):
            command(**settings)

    own = inspect.signature(command)
    option = inspect.Parameter(_NAME, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_OPTION)
    # typer reads the options from these two.
    requiring.__signature__ = own.replace(parameters=[*own.parameters.values(), option])  # type: ignore[attr-defined]
    requiring.__annotations__ = {**command.__annotations__, _NAME: _OPTION}
    return requiring
