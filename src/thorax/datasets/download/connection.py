"""One HTTP request: certificates checked, redirects followed with care, keys sent to Kaggle alone."""

import http.client
import string
from dataclasses import dataclass
from typing import Final
from urllib.error import URLError
from urllib.parse import quote, urljoin, urlsplit
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request

import thorax
from thorax.datasets.download.addresses import is_loopback, refuse_unsafe_address
from thorax.datasets.download.kaggle_key import KaggleKey
from thorax.errors import DataError

__all__ = ["Connection", "ConnectionBroken", "Patience", "connect", "shown"]

_MOST_REDIRECTS: Final = 10
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_KAGGLE: Final = frozenset({"www.kaggle.com", "kaggle.com"})
"""Hosts that may receive a key, apart from this machine."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a download waits for a server.

    Attributes:
        timeout: Seconds without any byte after which a connection counts as broken; a file may take any time.
        attempts: Attempts in a row that bring nothing before a file is given up.
        first_wait: Seconds before the second attempt; each further wait is twice as long.
        longest_wait: Most seconds between two attempts, also if the server requests more.
    """

    timeout: float = 60.0
    attempts: int = 6
    first_wait: float = 1.0
    longest_wait: float = 300.0


class ConnectionBroken(Exception):  # noqa: N818  (reads as the sentence it stands for)
    """An attempt failed in a way that another attempt may not.

    Attributes:
        wait: Seconds that the server requests before the next attempt; 0 if it does not say.
    """

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        printable = "".join(character if character.isprintable() else "?" for character in reason[:200])
        super().__init__(printable)  # a server's own words could move the cursor of a terminal
        self.wait = wait


@dataclass(frozen=True, slots=True)
class Connection:
    """An answered request.

    Attributes:
        response: The response, whose body has not been read.
        address: Where it came from, after redirects.
    """

    response: http.client.HTTPResponse
    address: str


def connect(address: str, headers: dict[str, str], *, key: KaggleKey | None, timeout: float) -> Connection:
    """Send a GET request, follow its redirects and return the response, whatever its status.

    A key is sent to Kaggle's own host only, over HTTPS (or to this machine), and never beyond a redirect to
    another host. A redirect never leaves HTTPS, except between ports of this machine.

    Args:
        address: Where to begin.
        headers: Headers of the request.
        key: Kaggle's key, or None to send none.
        timeout: Seconds to wait for a connection or for the next byte.

    Raises:
        ConnectionBroken: The server cannot be reached or does not answer in time.
        DataError: A redirect leads to an unsafe address, or there are too many.
    """
    target = address
    for _ in range(_MOST_REDIRECTS + 1):
        authorization = {"Authorization": key.header} if key and _may_receive_key(target, address) else {}
        common = {"User-Agent": f"thorax/{thorax.__version__}", "Accept-Encoding": "identity"}
        response = _open(Request(target, headers={**common, **headers, **authorization}), timeout)  # noqa: S310  (the scheme was checked)
        if response.status not in _REDIRECTS:
            return Connection(response, target)
        location = response.headers.get("Location", "")
        response.close()
        target = _redirected(target, location, start=address)
    raise DataError(
        f"{shown(address)} redirects more than {_MOST_REDIRECTS} times; correct it in a file of your own and "
        "pass it as `addresses`"
    )


def _may_receive_key(target: str, start: str) -> bool:
    host = urlsplit(target).hostname
    return _origin(target) == _origin(start) and (host in _KAGGLE or is_loopback(target))


def _origin(address: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(address)
    return parts.scheme, parts.hostname, parts.port


def _redirected(address: str, location: str, *, start: str) -> str:
    try:
        target = quote(urljoin(address, location), safe=string.punctuation)
        refuse_unsafe_address(target, start=start)
    except ValueError as error:
        raise DataError(
            f"{shown(address)} redirects to an unsafe address: {str(error)[:200]}; get the file from the "
            "source's page"
        ) from None
    return target


def _open(request: Request, timeout: float) -> http.client.HTTPResponse:
    opener = OpenerDirector()
    # Proxies are those of the environment (https_proxy, no_proxy), as for other programs.
    handlers = [HTTPHandler(), HTTPSHandler()]
    for handler in handlers if is_loopback(request.full_url) else [ProxyHandler(), *handlers]:
        opener.add_handler(handler)
    try:
        response: http.client.HTTPResponse = opener.open(request, timeout=timeout)
    except URLError as error:
        raise ConnectionBroken(f"{_host(request)}: {error.reason}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: not a host
        raise ConnectionBroken(f"{_host(request)}: {error or type(error).__name__}") from None
    return response


def _host(request: Request) -> str:
    return urlsplit(request.full_url).hostname or ""


def shown(address: str) -> str:
    """Return an address for messages: without its query, which may contain a signature."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
