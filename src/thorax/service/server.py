"""Runs the application: the port is taken first, then the model is opened, and a signal ends it cleanly."""

import errno
import logging
import signal
import socket
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from thorax.atomic_io import StrPath
from thorax.errors import ServiceError
from thorax.service.app import create_app
from thorax.service.settings import ServiceSettings
from thorax.workflows.model import Model, load

__all__ = ["listen", "serve"]


def serve(bundle: StrPath | None, settings: ServiceSettings, *, ready: Callable[[Model, str], None]) -> None:
    """Serve a bundle until the process is interrupted (Ctrl-C) or asked to end (SIGTERM).

    Args:
        bundle: A bundle, or the run that made it; None: the starter.
        settings: How it is reached, and how much it takes.
        ready: Called once with the model and the page's address, as soon as browsers can open it.

    Raises:
        ServiceError: The port cannot be used.
        BundleError: There is no bundle.
        MissingExtra: The bundle needs torch, which is not installed.
    """
    with listen(settings) as listener:
        model = load(bundle)
        app = create_app(model, settings)
        # A library's warning may quote a file's header, and the log must not.
        warnings.simplefilter("ignore")
        logging.getLogger("pydicom").setLevel(logging.CRITICAL)
        config = uvicorn.Config(
            app,
            http="h11",
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=5,
        )
        port = listener.getsockname()[1]
        ready(model, f"http://{'localhost' if settings.public else settings.address}:{port}/")
        with _signals_end_quietly():
            uvicorn.Server(config).run(sockets=[listener])


def listen(settings: ServiceSettings) -> socket.socket:
    """Return a socket that listens where the settings say.

    Raises:
        ServiceError: The port is in use, or this user may not use it.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.address, settings.port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            reason = "is in use by another program"
        elif error.errno == errno.EACCES:
            reason = "needs more rights than this user has"
        else:
            reason = f"cannot be used ({error.strerror})"
        raise ServiceError(
            f"port {settings.port} of {settings.address} {reason}; set `port` to another one, "
            "or to 0 for any free one"
        ) from error
    return listener


@contextmanager
def _signals_end_quietly() -> Iterator[None]:
    """Let SIGINT and SIGTERM stop the server and do nothing else: uvicorn raises them again at its end."""
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: None) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
