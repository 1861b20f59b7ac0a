"""Where the service's token comes from: a file, or the environment."""

import os
import secrets
from pathlib import Path
from typing import Final

from thorax.errors import ServiceError

__all__ = ["new_token", "read_token"]

_VARIABLE: Final = "THORAX_TOKEN"
_LONGEST: Final = 10_000


def new_token() -> str:
    """Return a random token of 43 characters."""
    return secrets.token_urlsafe(32)


def read_token(path: Path | None) -> str:
    """Return the token in a file, or that of THORAX_TOKEN in the environment; "" if there is none.

    Args:
        path: The file, with the token on its only line; None: the environment.

    Raises:
        ServiceError: The file cannot be read, or has no token.
    """
    if path is None:
        return os.environ.get(_VARIABLE, "").strip()
    try:
        with path.open("rb") as file:
            token = file.read(_LONGEST).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ServiceError(
            f"the token in {path} cannot be read ({reason}); set `token_file` to a file with the token alone"
        ) from error
    if not token:
        raise ServiceError(f"{path} is empty; write a token into it with: openssl rand -base64 32")
    return token
