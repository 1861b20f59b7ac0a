"""Connecting to a Ray cluster, or starting one on this machine, without a word to anyone else."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Final

from thorax.cluster.settings import Cluster
from thorax.errors import ServiceError
from thorax.hardware import cores
from thorax.packages import require
from thorax.telemetry import import_unreported

__all__ = ["connected"]

_ANSWER: Final = 5.0
"""Seconds within which an address must answer."""

_SETTINGS: Final = b"\0\0\0\4\0\0\0\0\0"
"""An empty frame of HTTP/2's settings (RFC 9113, section 6.5): length, type 4, flags and stream."""

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _SETTINGS
"""How a client of HTTP/2 begins, on which gRPC and so Ray are built; a server answers with its settings."""


@contextmanager
def connected(cluster: Cluster) -> Iterator[Any]:
    """Connect to a cluster, and yield Ray; a connection that the program made itself is used and kept.

    Raises:
        MissingExtra: Ray is not installed.
        ServiceError: Nothing answers at the address, or it is not a cluster of this version of Ray that this
            machine belongs to.
    """
    require("ray", "a Ray cluster")
    if cluster.address:
        _refuse_silence(cluster.address)
    ray = import_unreported("ray")
    is_ours = not ray.is_initialized()
    with _signals() as set_again:
        if is_ours:
            _connect(ray, cluster.address)
            set_again()  # Ray sets handlers of its own
        try:
            yield ray
        finally:
            if is_ours:
                ray.shutdown()


def _refuse_silence(address: str) -> None:
    """Refuse an address at which no cluster can be: Ray itself would try it for minutes."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER) as connection:
            if os.environ.get("RAY_USE_TLS", "0") != "0":
                return
            connection.sendall(_PREFACE)
            answer = connection.recv(4)
    except OSError as error:
        raise ServiceError(
            f"nothing answers at {address} ({error.strerror or error}); start a cluster there, or "
            "correct `address`"
        ) from error
    if answer[3:] != _SETTINGS[3:4]:  # the type of its first frame
        raise ServiceError(
            f"what answers at {address} is not a Ray cluster; correct `address` to that of the cluster's head"
        )


@contextmanager
def _on_loopback_alone() -> Iterator[None]:
    """Let Ray that is started here listen on the loopback interface alone.

    On Linux it replaces 127.0.0.1 by an address that other machines reach, for which it asks the system which
    one leads to 8.8.8.8, and listens on all interfaces, without a password. Where it takes clusters to be
    impossible, as on macOS, it does not.
    """
    ray_constants = import_unreported("ray._private.ray_constants")  # read once, when Ray is imported
    name = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR
    before, environment = ray_constants.ENABLE_RAY_CLUSTER, os.environ.get(name)
    ray_constants.ENABLE_RAY_CLUSTER = False
    os.environ[name] = "0"  # for the processes that Ray starts
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
        if environment is None:
            del os.environ[name]
        else:
            os.environ[name] = environment


def _connect(ray: Any, address: str) -> None:
    settings: dict[str, Any] = {"address": address}
    if not address:
        settings = {
            "address": "local",  # also where RAY_ADDRESS is set
            "num_cpus": cores(),
            "include_dashboard": False,
            "_node_ip_address": "127.0.0.1",
        }
    try:
        with nullcontext() if address else _on_loopback_alone():
            ray.init(**settings, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        ray.shutdown()
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        where = f"to the cluster at {address}" if address else "to Ray, started on this machine"
        raise ServiceError(
            f"cannot connect {where} ({' '.join(lines[:4]) or type(error).__name__}); this machine must be a "
            "node of the cluster, with the same versions of Python and Ray"
        ) from error


@contextmanager
def _signals() -> Iterator[Callable[[], None]]:
    """Let SIGTERM stop this thread's work as Ctrl-C does; yield a function that sets the handlers again."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def set_again() -> None:
        signal.signal(signal.SIGINT, before[signal.SIGINT])
        signal.signal(signal.SIGTERM, signal.default_int_handler)

    set_again()
    try:
        yield set_again
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
