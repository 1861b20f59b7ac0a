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
    peer: str = scope["client"][0] if scope.get("client") else ""
    forwarded = ",".join(Headers(scope=scope).getlist("x-forwarded-for")).split(",")
    while settings.trusts(peer) and forwarded:
        entry = forwarded.pop().strip()
        try:
            peer = str(ip_address(entry))
        except ValueError:
            break
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


def _owner(client: str) -> str:
    try:
        address = ip_address(client)
    except ValueError:
        return client
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return address.exploded[:19]
    return client
