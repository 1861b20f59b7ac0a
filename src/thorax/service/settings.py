"""How the service is reached, and how much it takes."""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from thorax.errors import ServiceError

__all__ = ["ServiceSettings"]

_MB: Final = 1_000_000
_HOST: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?", re.IGNORECASE)
_ANCESTOR: Final = re.compile(
    r"https?://(?:\*\.)?[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::\d{1,5})?/?", re.IGNORECASE
)
_LAST_PORT: Final = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """How the service is reached, and how much it takes.

    Attributes:
        port: The port to listen on; 0 means any free one.
        public: Whether this is a public demonstration: it listens on every address of the machine, without a
            token, and takes smaller files. Otherwise only programs on this machine can reach it.
        allow_hosts: Names, besides localhost and numeric addresses, under which browsers may reach it.
        frame_ancestors: Addresses of sites, such as "https://example.org", that may show it in a frame.

    Raises:
        ServiceError: A port, name or address is malformed.
    """

    port: int = 8000
    public: bool = False
    allow_hosts: tuple[str, ...] = ()
    frame_ancestors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse values that would not do what they say, or would end up in a header as something else."""
        if not 0 <= self.port <= _LAST_PORT:
            raise ServiceError(f"there is no port {self.port}; set `port` to a number from 1 to {_LAST_PORT}")
        for name in self.allow_hosts:
            if not _HOST.fullmatch(name):
                raise ServiceError(
                    f"{name!r} is not the name of a host; set `allow_host` to a name alone, such as "
                    "demo.example.org, without https:// and port"
                )
        for site in self.frame_ancestors:
            if not _ANCESTOR.fullmatch(site):
                raise ServiceError(
                    f"{site!r} is not the address of a site; set `frame_ancestors` to one such as "
                    "https://example.org, without a path"
                )

    @property
    def address(self) -> str:
        """The address to listen on."""
        return "0.0.0.0" if self.public else "127.0.0.1"  # noqa: S104  (public on request only)

    @property
    def max_bytes(self) -> int:
        """The largest file that is taken."""
        return 20 * _MB if self.public else 200 * _MB

    @property
    def at_once(self) -> int:
        """How many images are computed at the same time."""
        return 2

    @property
    def waiting(self) -> int:
        """How many more uploads may be under way or wait; those beyond are asked to come back."""
        return 6

    def accepts_host(self, host: str) -> bool:
        """Return whether a request to this host name, without its port, is answered.

        A page of another site can make a browser ask a name of its own that resolves to this machine (DNS
        rebinding), but not a numeric address. A demonstration therefore answers to every address, and the
        service of one machine to the loopback addresses; both answer to localhost and the allowed names.
        """
        if host == "localhost" or host in {name.lower() for name in self.allow_hosts}:
            return True
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return self.public or address.is_loopback
