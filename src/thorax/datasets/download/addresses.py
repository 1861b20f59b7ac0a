"""The sources that can be downloaded: their files, addresses, checksums and terms, from TOML."""

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from thorax.atomic_io import parse_toml, read_toml_text
from thorax.errors import DataError

__all__ = ["DataSource", "RemoteFile", "is_loopback", "load_source", "refuse_unsafe_address"]

_FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
_Folder = Annotated[str, StringConstraints(pattern=r"^images[A-Za-z0-9_]{0,40}(/images)?$")]
_Text = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,1000}$")]


class RemoteFile(BaseModel):
    """One file of a source.

    Attributes:
        name: Its name: a label file gets it in the data set's folder, an archive while it is downloaded.
        address: Where it is, by HTTPS (HTTP on this machine only); "" if it is only on the source's page.
        size: Bytes; None if unknown.
        sha256: 64 hexadecimal digits; None if unknown.
        md5: 32 hexadecimal digits; None if unknown.
        unpack_into: Folder of an archive's images within the data set's folder; None for a label file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: _FileName
    address: str = ""
    size: Annotated[int, Field(gt=0)] | None = None
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    md5: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")] | None = None
    unpack_into: _Folder | None = None

    @property
    def stem(self) -> str:
        """The name without extensions, such as "images_001"."""
        return self.name.partition(".")[0]

    @model_validator(mode="after")
    def _is_usable(self) -> "RemoteFile":
        if self.address:
            refuse_unsafe_address(self.address, start=self.address)
        if self.unpack_into and not self.name.endswith((".tar.gz", ".zip")):
            raise ValueError(f"{self.name} is not a .tar.gz or .zip, so it cannot be unpacked")
        return self


class DataSource(BaseModel):
    """A data set that can be downloaded.

    Attributes:
        name: Its name on the command line.
        title: What it is.
        page: The page where people find it.
        terms: What its provider permits and requests.
        citation: The paper to cite.
        tried: Whether these addresses have been tried by whoever wrote them down.
        key: Whether Kaggle's key is sent: never, where one is available, or always.
        labels: Names of the label files within its archives.
        files: Its files.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: _Text
    page: _Text
    terms: _Text
    citation: _Text
    tried: bool = False
    key: Literal["none", "optional", "required"] = "none"
    labels: tuple[_FileName, ...] = ()
    files: tuple[RemoteFile, ...]

    @model_validator(mode="after")
    def _names_are_distinct(self) -> "DataSource":
        for what in ("name", "stem", "unpack_into"):
            values = [getattr(file, what) for file in self.files if getattr(file, what) is not None]
            twice = next((value for value in values if values.count(value) > 1), None)
            if twice is not None:
                raise ValueError(f"two files have the {what} {twice}")
        return self


def load_source(name: str, addresses: Path | None = None) -> DataSource:
    """Return a source by name.

    Args:
        name: "nih", "nih-sample" or "nih-kaggle".
        addresses: A TOML whose sections replace the shipped ones of the same name; None for the shipped ones.

    Raises:
        DataError: There is no such source, or the file is malformed; the message has the key and the value.
    """
    shipped = tomllib.loads(files(__package__).joinpath("addresses.toml").read_text(encoding="utf-8"))
    given = {} if addresses is None else _read(addresses)
    unknown = sorted(given.keys() - shipped.keys())
    if unknown:
        raise DataError(f"{addresses}: there is no source {unknown[0]!r}; it can have {', '.join(shipped)}")
    if name not in shipped:
        raise DataError(f"there is no source {name!r} to download; it can be {', '.join(shipped)}")
    section: Any = given.get(name, shipped[name])
    try:
        return DataSource.model_validate({**section, "name": name})
    except (ValidationError, TypeError) as error:
        raise DataError(f"{addresses}, section [{name}]: {_first_problem(error)}; correct it") from None


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return parse_toml(read_toml_text(path))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as TOML ({error}); correct it, or leave out `addresses`"
        ) from None


def _first_problem(error: ValidationError | TypeError) -> str:
    if isinstance(error, TypeError):
        return "it is not a table"
    problem = error.errors(include_url=False, include_context=False)[0]
    return f"{'.'.join(map(str, problem['loc'])) or 'the section'}: {problem['msg']}"


def is_loopback(address: str) -> bool:
    """Return whether an address is on this machine."""
    return urlsplit(address).hostname in {"127.0.0.1", "::1", "localhost"}


def refuse_unsafe_address(address: str, *, start: str) -> None:
    """Refuse an address that is not HTTPS, unless it and the first address are both on this machine.

    Args:
        address: Where the next request would go.
        start: The first address, before any redirect.

    Raises:
        ValueError: The address is malformed, has a user name or password, or is not encrypted.
    """
    parts = urlsplit(address)
    shown = f"{parts.scheme}://{parts.hostname}"
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"the address at {shown} contains a user name or password, which would be shown")
    if not parts.hostname or parts.port == 0:
        raise ValueError(f"{address[:80]!r} is not an address such as https://example.org/file")
    if parts.scheme == "https":
        return
    if parts.scheme != "http" or not (is_loopback(address) and is_loopback(start)):
        raise ValueError(f"{shown} is not HTTPS, so the file could be replaced on its way")
