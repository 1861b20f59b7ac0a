"""Certificates and private keys for TLS, and why one cannot be used, which OpenSSL does not say."""

import ssl
from pathlib import Path
from typing import Final

from thorax.errors import ServiceError

__all__ = ["load_authority", "load_certificate"]

_LOCKED: Final = "the key has a password"
_MISMATCH: Final = "KEY_VALUES_MISMATCH"


def load_certificate(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    """Let TLS show a certificate.

    Args:
        context: The settings of TLS.
        certificate: PEM file of the certificate.
        key: PEM file of its private key; None: the certificate's file has it, too.

    Raises:
        ServiceError: A file cannot be used; the message names the settings `certificate` and `key`.
    """
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:
        owner = key or certificate
        problem = (
            _problem(certificate, "certificate", b"CERTIFICATE-----", "a certificate")
            or _problem(owner, "key", b"PRIVATE KEY-----", "the private key of the certificate")
            or _together(certificate, owner, error)
        )
        raise ServiceError(problem) from error


def load_authority(context: ssl.SSLContext, authority: Path) -> None:
    """Let TLS accept the certificates of an authority.

    Args:
        context: The settings of TLS.
        authority: PEM file of the authority's certificate, or several.

    Raises:
        ServiceError: The file cannot be used; the message names the setting `authority`.
    """
    try:
        context.load_verify_locations(authority)
    except (OSError, ValueError) as error:
        problem = _problem(authority, "authority", b"CERTIFICATE-----", "a certificate")
        raise ServiceError(
            problem
            or f"{authority} cannot be used ({error}); set `authority` to a PEM file with certificates"
        ) from error


def _problem(path: Path, setting: str, mark: bytes, what: str) -> str:
    """Return why a file does not hold what it should; "" if it seems to."""
    try:
        content = path.read_bytes() if path.is_file() or not path.exists() else b""
    except OSError as error:
        return f"{path} cannot be read ({error.strerror}); set `{setting}` to a PEM file with {what}"
    return "" if mark in content else f"{path} does not hold {what}; set `{setting}` to a PEM file that does"


def _together(certificate: Path, owner: Path, error: Exception) -> str:
    if str(error) == _LOCKED:
        return f"{owner} has a password, which would have to be typed; set `key` to a PEM file without one"
    if getattr(error, "reason", "") == _MISMATCH:
        return f"the key in {owner} is not that of the certificate in {certificate}; set `key` to its own"
    return (
        f"{certificate} cannot be used with the key in {owner} ({error}); set `certificate` and `key` to "
        "PEM files that OpenSSL reads"
    )


def _no_password() -> str:
    """Refuse a key with a password, for which OpenSSL would ask at the terminal."""
    raise ValueError(_LOCKED)
