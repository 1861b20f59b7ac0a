"""How a node is reached, whom it serves, and how much it takes."""

import shutil
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from thorax.errors import ServiceError
from thorax.pacs.node.peers import (
    Destination,
    Sender,
    ae_title,
    is_loopback,
    read_destinations,
    read_senders,
)

__all__ = ["NodeSettings"]

_LAST_PORT: Final = 65_535
_MB: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """How a node is reached, whom it serves, and how much it takes.

    By default only programs on this machine reach it. With `listen`, other machines reach it: then `allow`
    names them, and connections are encrypted unless `no_tls` says that they need not be.

    Attributes:
        queue: Folder of its queue; it is made if it does not exist.
        port: The port to listen on; 0 means any free one.
        ae_title: Its AE title. Associations that call another one are rejected.
        listen: The address to listen on; "": this machine alone.
        allow: Who may send, such as "PACS@192.0.2.7"; empty: every AE title on this machine.
        forward: Where results go by C-STORE, such as "PACS@192.0.2.7:104".
        forward_tls: The same, where TLS is spoken.
        stow: URLs of DICOMweb services to which results go by STOW-RS.
        certificate: PEM file of its certificate; None: no TLS.
        key: PEM file of the certificate's private key; None: it is in the same file.
        authority: PEM file of the authorities whose certificates peers must have; None: peers that send need
            none, and those that results go to need one of a public authority.
        no_tls: Whether connections with other machines may be in the clear.
        rules: TOML file that says which images are predicted; None: all radiographs of chests.
        health_port: Port on this machine for /health and /metrics; 0 means any free one.
        associations: The most associations at once.
        max_bytes: The largest object that is taken.
        min_free: Bytes of the disk that stay free; objects are refused where there would be fewer.
        keep_days: Days for which received objects and results are kept once they are sent.
        keep_bytes: The most bytes of objects and results that are kept once they are sent.
        network_timeout: Seconds after which an association on which nothing arrives ends; a third of them is
            what a peer may pause within one message.

    Raises:
        ServiceError: A value is malformed, or the settings are not safe together.
    """

    queue: Path
    port: int = 11112
    ae_title: str = "THORAX"
    listen: str = ""
    allow: tuple[str, ...] = ()
    forward: tuple[str, ...] = ()
    forward_tls: tuple[str, ...] = ()
    stow: tuple[str, ...] = ()
    certificate: Path | None = None
    key: Path | None = None
    authority: Path | None = None
    no_tls: bool = False
    rules: Path | None = None
    health_port: int = 11180
    associations: int = 16
    max_bytes: int = 200 * _MB
    min_free: int = 500 * _MB
    keep_days: float = 7.0
    keep_bytes: int = 50_000 * _MB
    network_timeout: float = 30.0

    def __post_init__(self) -> None:
        """Refuse values that would not do what they say, or would open more than was meant."""
        ae_title(self.ae_title, "ae_title")
        for name in ("port", "health_port"):
            if not 0 <= getattr(self, name) <= _LAST_PORT:
                raise ServiceError(
                    f"there is no port {getattr(self, name)}; set `{name}` to a number from 1 to {_LAST_PORT}"
                )
        for name in ("associations", "max_bytes", "keep_days", "network_timeout"):
            if not getattr(self, name) > 0:
                raise ServiceError(f"`{name}` is {getattr(self, name)}; set it to more than 0")
        if not self.destinations:
            raise ServiceError(
                "the results would go nowhere; set `forward` to a PACS, such as PACS@127.0.0.1:4242, or "
                "`stow` to the address of a DICOMweb service"
            )
        self._check_reach()
        self._check_encryption()

    def _check_reach(self) -> None:
        if self.is_local:
            return
        try:
            ip_address(self.listen)
        except ValueError:
            raise ServiceError(
                f"{self.listen!r} is not an address; set `listen` to one of this machine, such as 192.0.2.7, "
                "or to 0.0.0.0 for all of them"
            ) from None
        if not self.allow:
            raise ServiceError(
                f"other machines reach {self.listen}, and each of them could send; set `allow` to those that "
                "may, such as PACS@192.0.2.7"
            )

    def _check_encryption(self) -> None:
        if self.key and not self.certificate:
            raise ServiceError(f"{self.key} is a key without a certificate; set `certificate` as well")
        if self.no_tls:
            return
        if not self.is_local and not self.certificate:
            raise ServiceError(
                f"images would come to {self.listen} in the clear; set `certificate` and `key` for TLS, or "
                "`no_tls` where the network is protected"
            )
        clear = [destination.name for destination in self.destinations if destination.in_the_clear]
        if clear:
            raise ServiceError(
                f"results would go to {clear[0]} in the clear; set `forward_tls` or an address with https, "
                "or `no_tls` where the network is protected"
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        return not self.listen or is_loopback(self.listen)

    @property
    def address(self) -> str:
        """The address to listen on."""
        return self.listen or "127.0.0.1"

    @property
    def senders(self) -> tuple[Sender, ...]:
        """Who may send; empty: every AE title on this machine."""
        return read_senders(self.allow)

    @property
    def destinations(self) -> tuple[Destination, ...]:
        """Where results go."""
        return read_destinations(self.forward, self.forward_tls, self.stow)

    def has_space(self, size: int) -> bool:
        """Return whether so many bytes more leave enough of the disk free."""
        return shutil.disk_usage(self.queue).free - size >= self.min_free
