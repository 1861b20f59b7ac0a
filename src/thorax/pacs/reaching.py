"""Why another machine cannot be reached, in words."""

import socket
import ssl

__all__ = ["reason_of"]


def reason_of(error: Exception) -> str:
    """Return why there is no connection: a phrase, such as "Connection refused"."""
    if isinstance(error, socket.gaierror):
        return "its host name is not known"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return f"no TLS with it ({error.reason})"
    if isinstance(error, TimeoutError):
        return "it does not answer"
    return getattr(error, "strerror", None) or type(error).__name__
