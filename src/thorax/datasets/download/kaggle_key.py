"""The user's key for Kaggle: from the environment, from `.env`, or from Kaggle's own files."""

import json
import os
import re
import stat
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from thorax.errors import DataError

__all__ = ["KaggleKey", "find_kaggle_key", "missing_key", "places", "read_dotenv"]

_LARGEST: Final = 64 * 1024
"""Bytes of a file with keys; anything larger is something else."""

_NAMES: Final = ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN")
_LINE: Final = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=(.*)")


@dataclass(frozen=True, slots=True)
class KaggleKey:
    """A key, which no message, log or `repr` shows.

    Attributes:
        secret: The key or token itself.
        user: The user name that belongs to a key; "" for a token.
        place: Where it was found.
        warning: Why the place is not safe; "" if it is.
    """

    secret: str = field(repr=False)
    user: str = field(repr=False)
    place: str
    warning: str = ""

    @property
    def header(self) -> str:
        """Value of the header `Authorization`."""
        return f"Basic {self._pair}" if self.user else f"Bearer {self.secret}"

    @property
    def _pair(self) -> str:
        return b64encode(f"{self.user}:{self.secret}".encode()).decode()

    def hidden_in(self, text: str) -> str:
        """Return a text in which the key is replaced by ***, because a server may repeat what it got."""
        return re.sub(f"{re.escape(self.secret)}|{re.escape(self._pair)}", "***", text, flags=re.IGNORECASE)


def find_kaggle_key(environment: Mapping[str, str], folder: Path) -> KaggleKey | None:
    """Return the first key that is found, or None.

    Looked at in this order: KAGGLE_USERNAME and KAGGLE_KEY, then KAGGLE_API_TOKEN, in the environment; the
    same in `.env`; kaggle.json and access_token in Kaggle's own folder.

    Args:
        environment: The environment variables.
        folder: The working folder, which may contain a `.env`.

    Raises:
        DataError: A place has something that cannot be a key; the message names the place, never the value.
    """
    key = _from_names(environment, "the environment")
    if key is None and (text := _read(folder / ".env")) is not None:
        key = _from_names(read_dotenv(text), str(folder / ".env"), warning=_warning(folder / ".env"))
    if key is not None:
        return key
    for kaggle in _kaggle_folders(environment):
        if (text := _read(kaggle / "kaggle.json")) is not None:
            return _from_json(text, kaggle / "kaggle.json")
        if (text := _read(kaggle / "access_token")) is not None:
            token = _checked(text.strip(), f"{kaggle / 'access_token'}: the token")
            path = kaggle / "access_token"
            return KaggleKey(token, "", str(path), _warning(path))
    return None


def places(environment: Mapping[str, str], folder: Path) -> tuple[str, ...]:
    """Return all places where a key is looked for, in order."""
    kaggle = [
        str(path / name) for path in _kaggle_folders(environment) for name in ("kaggle.json", "access_token")
    ]
    return (
        "KAGGLE_USERNAME with KAGGLE_KEY in the environment",
        "KAGGLE_API_TOKEN in the environment",
        f"the same names in {folder / '.env'}",
        *kaggle,
    )


def missing_key(environment: Mapping[str, str], folder: Path) -> str:
    """Return what to do without a key: where to get one, and where it is looked for."""
    return (
        "Kaggle's key was not found. Get one at https://www.kaggle.com/settings (API, Create New Token), and "
        f"put it in one of these places: {'; '.join(places(environment, folder))}"
    )


def read_dotenv(text: str) -> dict[str, str]:
    """Return the assignments in the text of a `.env`; nothing in it is executed or expanded.

    A line is `NAME=value` or `export NAME=value`. Quotes around the value are removed; without quotes, it
    ends before " #". All other lines are ignored.
    """
    values: dict[str, str] = {}
    for line in text.splitlines():
        assignment = _LINE.fullmatch(line.strip())
        if assignment is None:
            continue
        name, value = assignment[1], assignment[2].strip()
        quoted = re.fullmatch(r"""(["'])(.*)\1(?:\s+#.*)?""", value)
        values[name] = quoted[2] if quoted else re.split(r"(?:^|\s)#", value, maxsplit=1)[0].rstrip()
    return values


def _from_names(values: Mapping[str, str], place: str, *, warning: str = "") -> KaggleKey | None:
    user, key, token = (values.get(name, "").strip() for name in _NAMES)
    if user and key:
        return _basic(user, key, place, warning=warning)
    if token:
        return KaggleKey(_checked(token, f"KAGGLE_API_TOKEN in {place}"), "", place, warning)
    return None


def _from_json(text: str, path: Path) -> KaggleKey:
    try:
        content = json.loads(text)
        user, key = content["username"], content["key"]
    except (ValueError, KeyError, TypeError, RecursionError):
        user = key = None
    if not isinstance(user, str) or not isinstance(key, str):
        raise DataError(
            f'{path} is not {{"username": ..., "key": ...}}; download it again from '
            "https://www.kaggle.com/settings"
        )
    return _basic(user, key, str(path), warning=_warning(path))


def _basic(user: str, key: str, place: str, *, warning: str) -> KaggleKey:
    user, key = _checked(user, f"the user name in {place}"), _checked(key, f"the key in {place}")
    return KaggleKey(key, user, place, warning)


def _checked(value: str, what: str) -> str:
    """Refuse whatever cannot be part of a header."""
    if not re.fullmatch(r"[!-~]{1,4096}", value):
        raise DataError(
            f"{what} contains spaces or characters that no key of Kaggle has, or is empty; copy it again "
            "from https://www.kaggle.com/settings"
        )
    return value


def _kaggle_folders(environment: Mapping[str, str]) -> list[Path]:
    if configured := environment.get("KAGGLE_CONFIG_DIR"):
        return [Path(configured)]
    home = Path(environment.get("HOME") or Path.home())
    return [home / ".kaggle", Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "kaggle"]


def _read(path: Path) -> str | None:
    """Return the text of a small regular file, or None if there is none; never wait for a pipe or device."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); correct its permissions") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
            raise DataError(f"{path} is not a text file of at most 64 kB; move it away")
        return os.read(descriptor, _LARGEST).decode("utf-8", errors="replace")
    finally:
        os.close(descriptor)


def _warning(path: Path) -> str:
    if path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        return f"other users of this machine can read your key in {path}; run chmod 600 {path}"
    return ""
