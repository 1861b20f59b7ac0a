"""TLS of a node: what it shows peers, and whom it believes."""

import ssl

from thorax.certificates import load_authority, load_certificate
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
        load_authority(context, settings.authority)
    if settings.certificate is not None:
        load_certificate(context, settings.certificate, settings.key)
