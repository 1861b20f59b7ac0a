"""Runs the application: the port is taken first, then the model is opened, and a signal ends it cleanly."""

import logging
import signal
import socket
import ssl
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Final

import uvicorn

from thorax.atomic_io import StrPath
from thorax.certificates import load_certificate
from thorax.errors import ServiceError
from thorax.service.app import create_app
from thorax.service.connections import BoundedConnection
from thorax.service.settings import ServiceSettings
from thorax.workflows.model import Model, load

__all__ = ["listen", "serve"]

_ENDING: Final = 25
"""Seconds for the requests under way at the end; Docker and Kubernetes kill after 10 and 30."""


def serve(
    bundles: Sequence[StrPath],
    settings: ServiceSettings,
    *,
    ready: Callable[[Sequence[Model], Sequence[str]], None],
    ending: Callable[[int], None] | None = None,
) -> None:
    """Serve bundles until the process is interrupted (Ctrl-C) or asked to end (SIGTERM).

    It then takes no more requests and answers those that it has, for up to 25 seconds.

    Args:
        bundles: Bundles, or the runs that made them; none: the starter.
        settings: How it is reached, and how much it takes.
        ready: Called once with the models and the page's addresses, as soon as browsers can open them: those
            for other machines first, and one for this machine last.
        ending: Called with the number of requests that are under way when the service is asked to end, if
            there are some.

    Raises:
        ServiceError: The port, the certificate or the audit log cannot be used.
        BundleError: There is no bundle.
        MissingExtra: A bundle needs torch, which is not installed.
    """
    encryption = _encryption(settings)
    with listen(settings) as listener:
        models = [load(bundle) for bundle in bundles] if bundles else [load()]
        app = create_app(models, settings)
        # A library's warning may quote a file or a form, and the log must not.
        warnings.simplefilter("ignore")
        for name in ("pydicom", "python_multipart"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        config = uvicorn.Config(
            app,
            http=BoundedConnection,
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_level="error",  # what clients send is not worth a warning
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=_ENDING,
        )
        config.load()
        config.ssl = encryption
        server = _Server(config, ending)
        with _signals_end(server):
            ready(models, _addresses(settings, listener.getsockname()[1]))
            server.run(sockets=[listener])


class _Server(uvicorn.Server):
    """A server that says it is not ready any more as soon as it is asked to end.

    Args:
        config: The settings of uvicorn.
        ending: Called with the number of requests under way at the end, if there are some.
    """

    def __init__(self, config: uvicorn.Config, ending: Callable[[int], None] | None) -> None:
        super().__init__(config)
        self._ending = ending

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End, and let /health/ready say so; uvicorn reports requests that it then cuts as errors of ours."""
        self.config.app.state.ending = True  # type: ignore[union-attr]
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Say what is under way, and finish it."""
        requests = sum(
            connection.has_request
            for connection in self.server_state.connections
            if isinstance(connection, BoundedConnection)
        )
        if requests and self._ending is not None:
            self._ending(requests)
        await super().shutdown(sockets)


def _addresses(settings: ServiceSettings, port: int) -> list[str]:
    """Return the page's addresses: those for other machines first, and one for this machine last."""
    families = _EVERYWHERE.get(settings.address)
    hosts = [settings.address] if families is None else [*_own_addresses(families), "localhost"]
    scheme = "https" if settings.certificate else "http"
    return [f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/" for host in hosts]


_EVERYWHERE: Final = {
    "0.0.0.0": (socket.AF_INET,),  # noqa: S104  (compared, not listened on)
    "::": (socket.AF_INET, socket.AF_INET6),
}
"""The addresses that stand for all of a machine, with the families of those."""

_ELSEWHERE: Final = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
"""Addresses that are in use nowhere (RFC 5737 and 3849)."""


def _own_addresses(families: Sequence[socket.AddressFamily]) -> list[str]:
    """Return the addresses under which other machines reach this one; none without a network."""
    own = []
    for family in families:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((_ELSEWHERE[family], 9))  # looks up the route, and sends nothing
                own.append(str(probe.getsockname()[0]))
        except OSError:
            continue
    return own


def _encryption(settings: ServiceSettings) -> ssl.SSLContext | None:
    """Return what encrypts connections, TLS 1.2 or newer; None without a certificate.

    Raises:
        ServiceError: The certificate or its key cannot be used.
    """
    if settings.certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    load_certificate(context, settings.certificate, settings.key)
    return context


def listen(settings: ServiceSettings) -> socket.socket:
    """Return a socket that listens where the settings say.

    Raises:
        ServiceError: The port is in use, or this user may not use it.
    """
    family = socket.AF_INET6 if ":" in settings.address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.address, settings.port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise ServiceError.of_port(settings.address, settings.port, error) from error
    return listener


@contextmanager
def _signals_end(server: _Server) -> Iterator[None]:
    """Let SIGINT and SIGTERM end the server, also before it runs, and do nothing else.

    uvicorn takes the signals only once it runs, and raises them again at its end.
    """
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, server.handle_exit) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
