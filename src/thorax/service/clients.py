"""The address of a client, also behind trusted proxies, and how often it may ask."""

import time
from collections import OrderedDict
from ipaddress import IPv6Address, ip_address
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Scope

from thorax.service.settings import ServiceSettings

__all__ = ["RateLimit", "client_address"]

_KNOWN: Final = 10_000
"""Clients that are remembered; the one not seen for longest is forgotten first."""


def client_address(scope: Scope, settings: ServiceSettings) -> str:
    """Return the address that a request comes from; "" if it is not known.

    X-Forwarded-For counts only if a trusted proxy sends it. Anyone can write its first entries, so the last
    one that is not a trusted proxy is taken.
    """
    peer = _plain(scope["client"][0] if scope.get("client") else "")
    forwarded = ",".join(Headers(scope=scope).getlist("x-forwarded-for")).split(",")
    while settings.trusts(peer) and forwarded:
        entry = _plain(forwarded.pop().strip())
        if not entry:
            break
        peer = entry
    return peer


class RateLimit:
    """Requests that each client has left: a number at once, which grows again in a minute.

    Args:
        per_minute: The number; 0: any number.
    """

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def seconds_to_wait(self, client: str) -> float:
        """Take one of a client's requests; return 0, or in how many seconds it will have one.

        Args:
            client: Its address. An IPv6 client has a network of its own, which counts as one.
        """
        if not self._per_minute:
            return 0.0
        key, now = _owner(client), time.monotonic()
        left, then = self._left.pop(key, (float(self._per_minute), now))
        left = min(self._per_minute, left + (now - then) * self._per_minute / 60)
        wait = max(0.0, 1 - left) * 60 / self._per_minute
        self._left[key] = (left if wait else left - 1, now)
        if len(self._left) > _KNOWN:
            self._left.popitem(last=False)
        return wait


def _plain(text: str) -> str:
    """Return an address in its usual form, IPv4 also where it comes through an IPv6 socket; "" for others."""
    try:
        address = ip_address(text)
    except ValueError:
        return ""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def _owner(client: str) -> str:
    """Return what stands for a client: an IPv4 address, or an IPv6 network of 64 bits."""
    return IPv6Address(client).exploded[:19] if ":" in client else client
