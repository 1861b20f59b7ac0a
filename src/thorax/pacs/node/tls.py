"""TLS of a node: what it shows peers, and whom it believes."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from thorax.errors import ServiceError
from thorax.pacs.node.settings import NodeSettings

__all__ = ["for_destinations", "for_senders"]


def for_senders(settings: NodeSettings) -> ssl.SSLContext | None:
    """Return what encrypts associations with senders, TLS 1.2 or newer; None without a certificate.

    With an authority, senders need a certificate of it.

    Raises:
        ServiceError: A file cannot be used.
    """
    if settings.certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _load(context, settings)
    if settings.authority is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def for_destinations(settings: NodeSettings) -> ssl.SSLContext:
    """Return what encrypts connections with destinations, which shows the node's certificate if it has one.

    Raises:
        ServiceError: A file cannot be used.
    """
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    _load(context, settings)
    return context


def _load(context: ssl.SSLContext, settings: NodeSettings) -> None:
    if settings.authority is not None:
        with _named("authority", settings.authority):
            context.load_verify_locations(settings.authority)
    if settings.certificate is not None:
        with _named("certificate", settings.certificate):
            context.load_cert_chain(settings.certificate, settings.key, password=_no_password)


@contextmanager
def _named(setting: str, path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ServiceError(
            f"{path} cannot be used ({reason}); set `{setting}` to a PEM file, and `key` to that of the "
            "certificate's private key, without a password"
        ) from error


def _no_password() -> str:
    """Refuse a key with a password, for which OpenSSL would ask at the terminal."""
    raise ValueError("the key has a password")
