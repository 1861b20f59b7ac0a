"""The machines that a node speaks with: who may send to it, and where its results go."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

from thorax.errors import ServiceError

__all__ = [
    "Destination",
    "Sender",
    "ae_title",
    "is_loopback",
    "read_destinations",
    "read_senders",
    "web_destination",
]

_LAST_PORT: Final = 65_535
_LONGEST_TITLE: Final = 16
_TITLE: Final = re.compile(r"[ -\[\]-~]+")
"""Printable ASCII without the backslash (PS3.5, value representation AE)."""

_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")


@dataclass(frozen=True, slots=True)
class Sender:
    """Who may send: an application entity at an address.

    Attributes:
        ae_title: Its AE title.
        network: Its address, or the network with it.
    """

    ae_title: str
    network: IPv4Network | IPv6Network

    def at(self, address: str) -> bool:
        """Return whether this is its address, or one of its network."""
        return _plain(address) in self.network


@dataclass(frozen=True, slots=True)
class Destination:
    """Where results go.

    Attributes:
        name: What status, logs and metrics call it: "AET@host:port", or the URL.
        kind: "dimse" for C-STORE, "stow" for STOW-RS.
        host: Host name or address.
        port: The port.
        ae_title: The AE title of a C-STORE destination; "" for STOW-RS.
        encrypted: Whether TLS is spoken with it.
    """

    name: str
    kind: str
    host: str
    port: int
    ae_title: str = ""
    encrypted: bool = False

    @property
    def in_the_clear(self) -> bool:
        """Whether what is sent leaves this machine unencrypted."""
        return not self.encrypted and not is_loopback(self.host)


def ae_title(text: str, setting: str) -> str:
    """Return an AE title.

    Raises:
        ServiceError: It is not one; the message names the setting.
    """
    title = text.strip()
    if not title or len(title) > _LONGEST_TITLE or not _TITLE.fullmatch(title):
        raise ServiceError(
            f"{text!r} is not an AE title; set `{setting}` to one of at most {_LONGEST_TITLE} letters, "
            "digits or signs without a backslash"
        )
    return title


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine alone."""
    try:
        return _plain(host).is_loopback
    except ValueError:
        return host == "localhost"


def _plain(address: str) -> IPv4Address | IPv6Address:
    """Return an address; an IPv4 address that an IPv6 socket reports as one of IPv4."""
    parsed = ip_address(address)
    return parsed.ipv4_mapped or parsed if isinstance(parsed, IPv6Address) else parsed


def read_senders(texts: Sequence[str]) -> tuple[Sender, ...]:
    """Return the senders that texts such as "PACS@192.0.2.7" or "CR1@10.1.0.0/16" name.

    Raises:
        ServiceError: A text names none.
    """
    return tuple(_sender(text) for text in texts)


def _sender(text: str) -> Sender:
    title, _, address = text.rpartition("@")
    try:
        network = ip_network(address)
    except ValueError:
        raise ServiceError(
            f"{text!r} does not say who may send; set `allow` to an AE title and an address, such as "
            "PACS@192.0.2.7, or a network, such as PACS@10.1.0.0/16"
        ) from None
    return Sender(ae_title(title, "allow"), network)


def read_destinations(
    forward: Sequence[str], forward_tls: Sequence[str], stow: Sequence[str]
) -> tuple[Destination, ...]:
    """Return the destinations that texts name.

    Args:
        forward: C-STORE destinations, such as "PACS@192.0.2.7:104".
        forward_tls: The same, where TLS is spoken.
        stow: URLs of DICOMweb services, such as "https://pacs.example.org/dicom-web".

    Raises:
        ServiceError: A text names none, or two name the same.
    """
    destinations = (
        *(_dimse(text, encrypted=False) for text in forward),
        *(_dimse(text, encrypted=True) for text in forward_tls),
        *(web_destination(text, "stow") for text in stow),
    )
    names = [destination.name for destination in destinations]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ServiceError(f"{twice[0]} is a destination twice; name it once")
    return destinations


def _dimse(text: str, *, encrypted: bool) -> Destination:
    setting = "forward_tls" if encrypted else "forward"
    title, _, place = text.rpartition("@")
    host, _, port = place.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    is_port = port.isdecimal() and 0 < int(port) <= _LAST_PORT
    if not title or not _HOST.fullmatch(host) or not is_port:
        raise ServiceError(
            f"{text!r} does not name a destination; set `{setting}` to AE title, host and port, such as "
            "PACS@192.0.2.7:104"
        )
    return Destination(text, "dimse", host, int(port), ae_title(title, setting), encrypted)


def web_destination(url: str, setting: str) -> Destination:
    """Return the DICOMweb service at a URL.

    Args:
        url: Such as "https://pacs.example.org/dicom-web".
        setting: What the message names.

    Raises:
        ServiceError: It is not such a URL, or it has a password.
    """
    address = url.rstrip("/")
    try:
        parts = urlsplit(address)
        port = parts.port or {"https": 443, "http": 80}[parts.scheme]
    except (KeyError, ValueError):
        parts, port = urlsplit(""), 0
    if not parts.hostname or parts.query or parts.fragment:
        raise ServiceError(
            f"{url!r} is not the address of a DICOMweb service; set `{setting}` to one such as "
            "https://pacs.example.org/dicom-web"
        )
    if parts.username or parts.password:
        raise ServiceError(
            f"the address of {parts.hostname} has a name or a password, which every program of this "
            "machine sees; give THORAX_DICOMWEB_USER and THORAX_DICOMWEB_PASSWORD in the environment instead"
        )
    return Destination(address, "stow", parts.hostname, port, encrypted=parts.scheme == "https")
