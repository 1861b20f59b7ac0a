"""How the service is reached, and how much it takes."""

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Final

from thorax.errors import ServiceError
from thorax.radiograph import MAX_PIXELS

__all__ = ["ServiceSettings"]

_MB: Final = 1_000_000
_HOST: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?", re.IGNORECASE)
_ANCESTOR: Final = re.compile(
    r"https?://(?:\*\.)?[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::\d{1,5})?/?", re.IGNORECASE
)
_LAST_PORT: Final = 65_535
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=-]{16,4096}")
"""What RFC 6750 allows in a bearer token; 16 characters cannot be guessed over a network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """How the service is reached, and how much it takes.

    There are three modes. By default only programs on this machine reach it. With `listen`, other machines
    reach it, and every call needs the token. With `public`, it is a demonstration for everyone.

    Attributes:
        port: The port to listen on; 0 means any free one.
        listen: The address to listen on, such as "0.0.0.0"; "": this machine alone, or every address if
            `public`. It needs a token, or `public`.
        token: What every call must bring as `Authorization: Bearer TOKEN`; the page and /health do not need
            it. "": none.
        public: Whether this is a public demonstration: without a token and metrics, for fewer and smaller
            files, and with a limit on the requests of each client.
        certificate: PEM file of the certificate, with those that it depends on; None: no encryption.
        key: PEM file of the certificate's private key; None: it is in the same file.
        trusted_proxies: Addresses or networks of proxies whose X-Forwarded-For names the client.
        allow_hosts: Names, besides localhost and numeric addresses, under which browsers may reach it.
        frame_ancestors: Addresses of sites, such as "https://example.org", that may show it in a frame.
        audit_log: File to which a line is added for every image: time, client, model, hash of the image and
            outcome; None: nothing is written.
        assessments: SQLite file that keeps what readers say of findings; None: nothing is kept. It needs a
            token, since other users of a machine reach this service too.

    Raises:
        ServiceError: A value is malformed, or the mode is not safe.
    """

    port: int = 8000
    listen: str = ""
    token: str = field(default="", repr=False)
    public: bool = False
    certificate: Path | None = None
    key: Path | None = None
    trusted_proxies: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    frame_ancestors: tuple[str, ...] = ()
    audit_log: Path | None = None
    assessments: Path | None = None

    def __post_init__(self) -> None:
        """Refuse values that would not do what they say, or would end up in a header as something else."""
        if not 0 <= self.port <= _LAST_PORT:
            raise ServiceError(f"there is no port {self.port}; set `port` to a number from 1 to {_LAST_PORT}")
        self._check_mode()
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
        for proxy in self.trusted_proxies:
            _network(proxy)

    def _check_mode(self) -> None:
        if self.listen:
            _check_address(self.listen)
            if not (self.token or self.public):
                raise ServiceError(
                    f"other machines reach {self.listen}, and without a token everyone could use the "
                    "model; set `token_file` to a file with a token of at least 16 characters, or "
                    "THORAX_TOKEN in the environment, or `public` for a demonstration without one"
                )
        if self.public and self.token:
            raise ServiceError(
                "a public demonstration has no token, and there is one; leave `public` out, or remove "
                "the token"
            )
        if self.token and not _TOKEN.fullmatch(self.token):
            raise ServiceError(
                f"the token has {len(self.token)} characters, or others than letters, digits and ._~+/=-; "
                "make one of at least 16 with: openssl rand -base64 32"
            )
        for name in ("audit_log", "assessments"):
            if self.public and getattr(self, name):
                raise ServiceError(
                    f"a public demonstration keeps nothing, and `{name}` would; leave it or `public` out"
                )
        if self.assessments and not self.token:
            raise ServiceError(
                "every user of this machine could read and add assessments; set `token` as well"
            )
        if self.key and not self.certificate:
            raise ServiceError(f"{self.key} is a key without a certificate; set `certificate` as well")

    @property
    def address(self) -> str:
        """The address to listen on."""
        return self.listen or ("0.0.0.0" if self.public else "127.0.0.1")  # noqa: S104  (on request only)

    @property
    def unencrypted(self) -> bool:
        """Whether other machines reach it without encryption, as far as is known here.

        A trusted proxy is expected to encrypt.
        """
        elsewhere = self.public or bool(self.listen and not ip_address(self.listen).is_loopback)
        return elsewhere and self.certificate is None and not self.trusted_proxies

    @property
    def max_bytes(self) -> int:
        """The largest file that is taken."""
        return 20 * _MB if self.public else 200 * _MB

    @property
    def max_pixels(self) -> int:
        """The most pixels of an image that is answered."""
        return 25 * _MB if self.public else MAX_PIXELS

    @property
    def max_files(self) -> int:
        """The most files in one request."""
        return 1 if self.public else 32

    @property
    def at_once(self) -> int:
        """How many images are read and computed at the same time; those of one batch count as well."""
        return 2 if self.public else self.places

    @property
    def places(self) -> int:
        """How many requests with files are taken, computed or waiting; the next is asked to come back."""
        return 8 if self.public else 64

    @property
    def upload_bytes(self) -> int:
        """The memory that the files of all these requests may take together."""
        return 8 * self.max_bytes if self.public else 5 * self.max_bytes

    @property
    def per_minute(self) -> int:
        """How many requests with files a client may send in a minute, at once or spread; 0: any number."""
        return 60 if self.public else 0

    def accepts_host(self, host: str) -> bool:
        """Return whether a request to this host name, without its port, is answered.

        A page of another site can make a browser ask a name of its own that resolves to this machine (DNS
        rebinding), but not a numeric address. A service that other machines reach therefore answers to every
        address, and one for this machine to the loopback addresses; both answer to localhost and the allowed
        names.
        """
        if host == "localhost" or host in {name.lower() for name in self.allow_hosts}:
            return True
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return self.public or bool(self.listen) or address.is_loopback

    def trusts(self, address: str) -> bool:
        """Return whether this is the address of a proxy that names its clients."""
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in _network(proxy) for proxy in self.trusted_proxies)


def _check_address(text: str) -> None:
    try:
        ip_address(text)
    except ValueError:
        raise ServiceError(
            f"{text!r} is not an address; set `listen` to one of this machine, such as 192.0.2.7, or to "
            "0.0.0.0 for all of them"
        ) from None


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError:
        raise ServiceError(
            f"{text!r} is not an address or a network; set `trusted_proxy` to one such as 192.0.2.7 or "
            "10.0.0.0/8"
        ) from None
